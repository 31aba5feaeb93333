"""Near-duplicates and benchmarks on one core: signatures against rensa's, pairs that are found against a comparison of all with
all, and texts of a benchmark that are found again.

    python -m bench.overlap [DIRECTORY]

Documents are those of this machine, or the JSON lines and Parquet files below DIRECTORY, such as a crawl. Copies of some are
planted, with single words changed. Part of `python -m bench.policies`.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.reader import ShardReader
from samplemix_core.corpus.shards import format_of
from samplemix_core.demo.corpus import collect
from samplemix_core.errors import ShardRefusedError
from samplemix_core.models.benchmarks import recall_by_injection
from samplemix_core.overlap.contamination import find_parts, index_parts
from samplemix_core.overlap.minhash import bands
from samplemix_core.overlap.pairs import candidates, similarities
from samplemix_core.overlap.recipe import BANDS, LEAST_SIMILARITY, PERMUTATIONS
from samplemix_core.overlap.words import shingle_sets, shingles, words
from tests.peers import peers

DOCUMENTS, MOST_DOCUMENTS = 6_000, 25_000
ALL_WITH_ALL = 4_000
SIMILARITY = 0.8
BENCHMARK_TEXTS = 1_500
RENSA = ("rensa==0.5.0",)

_RENSA = """
import sys, time
import numpy as np
from rensa import RMinHash
with np.load(sys.argv[1]) as found:
    hashes, begins = found["hashes"], found["begins"].astype(np.uint64)
seconds = []
for _ in range(3):
    start = time.perf_counter()
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(hashes, begins, int(sys.argv[2]), 42)
    np.array(matrix.to_rows(), dtype=np.uint32)
    seconds.append(time.perf_counter() - start)
print(min(seconds))
"""


def texts_below(directory: Path) -> Iterator[str]:
    """The texts of the files below a directory, named snapshot/domain/file or file alone."""
    reader = ReaderConfig()
    for path in sorted(path for path in directory.rglob("*") if path.is_file() and format_of(path.name) is not None):
        with path.open("rb") as stream:
            try:
                for batch in ShardReader(stream, f"s/d/{path.name}", reader).read():
                    yield from batch.documents["text"].to_pylist()
            except ShardRefusedError as error:
                print(f"left out: {error.what}", file=sys.stderr)


def documents(directory: Path | None) -> list[str]:
    """Documents to measure on."""
    if directory is not None:
        found = texts_below(directory)
        return [text for text, _ in zip(found, range(MOST_DOCUMENTS), strict=False)]
    with tempfile.TemporaryDirectory() as made:
        collect(Path(made), "s", DOCUMENTS)
        return list(texts_below(Path(made)))


def edited(text: str, share: float, rng: np.random.Generator) -> str:
    """The text with this share of its words replaced."""
    words = re.split(r"(\s+)", text)
    places = [i for i in range(0, len(words), 2) if words[i]]
    for i in rng.permutation(places)[: round(share * len(places))].tolist():
        words[i] = f"word{rng.integers(10**6)}"
    return "".join(words)


def fastest(times: int, work: Callable[[], object]) -> float:
    """Seconds of the fastest of several times."""
    seconds = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def pairs_of(texts: pa.LargeStringArray) -> tuple[np.ndarray, np.ndarray]:
    """Pairs (k, 2) that are alike, and their similarities, as the platform finds them."""
    hashes, begins = shingle_sets(texts)
    keys, n = bands(hashes, begins), len(texts)
    worded = np.flatnonzero(np.diff(begins) > 0)
    spread = np.random.default_rng(1).integers(0, 2**63, n).astype(np.uint64)
    is_new = np.ones(n, dtype=np.bool_)
    found = np.concatenate([candidates(keys[worded, band], worded, spread, is_new) for band in range(BANDS)])
    found = np.unique(found, axis=0)
    similarity = similarities(hashes, begins, found[:, 0], found[:, 1])
    alike = similarity >= LEAST_SIMILARITY
    return found[alike], similarity[alike]


def all_with_all(texts: pa.LargeStringArray) -> np.ndarray:
    """Pairs (k, 2) of at least SIMILARITY, by comparing each text with each."""
    hashes, begins = shingle_sets(texts)
    found = []
    for first in range(len(texts) - 1):
        others = np.arange(first + 1, len(texts))
        near = others[similarities(hashes, begins, np.full(others.size, first), others) >= SIMILARITY]
        found.append(np.stack([np.full(near.size, first), near], axis=1))
    return np.concatenate(found)


def benchmark_texts(texts: list[str], rng: np.random.Generator) -> list[str]:
    """Stretches of 20 to 80 words of some documents."""
    found = []
    for text in texts:
        own = text.split()
        length = int(rng.integers(20, 81))
        if len(own) >= length:
            start = int(rng.integers(0, len(own) - length + 1))
            found.append(" ".join(own[start : start + length]))
    return found


def plainly(one: str, other: str) -> float:
    """The similarity of two texts by Python's sets of words."""
    sets = []
    for text in (one, other):
        words = re.findall(r"[^\W_]+", text.lower())
        sets.append({tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def run(directory: Path | None = None) -> dict[str, float]:
    """Measure, print a table, and return the figures."""
    found = documents(directory)
    rng = np.random.default_rng(3)
    table = pa.array(found, pa.large_string())
    # Compiled before it is timed.
    bands(*shingles(table))
    hashes, begins = shingles(table)
    hashing, signing = fastest(3, lambda: shingles(table)), fastest(3, lambda: bands(hashes, begins))
    with tempfile.TemporaryDirectory() as made:
        np.savez(Path(made) / "shingles.npz", hashes=hashes, begins=begins)
        command = [str(peers("bench-overlap", RENSA)), "-c", _RENSA, str(Path(made) / "shingles.npz"), str(PERMUTATIONS)]
        rensa = float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    some = [found[i] for i in rng.permutation(len(found))[: ALL_WITH_ALL // 2].tolist()]
    near = [edited(text, share, rng) for text in some for share in (0.01, 0.03)]
    planted = pa.array([*some, *near][:ALL_WITH_ALL], pa.large_string())
    expected = {tuple(pair) for pair in all_with_all(planted).tolist()}
    pairs, similarity = pairs_of(planted)
    ours = {tuple(pair) for pair in pairs[similarity >= SIMILARITY].tolist()}
    by_sets = [plainly(planted[i].as_py(), planted[j].as_py()) >= SIMILARITY - 0.005 for i, j in sorted(ours)[:500]]
    n = len(found)
    print(
        f"{n:,} documents of {hashes.size / n:.0f} runs of five words, {n / (hashing + signing):,.0f} documents/s a core:", end=" "
    )
    print(f"words {n / hashing:,.0f}, signatures {n / signing:,.0f}; rensa's signatures {n / rensa:,.0f}")
    print(
        f"of {len(expected):,} pairs over {SIMILARITY} in {len(planted):,} documents {len(ours & expected):,} are found;", end=" "
    )
    print(f"of those found {np.mean(by_sets):.3f} are alike by Python's sets of words")
    # The last documents lend the benchmark's texts, and the others are searched.
    index = index_parts(pa.array(benchmark_texts(found[-BENCHMARK_TEXTS:], rng), pa.large_string()))
    searched = table[: len(found) - BENCHMARK_TEXTS]
    find_parts(index, *words(searched[:10]))
    searching = fastest(3, lambda: find_parts(index, *words(searched)))
    recall = recall_by_injection(pa.array(benchmark_texts(found[-BENCHMARK_TEXTS:], np.random.default_rng(3)), pa.large_string()))
    print(f"benchmark of {index.n_words.size:,} texts: {len(searched) / searching:,.0f} documents/s a core; found again:", end=" ")
    print(", ".join(f"{kind} {share:.3f}" for kind, share in recall.items()))
    return {
        "decontaminate_docs_per_s": round(len(searched) / searching),
        "decontaminate_recall": round(min(recall["exact"], recall["re-wrapped"]), 4),
        "decontaminate_recall_edited": round(min(recall["case and punctuation"], recall["one word in ten"]), 4),
        "minhash_docs_per_s": round(n / (hashing + signing)),
        "minhash_signatures_over_rensa": round(rensa / signing, 2),
        "minhash_recall": round(len(ours & expected) / max(1, len(expected)), 4),
        "minhash_precision": round(float(np.mean(by_sets)), 4),
    }


if __name__ == "__main__":
    print(json.dumps(run(*(Path(argument) for argument in sys.argv[1:]))))
