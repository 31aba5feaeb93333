"""Ways to find clusters in a sample of vectors, one function each.

HDBSCAN and PLSCAN on the vectors themselves, or on their principal components, degenerate on real text (two clusters, or mostly
noise), and take quadratic time; UMAP's few dimensions in between avoid both. A seed fixes the result on one kind of machine;
floating point may differ between kinds, which is why the fitted model, not the seed, is what a mixture's lineage names.

The libraries take seconds to import, so each is imported where it is used.
"""

import math
import warnings
from collections.abc import Callable
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from samplemix_core.config.run import DiversityConfig, FitMode
from samplemix_core.errors import ConfigError

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

MOST_EXACT = 30_000
"""Documents of a sample up to which neighbours are found by comparing all with all; of more, UMAP looks for them by its own way."""

_ITERATIONS = 25
_LEAST_DIMENSIONS = 5


class Prepared:
    """A sample's unit vectors, (n, dim), and what fits share of it, made when first needed."""

    def __init__(self, vectors: Vectors, config: DiversityConfig) -> None:
        """Take the vectors as they are."""
        self.vectors, self.config = vectors, config

    @property
    def clusters(self) -> int:
        """See clusters_wanted."""
        return clusters_wanted(self.config, len(self.vectors))

    @property
    def min_cluster_size(self) -> int:
        """See the function of this name."""
        return min_cluster_size(self.config, len(self.vectors))

    @property
    def min_samples(self) -> int | None:
        """HDBSCAN's min_samples, for as many documents as there are."""
        return None if self.config.min_samples is None else min(self.config.min_samples, len(self.vectors) - 1)

    @cached_property
    def principal(self) -> Vectors:
        """The vectors' principal components."""
        from sklearn.decomposition import PCA

        n, dim = self.vectors.shape
        found = PCA(min(self.config.pca_components, n - 1, dim), svd_solver="covariance_eigh").fit_transform(self.vectors)
        return np.asarray(found, dtype=np.float32)

    @cached_property
    def neighbours(self) -> tuple[npt.NDArray[np.int32], Vectors]:
        """The nearest of each document by the cosine of their principal components, itself first, and their distances."""
        from samplemix_core.diversity.nearest import nearest_neighbours

        norms = np.linalg.norm(self.principal, axis=1, keepdims=True)
        units = self.principal / np.maximum(norms, np.finfo(np.float32).tiny)
        return nearest_neighbours(units, min(self.config.umap_neighbors, len(units) - 1))

    def reduced(self, seed: int, start: Vectors | Literal["pca"] = "pca", spread: float = 0.0) -> Vectors:
        """Return the few dimensions that HDBSCAN and PLSCAN cluster in, (n, umap_components).

        UMAP starts from principal components: on real text the clusters are as good as from its spectral start, which can fail to
        converge if the neighbour graph falls into parts, as it does with duplicates. Or it starts from places (n,
        umap_components). spread: least distance of documents that are alike, for maps to be looked at.
        """
        umap = _umap()
        n, components = len(self.vectors), self.principal.shape[1]
        exact = {"precomputed_knn": (*self.neighbours, None)} if n <= MOST_EXACT else {}
        with warnings.catch_warnings():
            # That it can't transform others, which nobody asks for; and that a seed means one thread, which is what is wanted.
            warnings.filterwarnings("ignore", module="umap")
            reducer = umap(
                n_components=min(self.config.umap_components, components),
                n_neighbors=min(self.config.umap_neighbors, n - 1),
                metric="cosine",
                min_dist=spread,
                init=start,
                n_epochs=self.config.umap_epochs,
                random_state=seed,
                n_jobs=1,
                **exact,
            )
            return np.asarray(reducer.fit_transform(self.principal), dtype=np.float32)


def min_cluster_size(config: DiversityConfig, n: int) -> int:
    """Smallest cluster in a sample of n documents: the configured share of it, but no fewer than the configured size."""
    return max(config.min_cluster_size, math.ceil(config.min_cluster_share * n))


def clusters_wanted(config: DiversityConfig, n: int) -> int:
    """How many clusters of n documents to look for, in modes that don't find it out."""
    # The same for a smaller sample, as far as it goes, because d is: see docs/diversity.md.
    by_size = min(math.isqrt(config.sample_size), max(n // 10, config.gate_min_clusters, 2))
    return min(config.clusters or by_size, n)


def lower_min_samples(config: DiversityConfig) -> str:
    """How to find more, and less noise, in words."""
    if config.min_samples is None:
        return f"set min_samples, which is min_cluster_size ({config.min_cluster_size}) without"
    return f"lower min_samples ({config.min_samples})"


def _umap() -> Callable[..., Any]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
        from umap import UMAP, layouts, umap_

    from samplemix_core.compiled import keep

    for function in (*vars(umap_).values(), *vars(layouts).values()):
        keep(function)  # Each process would compile them for 10 s.
    return UMAP  # type: ignore[no-any-return] # umap has no types


def hdbscan(sample: Prepared, seed: int) -> Labels:
    """HDBSCAN (Campello et al. 2013) of what UMAP makes of the sample."""
    from hdbscan import HDBSCAN

    found = HDBSCAN(
        min_cluster_size=sample.min_cluster_size,
        min_samples=sample.min_samples,
        cluster_selection_method=sample.config.selection,
        core_dist_n_jobs=1,
    ).fit_predict(sample.reduced(seed))
    return np.asarray(found, dtype=np.int32)


def plscan(sample: Prepared, seed: int) -> Labels:
    """PLSCAN (Bot et al. 2025) of what UMAP makes of the sample: HDBSCAN at the smallest cluster that persists longest."""
    try:
        from fast_plscan import PLSCAN
    except ModuleNotFoundError as error:
        raise ConfigError(
            "fast-plscan isn't installed: it has no wheel for this processor.", "Leave plscan out of diversity.modes."
        ) from error
    few = len(sample.vectors) - 1
    found = PLSCAN(min_samples=sample.min_samples or min(5, few), num_threads=1).fit_predict(sample.reduced(seed))
    return np.asarray(found, dtype=np.int32)


def evoc(sample: Prepared, seed: int) -> Labels:
    """EVoC (Embedding Vector Oriented Clustering), on the vectors themselves, at about as many clusters as are asked for."""
    import numba
    from evoc import EVoC

    few, dim = len(sample.vectors) - 1, sample.vectors.shape[1]
    if dim < _LEAST_DIMENSIONS:
        raise ConfigError(
            f"evoc takes vectors of {_LEAST_DIMENSIONS} dimensions or more, not {dim}.", "Leave evoc out of diversity.modes."
        )
    evoc = EVoC(approx_n_clusters=sample.clusters, n_neighbors=min(15, few), min_samples=min(5, few), random_state=seed)
    threads = numba.get_num_threads()
    # It cuts its work by threads: with several, a seed fixes nothing.
    numba.set_num_threads(1)
    try:
        with np.errstate(invalid="ignore", divide="ignore"):
            # Of few documents, some have fewer neighbours than it looks for.
            return np.asarray(evoc.fit_predict(sample.vectors), dtype=np.int32)
    finally:
        numba.set_num_threads(threads)


def kmeans(sample: Prepared, seed: int) -> Labels:
    """Spherical k-means (Dhillon and Modha 2001), from k-means++; a cluster that runs empty takes the farthest document."""
    from scipy.sparse import csr_array
    from sklearn.cluster import kmeans_plusplus

    from samplemix_core.diversity.nearest import nearest_centroid

    centroids, _ = kmeans_plusplus(sample.vectors, sample.clusters, random_state=seed)
    labels = np.full(len(sample.vectors), -1, dtype=np.int32)
    for _ in range(_ITERATIONS):
        found, distance = nearest_centroid(sample.vectors, centroids)
        if np.array_equal(found, labels):
            break
        labels = found
        members = csr_array((np.ones(len(labels)), (labels, np.arange(len(labels)))), shape=(len(centroids), len(labels)))
        sums = members @ sample.vectors.astype(np.float64)
        norms = np.linalg.norm(sums, axis=1)
        lost = np.flatnonzero(norms < 1e-6)
        sums[lost] = sample.vectors[np.argsort(-distance, kind="stable")[: lost.size]]
        norms[lost] = 1.0
        centroids = (sums / norms[:, None]).astype(np.float32)
    return labels


MODES: dict[FitMode, Callable[[Prepared, int], Labels]] = {"hdbscan": hdbscan, "plscan": plscan, "evoc": evoc, "kmeans": kmeans}
"""The ways by name: labels (n,) of a sample by a seed, -1 for noise."""


def cluster(sample: Prepared, mode: FitMode, seed: int) -> Labels:
    """Return a mode's clusters of a sample, (n,): numbered by size, largest first, then by first member; -1 is noise."""
    found = MODES[mode](sample, seed)
    names, first, sizes = np.unique(found[found >= 0], return_index=True, return_counts=True)
    renumbered = np.full(int(found.max(initial=-1)) + 2, -1, dtype=np.int32)
    renumbered[names[np.lexsort((first, -sizes))]] = np.arange(names.size, dtype=np.int32)
    return renumbered[found]
