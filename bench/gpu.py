"""One GPU: the encoder against sentence-transformers and the GPU's matrix products, and how many workers keep it busy.

Documents are those of a corpus given as an argument, or docstrings of installed packages. Each begins with a number, so that no
two are equal.
"""

import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from bench.encode import encode_with
from bench.scale import PRODUCTS, operations, score_file, services, texts_of, timed
from bench.scoring import ONE_THREAD
from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.embedding.encoder import load_encoder
from samplemix_core.embedding.loading import candidate_precisions, detect_hardware, locate_model
from samplemix_core.local.owner import Owner

ROUNDS = 3
DOCUMENTS = 2048
FILE_DOCUMENTS, BLOCK_DOCUMENTS = 32_768, 512
WORKERS = (1, 4, 16)
PEER_BATCH = 512
"""Documents in a batch of the peer when it is set to run fast."""


def gemm_rate(dtype: torch.dtype) -> float:
    """Floating-point operations per second of the encoder's four matrix products."""
    rows = 2**16
    operands = [
        (torch.randn(rows, k, dtype=dtype, device="cuda"), torch.randn(n, k, dtype=dtype, device="cuda")) for k, n in PRODUCTS
    ]

    def products() -> None:
        for rows_, weight in operands:
            torch.nn.functional.linear(rows_, weight)
        torch.cuda.synchronize()

    with torch.inference_mode():
        best = min(timed(products) for _ in range(20))
    return 2 * rows * sum(k * n for k, n in PRODUCTS) / best


def measure_encoder(texts: list[str]) -> dict[str, Any]:
    """Compare with SentenceTransformer.encode at its defaults, and as fast as its settings make it."""
    precisions = candidate_precisions(EmbeddingConfig(), "cuda", detect_hardware())
    encoders = {name: load_encoder(EmbeddingConfig(precision=name, device="cuda")) for name in precisions}
    chosen = load_encoder(EmbeddingConfig(device="cuda"))
    directory = str(locate_model(EmbeddingConfig()))
    peer, tuned = (SentenceTransformer(directory, device="cuda") for _ in range(2))
    tuned.to(getattr(torch, precisions[-1]))
    tokenized = chosen.tokenize(texts)
    calls: dict[str, Callable[[], object]] = {
        "SentenceTransformer.encode": lambda: peer.encode(texts),
        f"the same, {precisions[-1]}, batches of {PEER_BATCH}": lambda: tuned.encode(texts, batch_size=PEER_BATCH),
    }
    default, best = calls
    calls |= {f"samplemix, {name}": partial(encode_with, encoder, texts) for name, encoder in encoders.items()}
    calls |= {f"encode alone, {name}": partial(encoder.encode, tokenized) for name, encoder in encoders.items()}
    for call in calls.values():
        call()
    rounds = [{name: timed(call) for name, call in calls.items()} for _ in range(ROUNDS)]
    seconds = {name: statistics.median(found[name] for found in rounds) for name in calls}
    rates: dict[str, float] = {precision: gemm_rate(getattr(torch, precision)) for precision in precisions}
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}; {len(texts)} documents, {tokenized.ids.size / len(texts):.0f}"
        f" tokens read of each, batches of {chosen.batch_tokens} tokens, one thread, median of {ROUNDS} rounds"
    )
    print(f"{'':40} {'documents/s':>12} {'speedup':>8} {'of the matrix products':>23}")
    for each, median in seconds.items():
        share = ""
        if each.startswith("encode alone"):
            share = f"{operations(tokenized) / median / rates[each.split()[-1]]:.2f}"
        print(f"{each:40} {len(texts) / median:12.1f} {seconds[default] / median:8.2f} {share:>23}")
    print(", ".join(f"{each}: {rate / 1e12:.0f} TFLOP/s" for each, rate in rates.items()))
    exact, near = (encoders[name].encode(tokenized) for name in (precisions[0], precisions[-1]))
    ours = seconds[f"samplemix, {chosen.precision}"]
    return {
        "precision": chosen.precision,
        "batch_tokens": chosen.batch_tokens,
        "encode_speedup": round(seconds[default] / ours, 2),
        "encode_speedup_over_tuned": round(seconds[best] / ours, 2),
        "encode_alone_over_tuned": round(seconds[best] / seconds[f"encode alone, {chosen.precision}"], 2),
        "least_cosine": round(float(np.sum(exact * near, axis=1).min()), 5),
    }


def measure_workers(texts: list[str], home: Path) -> dict[str, Any]:
    """Score one file end to end by workers that share the GPU: documents per second, and the ratio of several workers to one."""
    owner, rates = Owner.of(os.getpid()), {}
    embedding = {"device": "cuda"}
    with services(home, owner) as (stack, _):
        for workers in [count for count in WORKERS if count <= (os.cpu_count() or 1)]:
            seconds, memory = score_file(stack, owner, texts, workers=workers, block_documents=BLOCK_DOCUMENTS, embedding=embedding)
            rates[workers] = len(texts) / seconds
            largest = max(found for _, found in memory)
            share = rates[workers] / rates[1]
            print(f"{workers:2} workers: {rates[workers]:8.1f} documents/s, {share:5.2f} of one; the largest {largest:.0f} MB")
    return {"workers_over_one": {workers: round(rate / rates[1], 2) for workers, rate in rates.items()}}


def measure(corpus: Path | None) -> None:
    """In a process of one thread, print a table for each, and the figures as JSON."""
    torch.set_num_threads(1)
    numbered = [f"{i} {text}" for i, text in zip(range(FILE_DOCUMENTS), itertools.cycle(texts_of(corpus, DOCUMENTS)), strict=False)]
    figures = measure_encoder(numbered[:DOCUMENTS])
    with tempfile.TemporaryDirectory(prefix="samplemix-bench-") as directory:
        figures |= measure_workers(numbered, Path(directory) / "home")
    print(json.dumps(figures))


if __name__ == "__main__":
    if not torch.cuda.is_available():
        sys.exit("There is no GPU here: bench.scale measures CPUs.")
    if "--measure" in sys.argv:
        measure(Path(sys.argv[2]) if len(sys.argv) > 2 else None)
    else:
        command = [sys.executable, "-m", "bench.gpu", "--measure", *sys.argv[1:]]
        environment = os.environ | ONE_THREAD | {"SAMPLEMIX_DASK_WORKER_RESOURCES": "GPU=1"}
        sys.exit(subprocess.run(command, env=environment, check=False).returncode)
