"""Encoding, against sentence-transformers' own encode() on the same documents in the same run, on one thread.

The documents are docstrings of installed packages, so nothing is downloaded and every machine has them.
"""

import ast
import hashlib
import importlib.util
import json
import os
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.embedding.loading import detect_hardware, locate_model

PACKAGES = ("sklearn", "sqlalchemy", "dask", "distributed")
SHORTEST, LONGEST = 300, 20_000
"""Characters of a document; with these, documents read 190 tokens on average."""


def docstrings() -> Iterator[str]:
    """Docstrings of modules, classes and functions of the packages."""
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec is not None
        assert spec.origin is not None
        for path in sorted(Path(spec.origin).parent.rglob("*.py")):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)
                tree = ast.parse(path.read_text())
            for node in ast.walk(tree):
                if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                    text = ast.get_docstring(node) or ""
                    if SHORTEST <= len(text) <= LONGEST:
                        yield text


def collect(n: int) -> list[str]:
    """Distinct docstrings, in the order of their hashes: a fixed choice that favours no package."""
    return sorted(set(docstrings()), key=lambda text: hashlib.sha256(text.encode()).digest())[:n]


def encode_with(encoder: Encoder, texts: list[str]) -> object:
    """Do what scoring does with a batch: tokenise whole texts, then embed."""
    return encoder.encode(encoder.tokenize(texts))


def seconds(encode: Callable[[list[str]], object], texts: list[str]) -> float:
    """CPU seconds of a call: with one thread its run time, less what other processes took."""
    start = time.process_time()
    encode(texts)
    return time.process_time() - start


def run(documents: int = 128, rounds: int = 3) -> dict[str, float | None]:
    """Measure all in turns, print a table, and return the median over the rounds of the peer's time over ours.

    encode_speedup_bf16 is None if the processor does not compute bfloat16 natively.
    """
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    texts = collect(documents)
    precisions = ["float32", "bfloat16"] if detect_hardware().cpu_bfloat16 else ["float32"]
    encoders = [load_encoder(EmbeddingConfig.model_validate({"precision": name, "device": "cpu"})) for name in precisions]
    peer = SentenceTransformer(str(locate_model(EmbeddingConfig())), device="cpu")
    contenders: dict[str, Callable[[list[str]], object]] = {"SentenceTransformer.encode, float32": peer.encode}
    contenders |= {f"samplemix, {encoder.precision}": partial(encode_with, encoder) for encoder in encoders}
    for encode in contenders.values():
        encode(texts[:16])
    times = [{name: seconds(encode, texts) for name, encode in contenders.items()} for _ in range(rounds)]

    peer_name, *ours = contenders
    speedups = {name: statistics.median(row[peer_name] / row[name] for row in times) for name in contenders}
    tokens = encoders[0].tokenize(texts).ids.size / len(texts)
    print(f"{len(texts)} documents, {tokens:.0f} tokens read of each on average, one thread, median of {rounds} rounds")
    print(f"{'':38} {'documents/s':>12} {'speedup':>8}")
    for name in contenders:
        print(f"{name:38} {len(texts) / statistics.median(row[name] for row in times):12.1f} {speedups[name]:8.2f}")
    return {
        "encode_speedup_fp32": round(speedups[ours[0]], 3),
        "encode_speedup_bf16": round(speedups[ours[1]], 3) if len(ours) > 1 else None,
    }


if __name__ == "__main__":
    print(json.dumps(run()))
