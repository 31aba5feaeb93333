"""Diversity: assignment against this machine's matrix products, fits against HDBSCAN on raw vectors, and how steady d is.

    python -m bench.diversity [DIRECTORY] [DOCUMENTS] [VECTORS]

DIRECTORY is a snapshot of a corpus; without it documents are docstrings of this machine. DOCUMENTS of them (4,000, evenly spread; 0
for all) are embedded, which takes most of the time; VECTORS is a .npz file that keeps them for the next time. One thread. Seconds
are of processor time. Last line JSON.
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch
from threadpoolctl import threadpool_limits

from bench.scale import shard_texts, texts_of
from bench.solver import peak_megabytes
from samplemix_core.config.run import DiversityConfig, EmbeddingConfig
from samplemix_core.corpus.shards import is_shard
from samplemix_core.diversity.cluster_model import ClusterModel, Kinds
from samplemix_core.diversity.fit import fit_clusters
from samplemix_core.diversity.geometry import rank_correlation
from samplemix_core.diversity.modes import Prepared, cluster
from samplemix_core.diversity.nearest import nearest_centroid
from samplemix_core.embedding.encoder import load_encoder
from samplemix_core.quality.kinds import content_types, languages

DOCUMENTS, SEEDS = 4_000, 5
CENTROIDS, ROWS = 1_000, 2**15
RAW = 2_500
"""Documents up to which HDBSCAN is tried on raw vectors. For more, its time is extrapolated from that of half and of all."""

LEAST = 200
"""Documents of a language or content type whose weight is looked at."""

STREAMED = 2_000_000

Vectors = npt.NDArray[np.float32]


class Sample(NamedTuple):
    """Documents' vectors and kinds, and the seconds of a core that embedding took."""

    vectors: Vectors
    kinds: Kinds
    seconds: float

    def part(self, rows: npt.NDArray[np.int64]) -> "Sample":
        kinds = self.kinds._replace(language=self.kinds.language[rows], content_type=self.kinds.content_type[rows])
        return Sample(self.vectors[rows], kinds, self.seconds)


def embedded(texts: list[str]) -> tuple[npt.NDArray[np.float16], float]:
    """Vectors of texts as they are stored, and the seconds they took, without loading the encoder."""
    torch.set_num_threads(1)
    encoder = load_encoder(EmbeddingConfig())
    started = time.process_time()
    parts = [encoder.encode(encoder.tokenize(texts[i : i + 500])).astype(np.float16) for i in range(0, len(texts), 500)]
    return np.concatenate(parts), time.process_time() - started


def snapshot_texts(directory: Path, documents: int) -> list[str]:
    """So many texts of a snapshot, evenly spread, or all."""
    paths = [path for path in sorted(directory.rglob("*")) if path.is_file() and is_shard(str(path.relative_to(directory.parent)))]
    texts = [text for path in paths for text in shard_texts(directory.parent, path)]
    wanted = min(documents or len(texts), len(texts))
    return [texts[i * len(texts) // wanted] for i in range(wanted)]


def read(directory: Path | None, documents: int, kept: Path | None) -> Sample:
    """Embed documents, on all cores, or take them from the file where they were kept."""
    if kept is None or not kept.exists():
        texts = texts_of(None, documents or DOCUMENTS) if directory is None else snapshot_texts(directory, documents)
        cores = os.cpu_count() or 1
        with ProcessPoolExecutor(cores, mp_context=multiprocessing.get_context("spawn")) as pool:
            found = list(pool.map(embedded, [texts[i::cores] for i in range(cores)]))
        vectors = np.empty((len(texts), found[0][0].shape[1]), dtype=np.float16)
        for i, (part, _) in enumerate(found):
            vectors[i::cores] = part
        columns = {
            "vectors": vectors,
            "languages": np.array(languages(texts)),
            "content_types": np.array(content_types(pa.array(texts, pa.large_string()))),
            "seconds": np.array(sum(seconds for _, seconds in found)),
        }
        if kept is not None:
            np.savez(kept, allow_pickle=False, **columns)
    else:
        with np.load(kept) as file:
            columns = dict(file)
    single = columns["vectors"].astype(np.float32)
    single /= np.linalg.norm(single, axis=1, keepdims=True)
    names, codes = zip(*(np.unique(columns[name], return_inverse=True) for name in ("languages", "content_types")), strict=True)
    return Sample(single, Kinds(names[0].tolist(), names[1].tolist(), *codes), float(columns["seconds"]))


def best(call: Callable[[], object], rounds: int = 3) -> float:
    """The least wall seconds of several calls, after one."""
    call()
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def used(call: Callable[[], object]) -> float:
    """Processor seconds of one call."""
    started = time.process_time()
    call()
    return time.process_time() - started


def assignment(vectors: Vectors) -> dict[str, float]:
    """The product with as many centroids as there may be, and finding the nearest; and how the time grows."""
    draw = np.random.default_rng(0)
    rows = vectors[draw.integers(0, len(vectors), 4 * ROWS)]
    centroids = rows[draw.permutation(len(rows))[:CENTROIDS]]
    out = np.empty((1024, CENTROIDS), dtype=np.float32)

    def gemm() -> None:
        for start in range(0, ROWS, 1024):
            np.matmul(rows[start : start + 1024], centroids.T, out=out)

    halves = torch.from_numpy(rows[:ROWS]).bfloat16(), torch.from_numpy(centroids).bfloat16().T

    def half_gemm() -> None:
        for start in range(0, ROWS, 1024):
            _ = halves[0][start : start + 1024] @ halves[1]

    bound, half = best(gemm), best(half_gemm)
    seconds = {size: best(partial(nearest_centroid, rows[:size], centroids)) for size in (ROWS // 2, ROWS, 4 * ROWS)}
    exponent = np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)[0]
    each = {"product in float32": bound, "in bfloat16": half, "nearest": seconds[ROWS]}
    print(", ".join(f"{name} {value / ROWS * 1e6:.2f} us a vector" for name, value in each.items()))
    # Against the faster of the two.
    return {"assign_over_gemm": min(bound, half) / seconds[ROWS], "assign_exponent": float(exponent)}


def streamed(model: bytes, vectors: Vectors) -> float:
    """The most memory, in MB above what it has at first, while a worker's loop assigns STREAMED vectors, a batch at a time."""
    own, before = ClusterModel.from_bytes(model), peak_megabytes()
    for start in range(0, STREAMED, 4096):
        own.assign(vectors[(np.arange(start, start + 4096)) % len(vectors)], None)
    return peak_megabytes() - before


def main() -> None:
    """Run it all and print the ratios."""
    arguments = sys.argv[1:]
    directory = Path(arguments[0]) if arguments else None
    documents = int(arguments[1]) if len(arguments) > 1 else DOCUMENTS
    kept = Path(arguments[2]) if len(arguments) > 2 else None
    sample = read(directory, documents, kept)
    n = len(sample.vectors)
    print(f"{n:,} documents, embedded in {sample.seconds:.0f} s of a core")
    figures = assignment(sample.vectors)
    config = DiversityConfig()
    fit_clusters(sample.vectors[:600], config, 0, "", None)  # Compiles.

    models, seconds = list[ClusterModel](), list[float]()
    draw = np.random.default_rng(1)
    size = min(config.sample_size, round(0.9 * n))
    for seed in range(SEEDS):
        own = sample.part(np.sort(draw.permutation(n)[:size]))
        started = time.process_time()
        models.append(fit_clusters(own.vectors, config, seed, "", own.kinds))
        seconds.append(time.process_time() - started)
    found = [model.assign(sample.vectors, sample.kinds) for model in models]
    between = [rank_correlation(a.diversity, b.diversity) for i, a in enumerate(found) for b in found[:i]]
    own = sample.part(np.sort(draw.permutation(n)[: n // 5]))
    fifth = fit_clusters(own.vectors, config, SEEDS, "", own.kinds).assign(sample.vectors, sample.kinds)
    of_fifth = [rank_correlation(fifth.diversity, each.diversity) for each in found]
    against = {}
    for evenness in (config.evenness, 0.0):
        alone = config.model_copy(update={"modes": ("kmeans",), "fits": 1, "evenness": evenness})
        kmeans = fit_clusters(sample.vectors, alone, SEEDS + 1, "", sample.kinds).assign(sample.vectors, sample.kinds)
        against[evenness] = np.mean([rank_correlation(kmeans.diversity, each.diversity) for each in found])
    first = models[0].first
    print(f"{len(models[0].fits)} fits on {size:,} documents: {np.mean(seconds):.1f} s")
    print(f"{first.n_clusters} clusters, noise {first.noise_share:.1%}")
    print(f"d between {SEEDS} seeds and samples {np.mean(between):.3f} ({min(between):.3f} at least)")
    print(f"d of a fifth {np.mean(of_fifth):.3f}")
    print("d against one fit by k-means, " + ", ".join(f"evenness {value:g} {found:.3f}" for value, found in against.items()))

    weight = np.exp(0.8 * found[0].diversity.astype(np.float64) / 0.2)
    weight /= weight.mean()
    multipliers = {}
    for names, codes in ((sample.kinds.languages, sample.kinds.language), (sample.kinds.content_types, sample.kinds.content_type)):
        for code, name in enumerate(names):
            if np.count_nonzero(codes == code) >= LEAST:
                multipliers[name] = float(weight[codes == code].mean())
    lowest_first = sorted(multipliers.items(), key=lambda item: item[1])
    print("mean weight by d: " + ", ".join(f"{name} {value:.2f}" for name, value in lowest_first))

    one = Prepared(sample.vectors[: min(n, size)], config)
    fit_seconds = used(lambda: cluster(one, "hdbscan", 1))
    raw_seconds = raw_hdbscan(sample.vectors, len(one.vectors))
    print(f"HDBSCAN on raw vectors, extrapolated from {RAW:,}: {raw_seconds:.0f} s; by UMAP {fit_seconds:.1f} s")
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        peak = pool.submit(streamed, models[0].to_bytes(), sample.vectors[:20_000]).result()
    print(f"assigning {STREAMED:,} vectors takes {peak:.0f} MB above the model")
    assigning = used(lambda: models[0].assign(sample.vectors, sample.kinds))
    figures |= {
        "assign_peak_mb": peak,
        "fit_speedup_over_raw_hdbscan": raw_seconds / fit_seconds,
        "clusters": float(first.n_clusters),
        "noise_share": first.noise_share,
        "stability_seed_spearman": float(np.mean(between)),
        "stability_fifth_spearman": float(np.mean(of_fifth)),
        "kmeans_spearman": float(against[config.evenness]),
        "worst_language_multiplier": min(multipliers.values()),
        "ensemble_cost": (float(np.mean(seconds)) + assigning) / sample.seconds,
    }
    print(json.dumps({name: round(value, 4) for name, value in figures.items()}))


def raw_hdbscan(vectors: Vectors, documents: int) -> float:
    """Seconds of HDBSCAN on the vectors themselves, extrapolated to so many documents."""
    from hdbscan import HDBSCAN

    seconds = {}
    for size in (RAW // 2, RAW):
        clusterer = HDBSCAN(min_cluster_size=20, min_samples=5, core_dist_n_jobs=1)
        seconds[size] = used(partial(clusterer.fit_predict, vectors[:size]))
    slope = np.log2(seconds[RAW] / seconds[RAW // 2])
    return float(seconds[RAW] * (documents / RAW) ** slope)


if __name__ == "__main__":
    with threadpool_limits(1):
        main()
