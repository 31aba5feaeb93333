"""Quality: the composite score, content types and languages, and ordinal heads, against the forward pass they ride on. One thread.

Documents are those of a corpus that is given as an argument, or docstrings of installed packages. Last line JSON.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa

from bench.scale import texts_of, timed
from bench.scoring import ONE_THREAD
from samplemix_core.config import EmbeddingConfig
from samplemix_core.corpus.records import MAX_BATCH_RECORDS
from samplemix_core.embedding.encoder import load_encoder
from samplemix_core.quality.composite import FEATURES, measure, score_quality
from samplemix_core.quality.kinds import content_types, languages
from samplemix_core.quality.ordinal import HeadSettings, Inputs, expected_score, fit_heads
from samplemix_core.quality.rubric import DEFAULT_RUBRIC

ROUNDS = 5
DOCUMENTS, ENCODED = 20_000, 384
"""Documents that are scored, and of these the ones that are encoded."""


def best(call: object, rounds: int = ROUNDS) -> float:
    """The least seconds of several calls."""
    assert callable(call)
    return min(timed(call) for _ in range(rounds))


def heads_seconds(texts: list[str], vectors: np.ndarray) -> float:
    """Of heads for the seven dimensions and overall quality, on vectors and features, batch by batch as a worker has them."""
    features = measure(pa.array(texts, pa.large_string()))
    rng = np.random.default_rng(0)
    levels = {name: rng.integers(0, top + 1, len(texts)) for name, top in DEFAULT_RUBRIC.maxima.items()}
    heads, _ = fit_heads(Inputs(vectors, features), levels, DEFAULT_RUBRIC.maxima, HeadSettings())

    def score() -> None:
        for start in range(0, len(texts), MAX_BATCH_RECORDS):
            part = slice(start, start + MAX_BATCH_RECORDS)
            for probabilities in heads.probabilities(Inputs(vectors[part], features[part])).values():
                expected_score(probabilities)

    return best(score)


def main() -> None:
    """Print a table, then the ratios as JSON."""
    corpus = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    texts = texts_of(corpus, DOCUMENTS)
    table = pa.array(texts, pa.large_string())
    for warm_up in (score_quality, content_types):
        warm_up(table[:100])
    languages(texts[:100])
    composite = best(lambda: score_quality(table))
    kinds, spoken = best(lambda: content_types(table)), best(lambda: languages(texts))
    encoder = load_encoder(EmbeddingConfig())
    some = texts[:ENCODED]
    read = encoder.tokenize(some)
    vectors = encoder.encode(read)
    forward = best(lambda: encoder.encode(read), 2)
    heads = heads_seconds(some, vectors)
    n_bytes = sum(len(text.encode()) for text in texts) / len(texts)
    print(f"{len(texts):,} documents of {n_bytes:,.0f} bytes on average, {len(FEATURES)} features, one thread")
    rows = [
        ("composite score", len(texts) / composite, ""),
        ("content type", len(texts) / kinds, f"{kinds / composite:.2f} of the composite score's time"),
        ("language", len(texts) / spoken, f"{spoken / composite:.2f} of it"),
        (f"forward pass, {encoder.precision}", ENCODED / forward, ""),
        ("ordinal heads, 8 scores", ENCODED / heads, f"{heads / forward:.2%} of the forward pass"),
    ]
    for name, rate, said in rows:
        print(f"{name:<28}{rate:>12,.0f} documents/s   {said}")
    found = {
        "composite_docs_per_s": round(len(texts) / composite),
        "kinds_over_composite": round((kinds + spoken) / composite, 2),
        "ordinal_extra_share": round(heads / forward, 5),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    if "OMP_NUM_THREADS" not in os.environ:
        # Threads are chosen when libraries are loaded.
        sys.exit(
            subprocess.run(
                [sys.executable, "-m", "bench.quality", *sys.argv[1:]], env=os.environ | ONE_THREAD, check=False
            ).returncode
        )
    main()
