"""Scoring at scale: the encoder against sentence-transformers and the machine's matrix products, blocks against the bare encoder.

Documents are those of a corpus given as an argument, or docstrings of installed packages. One thread.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from bench.encode import collect, encode_with
from bench.scoring import ONE_THREAD
from samplemix_core.config.reader import ReaderConfig
from samplemix_core.config.run import EmbeddingConfig, RunConfig
from samplemix_core.corpus.reader import ShardReader
from samplemix_core.corpus.shards import is_shard
from samplemix_core.database import ledger
from samplemix_core.database.migrate import migrate
from samplemix_core.deployment import Deployment
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.embedding.loading import PRECISION_COSINE, candidate_precisions, detect_hardware, locate_model
from samplemix_core.embedding.tokens import Tokenized
from samplemix_core.frozen import load_config
from samplemix_core.local.owner import Owner
from samplemix_core.local.stack import Stack
from samplemix_core.models.distil import distill_encoder
from samplemix_core.objects import open_store
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.register import register
from samplemix_core.pipeline.score import plan_tasks, score, score_tasks
from samplemix_core.progress import Progress
from samplemix_core.worker.jobs import ScoreTask
from samplemix_core.worker.score import plan_shard, score_block

ROUNDS = 3
DOCUMENTS = 192
BLOCKS, BLOCK_DOCUMENTS = 3, 300
FILE_DOCUMENTS, FILE_BLOCK_DOCUMENTS = 60_000, 1000
PRODUCTS = [(384, 1152), (384, 384), (384, 1536), (1536, 384)]
"""Inputs and outputs of a MiniLM layer's matrix products."""


def texts_of(corpus: Path | None, n: int) -> list[str]:
    """Real texts: the first of each of a corpus's shards, in turns; or docstrings."""
    if corpus is None:
        return list(itertools.islice(itertools.cycle(collect(n)), n))
    paths = [path for path in sorted(corpus.rglob("*")) if path.is_file() and is_shard(str(path.relative_to(corpus)))]
    return list(
        itertools.islice((text for turn in zip(*map(shard_texts, [corpus] * len(paths), paths), strict=False) for text in turn), n)
    )


def shard_texts(corpus: Path, path: Path) -> Iterator[str]:
    """The texts of one shard of a corpus."""
    with path.open("rb") as stream:
        for batch in ShardReader(stream, str(path.relative_to(corpus)), ReaderConfig()).read():
            yield from batch.documents["text"].to_pylist()


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def gemm_rate(dtype: torch.dtype) -> float:
    """Floating-point operations per second of the encoder's four matrix products, with whichever of torch's libraries is faster."""
    rows = 2048
    operands = [(torch.randn(rows, k, dtype=dtype), torch.randn(n, k, dtype=dtype)) for k, n in PRODUCTS]
    packed = [torch.ops.mkldnn._reorder_linear_weight(weight, rows) for _, weight in operands]

    def by_default() -> None:
        for rows_, weight in operands:
            torch.nn.functional.linear(rows_, weight)

    def by_onednn() -> None:
        for (rows_, _), weight in zip(operands, packed, strict=True):
            torch.ops.mkldnn._linear_pointwise(rows_, weight, None, "none", [], "")

    with torch.inference_mode():
        best = min(timed(call) for _ in range(8) for call in (by_default, by_onednn))
    return 2 * rows * sum(k * n for k, n in PRODUCTS) / best


def operations(tokenized: Tokenized) -> float:
    """Floating-point operations that MiniLM's six layers take for the real tokens: linear layers and attention."""
    lengths = np.diff(tokenized.offsets).astype(np.float64)
    return float(6 * (lengths.sum() * 2 * 384 * (1152 + 384 + 1536 + 1536) + (lengths**2).sum() * 4 * 384))


def encode_padded(encoder: Encoder, tokenized: Tokenized, pad_id: int = 0) -> None:
    """Encode the same documents with the same model in sorted and padded batches, as before they were packed."""
    lengths = np.diff(tokenized.offsets)
    order = np.argsort(-lengths, kind="stable")
    model = SentenceTransformer(str(locate_model(EmbeddingConfig())), device="cpu")[0]
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[encoder.precision]
    model = model.to(dtype)
    start = 0
    with torch.inference_mode():
        while start < order.size:
            batch = order[start : start + max(1, 4096 // int(lengths[order[start]]))]
            start += batch.size
            ids = torch.full((batch.size, int(lengths[batch].max())), pad_id, dtype=torch.long)
            for row, document in enumerate(batch):
                one = tokenized.ids[tokenized.offsets[document] : tokenized.offsets[document + 1]]
                ids[row, : one.size] = torch.from_numpy(one.astype(np.int64))
            mask = (torch.arange(ids.shape[1]) < torch.from_numpy(lengths[batch])[:, None]).long()
            model({"input_ids": ids, "attention_mask": mask})


def measure_encoder(texts: list[str]) -> dict[str, Any]:
    """Compare with SentenceTransformer.encode at its defaults, padded batches, and the matrix products alone."""
    precisions = candidate_precisions(EmbeddingConfig(), "cpu", detect_hardware())
    encoders = {name: load_encoder(EmbeddingConfig(precision=name, device="cpu")) for name in precisions}
    peer = SentenceTransformer(str(locate_model(EmbeddingConfig())), device="cpu")
    tokenized = encoders["float32"].tokenize(texts)
    calls: dict[str, Callable[[], object]] = {"SentenceTransformer.encode": lambda: peer.encode(texts)}
    for name, encoder in encoders.items():
        calls[f"packed, {name}"] = partial(encode_with, encoder, texts)
    chosen = load_encoder(EmbeddingConfig(device="cpu"))
    calls[f"padded, {chosen.precision}"] = lambda: encode_padded(chosen, tokenized)
    calls |= {f"encode alone, {name}": partial(encoder.encode, tokenized) for name, encoder in encoders.items()}
    peer.encode(texts[:16])
    for encoder in encoders.values():
        encode_with(encoder, texts[:16])
    rounds = [{name: timed(call) for name, call in calls.items()} for _ in range(ROUNDS)]
    seconds = {name: statistics.median(found[name] for found in rounds) for name in calls}
    rates: dict[str, float] = {precision: gemm_rate(getattr(torch, precision)) for precision in precisions}
    peer_seconds = seconds["SentenceTransformer.encode"]
    exact, of_some = encoders["float32"], encoders["float32"].tokenize(texts[:64])
    true = [
        name
        for name, encoder in encoders.items()
        if np.einsum("ij,ij->i", encoder.encode(of_some), exact.encode(of_some)).min() >= PRECISION_COSINE
    ]
    print(
        f"{len(texts)} documents, {tokenized.ids.size / len(texts):.0f} tokens read of each, one thread, median of {ROUNDS} rounds"
    )
    print(f"{'':28} {'documents/s':>12} {'speedup':>8} {'of the matrix products':>23}")
    shares = {}
    for each, median in seconds.items():
        shares[each] = operations(tokenized) / median / rates["bfloat16" if each.endswith("bfloat16") else "float32"]
        print(f"{each:28} {len(texts) / median:12.1f} {peer_seconds / median:8.2f} {shares[each]:23.2f}")
    print(", ".join(f"{each}: {rate / 1e9:.0f} GFLOP/s" for each, rate in rates.items()))
    return {
        "encode_speedup": round(peer_seconds / seconds["packed, float32"], 2),
        "encode_speedup_bf16": round(peer_seconds / seconds["packed, bfloat16"], 2) if "bfloat16" in precisions else None,
        "precision": chosen.precision,
        "precision_is_fastest": chosen.precision == min(true, key=lambda name: seconds[f"encode alone, {name}"]),
        "packed_over_padded": round(seconds[f"padded, {chosen.precision}"] / seconds[f"encode alone, {chosen.precision}"], 2),
        "gemm_share": {precision: round(shares[f"encode alone, {precision}"], 2) for precision in precisions},
    }


def distill_shipped(to: Path) -> None:
    """Distil a static encoder from the shipped transformer, from its vocabulary alone."""
    config = load_config(RunConfig, {"corpus_uri": str(to)})
    made = distill_encoder(config, Deployment.load(), lambda progress: None, on_corpus=False, documents=0, dimensions=384, to=to)
    print(f"static encoder of {made.tokens:,} tokens distilled in {made.seconds:.0f} s")


def to_lines(texts: list[str]) -> list[bytes]:
    """Records of a shard."""
    return [json.dumps({"text": text}).encode() + b"\n" for text in texts]


@contextmanager
def services(home: Path, owner: Owner, names: Collection[str] = ("postgres", "s3")) -> Iterator[tuple[Stack, Deployment]]:
    """Run these services while it is open, below a home of their own, with the tables of an empty database."""
    os.environ["SAMPLEMIX_HOME"] = str(home)
    stack = Stack(home, ports="free", owner=owner)
    try:
        settings = stack.up(names)
        migrate(settings.database)
        yield stack, settings
    finally:
        stack.destroy()


def measure_blocks(texts: list[str], other_texts: list[str], static_encoder: Path, home: Path) -> dict[str, Any]:
    """Compare blocks end to end, in this process, with the bare encoder on the same documents, already tokenised."""
    with services(home, Owner.of(os.getpid()), {"postgres", "s3", "dask"}) as (_, settings):
        lines = to_lines(texts)

        def begun(uri: str, snapshot: str, lines: list[bytes], documents: int, **embedding: str) -> list[ScoreTask]:
            """A snapshot of one shard, registered and cut into blocks."""
            open_store(uri, settings).put(f"{snapshot}/all/part.jsonl", b"".join(lines))
            values = {"corpus_uri": uri, "snapshots": [snapshot], "blocks": {"documents": documents}, "embedding": embedding}
            run = RunContext(load_config(RunConfig, values), settings, lambda progress: None, threading.Event())
            registered = register(run)
            with settings.transaction() as cursor:
                shards = [state.shard for state in ledger.shard_states(cursor, registered.scope)]
            plan_shard(plan_tasks(run, registered, shards)[0])
            return score_tasks(run, registered, shards)

        def fresh() -> str:
            return f"{settings.state_root}/corpora/{uuid4().hex}"

        def pair() -> tuple[float, float]:
            tasks = begun(fresh(), "s1", lines, BLOCK_DOCUMENTS)
            encoder = load_encoder(tasks[0].embedding)
            starts = range(0, len(texts), BLOCK_DOCUMENTS)
            tokenized = [encoder.tokenize(texts[start : start + BLOCK_DOCUMENTS]) for start in starts]
            seconds = [
                (timed(partial(encoder.encode, read)), timed(partial(score_block, task)))
                for read, task in zip(tokenized, tasks, strict=True)
            ]
            bare, whole = map(sum, zip(*seconds, strict=True))
            return bare, whole

        def recrawl() -> float:
            """The time of a crawl that shares four in five texts with an earlier one, over that one's."""
            uri, half = fresh(), len(lines) // 2
            crawls = {"s1": lines[:half], "s2": lines[: half * 4 // 5] + lines[half : half + half - half * 4 // 5]}
            seconds = {}
            for snapshot, own in crawls.items():
                tasks = begun(uri, snapshot, own, BLOCK_DOCUMENTS)
                seconds[snapshot] = sum(timed(partial(score_block, task)) for task in tasks)
            return seconds["s2"] / seconds["s1"]

        def static(texts: list[str]) -> tuple[float, float]:
            """Seconds of blocks end to end with the encoder distilled from the transformer, and of tokenising after it."""
            tasks = begun(fresh(), "s1", to_lines(texts), len(texts), encoder=str(static_encoder))
            whole = sum(timed(partial(score_block, task)) for task in tasks)
            return whole, timed(partial(load_encoder(tasks[0].embedding).tokenize, texts))

        # Different documents each time, as in a crawl: the tokenizer remembers only the words of earlier ones.
        *unseen, first = np.array_split(np.array(other_texts, dtype=object), ROUNDS + 1)
        static(first.tolist())
        rounds = [pair() for _ in range(ROUNDS)]
        recrawls = [recrawl() for _ in range(ROUNDS)]
        statics = [len(part) / np.array(static(part.tolist())) for part in unseen]
    for bare, whole in rounds:
        rates = f"bare encoder {len(texts) / bare:8.1f} documents/s, blocks end to end {len(texts) / whole:8.1f}"
        print(f"{rates}: {bare / whole:.3f} of it")
    static_rate, tokenizing_rate = np.median(statics, axis=0)
    megabytes = sum(len(text.encode()) for text in other_texts) / len(other_texts) / 1e6
    print(
        f"static encoder: blocks end to end {static_rate:.1f} documents/s,"
        f" {megabytes * static_rate:.1f} MB/s; tokenising them again, words known, is {static_rate / tokenizing_rate:.0%} of it,"
        f" {megabytes * tokenizing_rate:.1f} MB/s"
    )
    print(f"a crawl that repeats four texts in five: {', '.join(f'{share:.2f}' for share in recrawls)} of its time else")
    return {
        "pipeline_over_bare": round(statistics.median(bare / whole for bare, whole in rounds), 3),
        "static_over_transformer": round(static_rate * statistics.median(whole for _, whole in rounds) / len(texts), 1),
        "recrawl_share": round(statistics.median(recrawls), 2),
    }


def score_file(
    stack: Stack, owner: Owner, texts: list[str], *, workers: int, block_documents: int, embedding: dict[str, Any]
) -> tuple[float, list[tuple[float, float]]]:
    """Seconds that this number of workers takes to score one file of these texts, and what resident_memory() finds meanwhile.

    Postgres and S3 are up. The workers load everything they need before timing begins.
    """
    os.environ["SAMPLEMIX_DASK_WORKERS"] = str(workers)
    settings = stack.up({"dask"})
    corpus, shares = str(settings.home / "corpora" / uuid4().hex), [0.0]

    def report(progress: Progress) -> None:
        shares.append(progress.share or shares[-1])

    for snapshot, part in (("warm", [f"{i} a text of its own" for i in range(8 * workers)]), ("file", texts)):
        open_store(corpus, settings).put(f"{snapshot}/all/part.jsonl", b"".join(to_lines(part)))
        values = {
            "corpus_uri": corpus,
            "snapshots": [snapshot],
            "blocks": {"documents": 1 if snapshot == "warm" else block_documents},
            "embedding": embedding,
        }
        run = RunContext(load_config(RunConfig, values), settings, report, threading.Event())
        registered = register(run)
        shares.append(0.0)
        with resident_memory(owner, shares) as memory:
            seconds = timed(partial(score, run, registered))
    stack.down({"dask"})
    return seconds, memory


def measure_file(texts: list[str], static_encoder: Path, home: Path) -> dict[str, Any]:
    """Score one file of many documents with a static encoder, by one worker and by two: the time, and the workers' memory."""
    owner = Owner.of(os.getpid())
    numbered = [f"{i} {text}" for i, text in zip(range(FILE_DOCUMENTS), itertools.cycle(texts), strict=False)]
    seconds, peaks = {}, {}
    with services(home, owner) as (stack, _):
        for workers in (1, 2):
            seconds[workers], memory = score_file(
                stack,
                owner,
                numbered,
                workers=workers,
                block_documents=FILE_BLOCK_DOCUMENTS,
                embedding={"encoder": str(static_encoder)},
            )
            peaks[workers] = [max(found for share, found in memory if low <= share < low + 0.5) for low in (0.0, 0.5)]
    size = sum(len(line) for line in to_lines(numbered)) / 1e6
    print(f"one file of {FILE_DOCUMENTS:,} documents, {size:.0f} MB, in blocks of {FILE_BLOCK_DOCUMENTS}")
    for workers, (first, second) in peaks.items():
        rate = FILE_DOCUMENTS / seconds[workers]
        print(
            f"{workers} workers: {rate:8.1f} documents/s; the largest {first:.0f} MB in the first half, {second:.0f} in the second"
        )
    return {
        "block_memory_mb": round(max(map(max, peaks.values()))),
        "two_workers_over_one": round(seconds[1] / seconds[2], 2),
    }


@contextmanager
def resident_memory(owner: Owner, shares: list[float]) -> Iterator[list[tuple[float, float]]]:
    """While it is open, a list grows: the share of the work that is done, and the largest worker's memory in MB."""
    workers = [process for process in owner.processes() if process.environ().get("SUPERVISOR_PROCESS_NAME") == "dask-worker"]
    found: list[tuple[float, float]] = []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            found.append((min(shares[-1], 0.999), max(worker.memory_info().rss for worker in workers) / 1e6))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield found
    finally:
        ended.set()
        watching.join()


def measure(corpus: Path | None) -> None:
    """In a process of one thread, print a table for each, and the figures as JSON."""
    torch.set_num_threads(1)
    figures = measure_encoder(texts_of(corpus, DOCUMENTS))
    with tempfile.TemporaryDirectory(prefix="samplemix-bench-") as directory:
        together = texts_of(corpus, (ROUNDS + 2) * BLOCKS * BLOCK_DOCUMENTS)
        texts, other_texts = together[: BLOCKS * BLOCK_DOCUMENTS], together[BLOCKS * BLOCK_DOCUMENTS :]
        made = Path(directory) / "static"
        distill_shipped(made)
        figures |= measure_blocks(texts, other_texts, made, Path(directory) / "home")
        figures |= measure_file(other_texts, made, Path(directory) / "home")
    print(json.dumps(figures))


if __name__ == "__main__":
    if "--measure" in sys.argv:
        measure(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    else:
        # Set up as for workers, from the start of the process: the allocator reads its settings once.
        command = [sys.executable, "-m", "bench.scale", "--measure", *sys.argv[1:]]
        sys.exit(subprocess.run(command, env=os.environ | ONE_THREAD, check=False).returncode)
