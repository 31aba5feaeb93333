"""Clusters of a sample of vectors: PCA, UMAP, HDBSCAN, then centroids in the encoder's own space.

HDBSCAN on the vectors themselves, or on their principal components, degenerates on real text (two clusters, or mostly noise),
and takes quadratic time; UMAP's few dimensions in between avoid both. UMAP's own transform is too slow for a corpus, so what
is kept of a cluster is its centroid and its radius. A seed fixes the result on one kind of machine; floating point may differ
between kinds, which is why the fitted model, not the seed, is what a mixture's lineage names.
"""

import math
import warnings

import numpy as np
import numpy.typing as npt
from hdbscan import HDBSCAN
from sklearn.decomposition import PCA

from samplemix_core.compiled import keep
from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.cluster_model import ClusterModel
from samplemix_core.diversity.geometry import Bounds, ClusterSums, nearest_centroid, separation
from samplemix_core.errors import DiversityHealthError

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
    from umap import UMAP, layouts, umap_

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

_FLOAT32_COSINE_ERROR = 1e-6
"""How far rounding can move a cosine in assign(); without it, copies of one text could lie outside a radius of 0."""


for _function in (*vars(umap_).values(), *vars(layouts).values()):
    keep(_function)  # Each process would compile them for 10 s.


def fit_clusters(vectors: Vectors, config: DiversityConfig, seed: int, encoder_id: str) -> ClusterModel:
    """Fit clusters on a sample of unit vectors (n, dim).

    The order of the vectors matters to the last bit: give them sorted by shard and row.

    Raises DiversityHealthError if the sample is too small or too uniform to cluster, holds values that are not finite, or has no
    cluster at all. Whether the clusters are any good is for cluster_model.check_health to say.
    """
    smallest = min_cluster_size(config, vectors.shape[0])
    _require_sample(vectors, config, smallest)
    labels = cluster(reduce(vectors, config, seed), config, smallest)
    if labels.max() < 0:
        raise DiversityHealthError(
            f"HDBSCAN found no cluster in a sample of {labels.size} documents: all of it is noise.",
            f"Lower diversity.min_cluster_size ({config.min_cluster_size}) or diversity.min_samples ({config.min_samples}), or mix"
            " by policy natural, which needs no clusters.",
        )
    return _model(vectors, labels, config, seed, encoder_id)


def one_cluster(vectors: Vectors, config: DiversityConfig, seed: int, encoder_id: str) -> ClusterModel:
    """Put all of a sample of unit vectors (n, dim), n at least 1, into one cluster, for policies that don't use diversity.

    Raises DiversityHealthError for values that are not finite.
    """
    _require_finite(vectors)
    return _model(vectors, np.zeros(vectors.shape[0], dtype=np.int32), config, seed, encoder_id)


def _model(vectors: Vectors, labels: Labels, config: DiversityConfig, seed: int, encoder_id: str) -> ClusterModel:
    """Build the model of the clusters that labels (n,) make of vectors (n, dim)."""
    centroids = _centroids(vectors, labels)
    distances = _member_distances(vectors, labels, centroids)
    radii = np.array([np.quantile(d, config.noise_quantile) + _FLOAT32_COSINE_ERROR for d in distances], dtype=np.float32)
    compactness = np.array([d.mean() for d in distances])
    nearest, distance = nearest_centroid(vectors, centroids)
    sums = ClusterSums.of(nearest, distance, centroids.shape[0])
    return ClusterModel(
        centroids=centroids,
        radii=radii,
        labels=labels,
        compactness=compactness,
        assigned=sums.counts,
        bounds=Bounds.of(sums.compactness(compactness) * separation(centroids)),
        config=config.identity(),
        seed=seed,
        encoder_id=encoder_id,
    )


def min_cluster_size(config: DiversityConfig, n: int) -> int:
    """Smallest cluster in a sample of n documents: the configured share of it, but no fewer than the configured size."""
    return max(config.min_cluster_size, math.ceil(config.min_cluster_share * n))


def reduce(vectors: Vectors, config: DiversityConfig, seed: int) -> Vectors:
    """Reduce vectors (n, dim) to the few dimensions that HDBSCAN clusters in, (n, umap_components).

    UMAP starts from principal components: on real text the clusters are as good as from its spectral start, which can fail to
    converge if the neighbour graph falls into parts, as it does with duplicates.
    """
    n, dim = vectors.shape
    components = min(config.pca_components, n - 1, dim)
    principal = PCA(components, svd_solver="covariance_eigh").fit_transform(vectors)
    reducer = UMAP(
        n_components=min(config.umap_components, components),
        n_neighbors=min(config.umap_neighbors, n - 1),
        metric="cosine",
        min_dist=0.0,
        init="pca",
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(reducer.fit_transform(principal), dtype=np.float32)


def cluster(reduced: Vectors, config: DiversityConfig, smallest: int) -> Labels:
    """HDBSCAN's clusters of reduced vectors, (n,): numbered by size, largest first, then by first member; -1 is noise."""
    hdbscan = HDBSCAN(
        min_cluster_size=smallest,
        min_samples=None if config.min_samples is None else min(config.min_samples, reduced.shape[0] - 1),
        cluster_selection_method=config.selection,
        core_dist_n_jobs=1,
    )
    found = hdbscan.fit_predict(reduced)
    names, first, sizes = np.unique(found[found >= 0], return_index=True, return_counts=True)
    renumbered = np.full(names.size + 1, -1, dtype=np.int32)
    renumbered[names[np.lexsort((first, -sizes))]] = np.arange(names.size, dtype=np.int32)
    labels: Labels = renumbered[found]
    return labels


def _require_finite(vectors: Vectors) -> None:
    if not np.all(np.isfinite(vectors)):
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise DiversityHealthError(
            f"Vector {row} of the sample holds a value that is not finite.",
            "Its shard's embedding file is damaged: score it again.",
        )


def _require_sample(vectors: Vectors, config: DiversityConfig, smallest: int) -> None:
    _require_finite(vectors)
    n = vectors.shape[0]
    least = max(2 * smallest, config.umap_components + 2)
    distinct = np.unique(vectors, axis=0).shape[0] if n >= least else 0
    if n < least or distinct < config.umap_components + 2:
        found = f"{n} documents" if n < least else f"{n} documents, but only {distinct} different ones"
        raise DiversityHealthError(
            f"The sample has {found}: too few to cluster."
            f" It takes {least} documents and {config.umap_components + 2} different ones with these settings.",
            f"Add documents, lower diversity.min_cluster_size ({config.min_cluster_size}), or mix by policy natural, which needs no"
            " clusters.",
        )


def _centroids(vectors: Vectors, labels: Labels) -> Vectors:
    """Normalised mean of each cluster's members, (K, dim); a mean without direction falls back to the first member."""
    centroids = np.empty((int(labels.max()) + 1, vectors.shape[1]), dtype=np.float32)
    for j in range(centroids.shape[0]):
        members = vectors[labels == j]
        mean = members.mean(axis=0, dtype=np.float64)
        norm = np.linalg.norm(mean)
        centroids[j] = mean / norm if norm > 1e-6 else members[0]
    return centroids


def _member_distances(vectors: Vectors, labels: Labels, centroids: Vectors) -> list[npt.NDArray[np.float64]]:
    """Cosine distances of each cluster's members to its centroid."""
    return [
        np.maximum(1.0 - (vectors[labels == j].astype(np.float64) * centroid).sum(axis=1), 0.0)
        for j, centroid in enumerate(centroids)
    ]
