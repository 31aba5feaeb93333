"""Reading mixtures: against Hugging Face's datasets and MosaicML's StreamingDataset, in time, memory and what a resumed job loses.

    python -m bench.readers [--corpus DIRECTORY]

Documents are those of --corpus, or docstrings of installed packages. Peers are pinned, and have an environment of their own, which
is made once and kept in the directory of temporary files. Last line JSON.
"""

import argparse
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pa_json
import pyarrow.parquet as pq

from bench.scale import texts_of, to_lines
from bench.solver import MEGABYTE
from samplemix_core.config.export import ExportConfig
from samplemix_core.config.reader import ReaderConfig
from samplemix_core.deployment import Deployment
from samplemix_core.exports.exporting import export_mixture
from samplemix_core.local.owner import Owner
from samplemix_core.local.stack import Stack
from samplemix_core.manifest.catalogue import Mixtures
from samplemix_core.manifest.format import (
    MIXTURE_PART,
    Counts,
    Lineage,
    ManifestDraft,
    PolicyRecord,
    SnapshotLineage,
    SolverRecord,
    SourcesFile,
    domain_shares,
    shards_digest,
)
from samplemix_core.manifest.parts import file_sha256, write_parts
from samplemix_core.manifest.publish import publish
from samplemix_core.manifest.sources import SourceShard, write_sources
from samplemix_core.objects.directory import FileStore
from samplemix_core.reading.feed import State
from samplemix_core.reading.mixture import CACHE_BYTES, Mixture, open_mixture
from samplemix_core.reading.trace import Steps
from samplemix_core.sample_key import keys_to_bytes, sample_keys
from samplemix_core.settings import Settings
from tests.mixtures import Published, publish_corpus
from tests.peers import peers

DOCUMENTS, SHARD_DOCUMENTS = 150_000, 5_000
SMALL = 240
CASES = 500
KILLS = 12
LARGE = 10_000_000
TIGHT_BYTES = 2**26
"""Of a cache that holds a third of the texts."""
ROUNDS = 3

PEERS = (
    *("datasets==5.2.0", "mosaicml-streaming==0.13.0", "catalogue==2.0.10", "pandas==3.1.1", "dill==0.4.1"),
    *("multiprocess==0.70.19", "xxhash==4.1.0", "zstd==1.5.7.2", "brotli==1.2.1", "python-snappy==0.7.3", "cramjam==2.14.0"),
    *(
        "torchdata==0.11.0",
        "fsspec==2026.9.0",
        "aiohttp==3.14.5",
        "aiohappyeyeballs==2.7.1",
        "aiosignal==1.4.0",
        "frozenlist==1.8.0",
    ),
    *("multidict==7.2.1", "propcache==0.5.4", "yarl==1.25.1"),
)
"""Without their dependencies: numpy, pyarrow, torch and boto3 are this environment's."""


CONTEXT = multiprocessing.get_context("forkserver")
# Its processes have these imports from the start.
CONTEXT.set_forkserver_preload(["bench.scale", "samplemix_core.local.stack", "samplemix_core.reading.torch_data", "tests.mixtures"])

BEGAN = time.perf_counter()


def tell(what: str) -> None:
    """Say what is done, and after how many seconds."""
    print(f"{time.perf_counter() - BEGAN:5.0f} s  {what}", file=sys.stderr, flush=True)


def peer(what: str, directory: Path, **variables: str) -> Any:
    """What bench/loaders.py finds."""
    script = Path(__file__).with_name("loaders.py")
    command = [str(peers("bench-loaders", PEERS)), str(script), what, str(directory)]
    environment = {**os.environ, "PYTHONPATH": str(script.parents[1]), **variables}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def make_corpus(directory: Path, texts: list[str], shard_documents: int) -> Published:
    """JSON lines, and a mixture of them with 1 to 4 copies, 1.5 on average."""
    for start in range(0, len(texts), shard_documents):
        path = directory / "corpus" / "crawl" / "web" / f"part-{start // shard_documents:05d}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [{"id": str(start + i), "text": text} for i, text in enumerate(texts[start : start + shard_documents])]
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    mixtures = Mixtures(FileStore(directory / "store"), "mixtures")
    corpus = FileStore(directory / "corpus")
    return publish_corpus(mixtures, corpus, directory, copies_of, 2**20)


def copies_of(number: int) -> int:
    """1 to 4 copies, 1.5 on average."""
    return (1, 1, 1, 1, 1, 1, 1, 2, 2, 4)[number * 7 % 10]


def once(_: int) -> int:
    """One copy."""
    return 1


def from_s3(directory: Path, corpus: Path, shards: Path) -> dict[str, float]:
    """Documents a second of the same documents from the embedded S3: StreamingDataset, and then ours and datasets in turns."""
    stack = Stack(directory / "home", ports="free", owner=Owner.of(os.getpid()))
    try:
        settings = stack.up({"s3"})
        place = f"{settings.state_root}/bench"
        store = settings.store(place)
        for root, prefix in ((corpus, "corpus"), (shards, "mds")):
            for path in sorted(path for path in root.rglob("*") if path.is_file()):
                if path.suffix in (".jsonl", ".mds") or path.name == "index.json":
                    store.upload(f"{prefix}/{path.relative_to(root)}", path)
        mixtures = Mixtures(store, "mixtures")
        scratch = directory / "s3"
        published = publish_corpus(mixtures, settings.store(f"{place}/corpus"), scratch, copies_of, 2**20)
        variables = {
            "S3_ENDPOINT_URL": str(settings.s3_endpoint),
            "AWS_ACCESS_KEY_ID": str(settings.s3_access_key),
            "AWS_SECRET_ACCESS_KEY": str(settings.s3_secret_key),
            "AWS_DEFAULT_REGION": "us-east-1",
            "BENCH_PLACE": place,
        }
        found = {"streaming": peer("s3_streaming", scratch, **variables), "ours": 0.0, "datasets": 0.0}
        for number in range(ROUNDS):
            ours = in_a_process(epoch_rate, published.uri, scratch / f"cache-{number}", settings)["rate"]
            found["ours"] = max(found["ours"], ours)
            found["datasets"] = max(found["datasets"], peer("s3_datasets", scratch, **variables))
        return found
    finally:
        stack.destroy()


def epoch_rate(uri: str, cache: Path, settings: Settings | None = None, cache_bytes: int = CACHE_BYTES) -> dict[str, float]:
    """Documents a second of an epoch, and the most memory that the reader takes in each half of it, less that of files."""
    before = own_megabytes()
    mixture = open_mixture(uri, cache_directory=cache, settings=settings, cache_bytes=cache_bytes)
    start = time.perf_counter()
    held = []
    for count, _ in enumerate(mixture.documents(), start=1):
        if count % (len(mixture) // 20) == 0:
            held.append(own_megabytes() - before)
    return {"rate": count / (time.perf_counter() - start), "early_mb": max(held[:10]), "late_mb": max(held[10:])}


def own_megabytes() -> float:
    """Memory of this process that isn't a file's."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon:"))
    return int(line.split()[1]) * 1024 / MEGABYTE


def in_a_process(call: Any, *arguments: Any) -> Any:
    """The result of a call in a process of its own, so that its memory is its own."""
    with CONTEXT.Pool(1) as pool:
        return pool.apply(call, arguments)


def shuffled(uri: str) -> dict[str, float]:
    """What the order of an epoch gives in spread, and what it costs in reading where the cache has no room.

    gap: between a copy and the next one of the same sample, as a share of the epoch: the least, and the median. stretches: that a
    thousand documents in a row come from, and that a thousand drawn by chance do. amplification: documents in the runs that are
    read, over those that are wanted of them.
    """
    mixture = open_mixture(uri)
    layout, epoch = mixture.samples.layout, mixture.epoch(0).epochs[0]
    rows, _ = epoch.at(np.arange(len(mixture)))
    at = np.argsort(rows, kind="stable")
    gaps = np.diff(at)[np.diff(rows[at]) == 0] / len(mixture)
    stretch = layout.stretch[np.searchsorted(layout.first, rows, side="right") - 1]
    chance = np.random.default_rng(0).permutation(stretch)
    in_row, by_chance = (
        float(np.mean([np.unique(numbers[i : i + 1000]).size for i in range(0, numbers.size - 1000, 1000)]))
        for numbers in (stretch, chance)
    )
    read = np.diff(layout.first)[epoch.order.visits.run].sum()
    return {
        "least_gap": float(gaps.min()),
        "median_gap": float(np.median(gaps)),
        "in_row": in_row,
        "by_chance": by_chance,
        "amplification": float(read) / len(mixture),
    }


def first_of_many(directory: Path) -> dict[str, float]:
    """Seconds to the first document of 10 million samples, bytes a sample, and seconds of tracing a step."""
    uri = publish_many(directory)
    figures: dict[str, float] = in_a_process(open_many, uri, directory / "cache")
    return figures


def open_many(uri: str, cache: Path) -> dict[str, float]:
    """See first_of_many."""
    before = own_megabytes()
    start = time.perf_counter()
    mixture = open_mixture(uri, cache_directory=cache)
    next(mixture.documents())
    first = time.perf_counter() - start
    held = own_megabytes() - before
    start = time.perf_counter()
    assert len(list(Steps(mixture, 8, 64, mixture.state()).documents(1000))) == 512
    figures = {"first_s": first, "held_mb": held, "trace_s": time.perf_counter() - start}
    return figures | {"bytes_a_sample": mixture.samples.n_bytes / LARGE}


def publish_many(directory: Path) -> str:
    """Publish a mixture of 10 million samples in 1,000 shards, which are one small file under 1,000 names."""
    shards, each = 1000, LARGE // 1000
    corpus = directory / "many" / "corpus" / "crawl" / "web"
    corpus.mkdir(parents=True)
    one = corpus / "part-00000.jsonl"
    one.write_bytes(b"".join(to_lines([f"document {row}" for row in range(each)])))
    names = [f"crawl/web/part-{number:05d}.jsonl" for number in range(shards)]
    for name in names[1:]:
        (corpus / Path(name).name).hardlink_to(one)
    etag, size = file_sha256(one), one.stat().st_size
    scratch = directory / "many" / "draft"
    scratch.mkdir()
    sources = write_sources([SourceShard(name, etag, size, [0], [0]) for name in names], scratch)
    rng = np.random.default_rng(0)
    tokens, copies = 0, 0

    def batches() -> Iterator[pa.Table]:
        nonlocal tokens, copies
        row = np.arange(each)
        for name in names:
            n_tokens = rng.integers(100, 1_500, each, dtype=np.int32)
            many = rng.choice(np.array([1, 1, 1, 1, 1, 1, 1, 2, 2, 4], dtype=np.int32), each)
            tokens += int((n_tokens * many).sum(dtype=np.int64))
            copies += int(many.sum())
            keys = keys_to_bytes(sample_keys("crawl", name, row))
            yield pa.table(
                {
                    "snapshot": pa.array(["crawl"] * each).dictionary_encode(),
                    "shard": pa.array([name] * each).dictionary_encode(),
                    "row": row,
                    "sample_key": pa.FixedSizeBinaryArray.from_buffers(pa.binary(16), each, [None, pa.py_buffer(keys.tobytes())]),
                    "domain": pa.array(["web"] * each).dictionary_encode(),
                    "n_tokens": n_tokens,
                    "copies": many,
                    "weight": np.ones(each),
                    "quality": np.ones(each, dtype=np.float32),
                    "diversity": np.ones(each, dtype=np.float32),
                    "cluster": np.zeros(each, dtype=np.int32),
                },
                schema=MIXTURE_PART,
            )

    parts = write_parts(batches(), scratch)
    draft = manifest_draft(FileStore(directory / "many" / "corpus"), sources, names, etag, size, tokens, copies)
    mixtures = Mixtures(FileStore(directory / "many" / "store"), "mixtures")
    return publish(mixtures, draft, parts, lambda file: (scratch / file).read_bytes(), datetime.now(UTC)).version.uri


def manifest_draft(
    corpus: FileStore, sources: SourcesFile, names: list[str], etag: str, size: int, tokens: int, copies: int
) -> ManifestDraft:
    """The facts of publish_many's mixture."""
    digest = shards_digest((name, etag, size) for name in names)
    sums = {
        "source_samples": [LARGE],
        "source_tokens": [tokens],
        "samples": [LARGE],
        "copies": [copies],
        "mixture_tokens": [tokens],
    }
    return ManifestDraft(
        name="many",
        corpus_root=corpus.uri,
        seed=0,
        policy=PolicyRecord(name="natural", parameters={}),
        solver=SolverRecord(max_copies=4, kappa=1.0, next_tokens=0),
        reader=ReaderConfig(),
        sources=sources,
        budget_tokens=tokens,
        realised_tokens=tokens,
        samples=LARGE,
        copies=copies,
        counts=Counts(documents=LARGE, scored=LARGE, quarantined=0, duplicates=0, eligible=LARGE),
        domains=domain_shares(["web"], **sums),
        lineage=Lineage(
            corpus="c",
            snapshots=(SnapshotLineage(name="crawl", shards=len(names), shards_digest=digest),),
            quality_model="q",
            encoder="e",
            cluster_model="k",
            code_version="0",
            config_fingerprint="f",
        ),
    )


def resume(uri: str, cache: Path) -> dict[str, Any]:
    """Stop and go on at random places, each time with another number of ranks and of workers: is the union the undisturbed epoch?

    The first stop is within the epoch. Workers are asked in turns, as a DataLoader asks its processes; without any is as with one.
    """
    processes = 2
    with CONTEXT.Pool(processes) as pool:
        arguments = [(uri, cache / str(number), number, CASES // processes) for number in range(processes)]
        found = pool.starmap(resumed, arguments)
    return {"cases": CASES, **{key: sum(each[key] for each in found) for key in ("exact", "lost", "repeated")}}


def resumed(uri: str, cache: Path, seed: int, cases: int) -> dict[str, float]:
    """Some cases of resume. What is lost and read twice is a share of the documents of all cases."""
    mixture = open_mixture(uri, cache_directory=cache, threads=1)
    whole = [(item.shard, item.row, item.copy) for item in mixture.documents()]
    rng = random.Random(seed)
    exact = lost = twice = 0
    for _ in range(cases):
        found: list[tuple[str, int, int]] = []
        state, world_size, workers = mixture.state(), 0, -1
        while state.epoch == 0:
            world_size = rng.choice([number for number in range(1, 17) if number != world_size])
            workers = rng.choice([number for number in range(5) if workers < 0 or max(1, number) != max(1, workers)])
            batch_size = rng.randint(1, 8)
            items = len(mixture) - 1 if state.position == 0 else 2 * len(mixture)
            steps = rng.randint(1, max(1, items // (world_size * batch_size)))
            for rank in range(world_size):
                found += taken(mixture, rank, world_size, max(1, workers), batch_size, state, steps)
            done = state.position + steps * world_size * batch_size
            state = mixture.state(done) if done < len(mixture) else mixture.state(0, 1)
        exact += sorted(found) == sorted(whole)
        lost += (Counter(whole) - Counter(found)).total()
        twice += (Counter(found) - Counter(whole)).total()
    documents = CASES * len(whole)
    return {"exact": exact, "lost": lost / documents, "repeated": twice / documents}


def killed(uri: str, directory: Path) -> dict[str, float]:
    """Jobs with DataLoader workers, killed by SIGKILL and resumed with other ranks: whether each document counts exactly once.

    A job writes what it read and its state after each step, as it would a checkpoint; what it read after that doesn't count.
    """
    whole = [(item.shard, item.row, item.copy) for item in open_mixture(uri, cache_directory=directory / "cache").documents()]
    rng = random.Random(1)
    exact = lost = twice = 0
    for case in range(KILLS):
        found: list[tuple[str, int, int]] = []
        state: dict[str, Any] | None = None
        for number in range(3):
            world_size, workers = rng.randint(1, 16), rng.randint(0, 4)
            logs = [directory / f"killed-{case}-{number}-{rank}" for rank in range(world_size)]
            arguments = [(uri, directory / "cache", rank, world_size, workers, state, log) for rank, log in enumerate(logs)]
            jobs = [CONTEXT.Process(target=job, args=given) for given in arguments]
            for each in jobs:
                each.start()
            steps_wanted = rng.randint(1, 8) if number < 2 else 10**9
            while any(each.is_alive() for each in jobs) and min(map(lines_of, logs)) < steps_wanted:
                # What another process writes can't be waited for.
                time.sleep(0.005)
            for each in jobs:
                if number < 2:
                    # With its workers: one that waits for its job to read would wait for ever.
                    assert each.pid is not None
                    with suppress(ProcessLookupError):
                        os.killpg(each.pid, signal.SIGKILL)
                    each.kill()
                each.join()
            steps = min(map(lines_of, logs))
            for log in logs:
                lines = [json.loads(line) for line in log.read_bytes().splitlines()[: steps if number < 2 else None]]
                found += [tuple(place) for line in lines for place in line["read"]]
                state = lines[-1]["state"] if lines else state
        exact += sorted(found) == sorted(whole)
        lost += (Counter(whole) - Counter(found)).total()
        twice += (Counter(found) - Counter(whole)).total()
    documents = KILLS * len(whole)
    return {"cases": KILLS, "exact": exact, "lost": lost / documents, "repeated": twice / documents}


def lines_of(log: Path) -> int:
    """Whole lines of a file."""
    return log.read_bytes().count(b"\n") if log.exists() else 0


def job(uri: str, cache: Path, rank: int, world_size: int, workers: int, state: dict[str, Any] | None, log: Path) -> None:
    """One rank of a job, which writes a line after each step."""
    from samplemix_core.reading.torch_data import Loader

    os.setpgrp()
    # More workers than cores are intended.
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    # Else its workers would be made as it was itself, with all their imports.
    fork: dict[str, Any] = {"multiprocessing_context": "fork"} if workers else {}
    loader = Loader(open_mixture(uri, cache_directory=cache), 4, rank, world_size, workers=workers, **fork)
    if state is not None:
        loader.load_state_dict(state)
    with log.open("w") as file:
        for batch in loader:
            read = [(item.shard, item.row, item.copy) for item in batch]
            file.write(json.dumps({"read": read, "state": loader.state_dict()}) + "\n")
            file.flush()


def taken(
    mixture: Mixture, rank: int, world_size: int, workers: int, batch_size: int, state: State, steps: int
) -> list[tuple[str, int, int]]:
    """What a rank reads in some steps, by way of its workers as a DataLoader asks them."""
    readers = [
        mixture.documents(rank, world_size, worker, workers, batch_size=batch_size, state=state)
        for worker in range(min(workers, steps))
    ]
    found = [item for step in range(steps) for item in islice(readers[step % workers], batch_size)]
    for reader in readers:
        reader.close()
    return [(item.shard, item.row, item.copy) for item in found]


def export_rates(uri: str, corpus: Path, target: Path) -> dict[str, float]:
    """Seconds of exporting to Parquet, and of reading and writing the same files with pyarrow; both on one core."""
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    found = {"export": float("inf"), "copy": float("inf")}
    for number in range(ROUNDS):
        start = time.perf_counter()
        (target / f"copy-{number}").mkdir(parents=True)
        for path in sorted(corpus.rglob("*.jsonl")):
            table = pa_json.read_json(path, pa_json.ReadOptions(use_threads=False, block_size=2**24))
            pq.write_table(table, target / f"copy-{number}" / f"{path.stem}.parquet", compression="zstd", compression_level=1)
        found["copy"] = min(found["copy"], time.perf_counter() - start)
        start = time.perf_counter()
        config, place = ExportConfig(format="parquet"), str(target / f"export-{number}")
        export_mixture(Deployment.load(), uri, None, place, config, lambda _: None, threading.Event(), workers=1)
        found["export"] = min(found["export"], time.perf_counter() - start)
    return found


def run(corpus: Path | None) -> dict[str, Any]:
    """Measure everything, print a table, and return the figures."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="samplemix-bench-", ignore_cleanup_errors=True) as name:
        directory = Path(name)
        speed = directory / "speed"
        published = make_corpus(speed, list(islice(cycle(texts_of(corpus, DOCUMENTS)), DOCUMENTS)), SHARD_DOCUMENTS)
        tell("corpus made")
        mixtures, texts = Mixtures(FileStore(directory / "single"), "mixtures"), FileStore(speed / "corpus")
        singles = publish_corpus(mixtures, texts, directory / "single", once, 2**20).uri
        theirs = {"streaming": peer("streaming", speed), "datasets": 0.0}
        rounds, single = [], 0.0
        # In turns, because a machine that others share isn't as fast at all times.
        for number in range(ROUNDS):
            rounds.append(in_a_process(epoch_rate, published.uri, directory / f"cache-{number}"))
            single = max(single, in_a_process(epoch_rate, singles, directory / f"single-{number}")["rate"])
            theirs["datasets"] = max(theirs["datasets"], peer("datasets", speed))
        ours = max(rounds, key=lambda found: found["rate"])
        kept = in_a_process(epoch_rate, published.uri, directory / "cache-0")
        tight = in_a_process(epoch_rate, published.uri, directory / "tight", None, TIGHT_BYTES)
        order = shuffled(published.uri)
        tell("local epochs and peers read")
        remote = from_s3(directory, speed / "corpus", speed / "mds")
        tell("epochs and peers read from S3")
        written = in_a_process(export_rates, published.uri, speed / "corpus", directory / "exports")
        tell("exported")
        small = make_corpus(directory / "small", texts_of(corpus, SMALL), SMALL // 4)
        resumed, lost = resume(small.uri, directory / "cache-small"), peer("resume", directory / "small")
        tell("stopped and resumed")
        dead = killed(small.uri, directory / "small")
        tell("killed and resumed")
        many = first_of_many(directory)
        tell("10 million samples opened")
    print(f"{'documents/s, shuffled, local JSON lines':<60} {'':>10} {'ratio':>8}")
    print(f"{'SampleMix, an epoch from nothing kept':<60} {ours['rate']:>10,.0f}")
    print(f"{'SampleMix, the same where each document has one copy':<60} {single:>10,.0f}")
    for label, key in (
        ("datasets, streaming, shuffle buffer 1,000", "datasets"),
        ("StreamingDataset, its own shards", "streaming"),
    ):
        print(f"{label:<60} {theirs[key]:>10,.0f} {ours['rate'] / theirs[key]:>8.2f}")
        figures[f"reader_over_{key}"] = round(ours["rate"] / theirs[key], 2)
    print(f"\n{'the same from the embedded S3':<60}")
    print(f"{'SampleMix, an epoch from nothing kept':<60} {remote['ours']:>10,.0f}")
    for label, key in (("datasets, streaming", "datasets"), ("StreamingDataset, downloading its shards, one round", "streaming")):
        print(f"{label:<60} {remote[key]:>10,.0f} {remote['ours'] / remote[key]:>8.2f}")
        figures[f"reader_s3_over_{key}"] = round(remote["ours"] / remote[key], 2)
    print(f"\nthe next copy of a sample is {order['median_gap']:.2f} of an epoch away, at least {order['least_gap']:.3f};")
    print(f"1,000 documents in a row are of {order['in_row']:.0f} stretches, by chance of {order['by_chance']:.0f};", end=" ")
    print(f"without a cache, {order['amplification']:.2f} documents are read for each")
    export_over_copy = written["copy"] / written["export"]
    print(f"\nexport to Parquet, verified, {written['export']:.2f} s; by pyarrow {written['copy']:.2f} s: {export_over_copy:.2f}")
    print(f"\n{'stopped and resumed':<60} {'cases':>10} {'exact':>8} {'lost':>8} {'twice':>8}")
    for label, cases in (
        ("SampleMix, other ranks, workers and batch sizes", resumed),
        ("SampleMix, killed by SIGKILL with its DataLoader workers", dead),
        ("datasets, other ranks", lost["datasets"]),
        ("torchdata's StatefulDataLoader, other ranks", lost["torchdata"]),
    ):
        refused = f"   ({cases['failed']} refused)" if cases.get("failed") else ""
        print(f"{label:<60} {cases['cases']:>10} {cases['exact']:>8} {cases['lost']:>8.1%} {cases['repeated']:>8.1%}{refused}")
    print(f"\n10 million samples: first document {many['first_s']:.2f} s, {many['bytes_a_sample']:.1f} bytes a sample in arrays,")
    print(f"{many['held_mb']:,.0f} MB in all; a step of 512 documents traced in {many['trace_s']:.2f} s")
    print(f"memory that isn't of files, at most: {ours['early_mb']:,.0f} MB in the first half of an epoch,", end=" ")
    print(f"{ours['late_mb']:,.0f} MB in the second")
    print(f"with a cache of {TIGHT_BYTES / MEGABYTE:,.0f} MB, {tight['early_mb']:,.0f} and {tight['late_mb']:,.0f} MB,", end=" ")
    print(f"and {tight['rate']:,.0f} documents/s")
    return figures | {
        "reader_single_over_datasets": round(single / theirs["datasets"], 2),
        "reader_kept_over_datasets": round(kept["rate"] / theirs["datasets"], 2),
        "copies_median_gap": round(order["median_gap"], 3),
        "copies_least_gap": round(order["least_gap"], 3),
        "read_amplification": round(order["amplification"], 2),
        "reader_memory_mb": round(max(each[half] for each in (ours, tight) for half in ("early_mb", "late_mb"))),
        "reader_memory_late_over_early": round(max(each["late_mb"] / each["early_mb"] for each in (ours, tight)), 2),
        "reader_first_document_s": round(many["first_s"], 2),
        "reader_bytes_a_sample": round(many["bytes_a_sample"], 1),
        "export_over_copy": round(export_over_copy, 2),
        "trace_step_s": round(many["trace_s"], 2),
        "resume_cases": resumed["cases"],
        "resume_exact": resumed["exact"],
        "resume_killed_exact": f"{dead['exact']}/{dead['cases']}",
    }


def main() -> None:
    """Read the arguments, and print the figures as one line of JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path)
    print(json.dumps(run(parser.parse_args().corpus)))


if __name__ == "__main__":
    main()
