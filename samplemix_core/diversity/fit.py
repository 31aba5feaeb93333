"""A cluster model from a sample of vectors: fits by each mode, view and seed, then centroids in the encoder's own space.

UMAP's own transform is too slow for a corpus, so what is kept of a cluster is its centroid and its radius.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from samplemix_core.config.run import DiversityConfig, FitMode, View
from samplemix_core.diversity.cluster_model import INHERITED, ClusterModel, Fit, Groups, Kinds
from samplemix_core.diversity.geometry import centred, separation
from samplemix_core.diversity.lineage import inherit, inherits
from samplemix_core.diversity.measures import Neighbours
from samplemix_core.diversity.modes import Prepared, cluster, clusters_wanted, lower_min_samples, min_cluster_size
from samplemix_core.errors import DiversityHealthError
from samplemix_core.identity import fingerprint

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

_FLOAT32_COSINE_ERROR = 1e-6
"""How far rounding can move a cosine. Copies of one text may lie so far outside a radius of 0, and have no compactness up to it."""


def fit_clusters(
    vectors: Vectors,
    config: DiversityConfig,
    seed: int,
    encoder_id: str,
    kinds: Kinds | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    parent: ClusterModel | None = None,
) -> ClusterModel:
    """Fit clusters on a sample of unit vectors (n, dim), whose languages and content types are `kinds`.

    The order of the vectors matters to the last bit: give them sorted by shard and row. Clusters of a `parent` of the same
    settings that are still there stay, and are the ones that are named. d doesn't depend on it.

    Raises DiversityHealthError if the sample is too small or too uniform to cluster, holds values that are not finite, or has no
    cluster at all. Whether the clusters are any good is for cluster_model.check_health to say.
    """
    _require_sample(vectors, config)
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    samples = {view: Prepared(vectors if view == "plain" else centred(vectors, mean), config) for view in config.views}
    wanted = [(mode, view, number) for number in range(config.fits) for view in config.views for mode in config.modes]
    fits = list[Fit]()
    for mode, view, number in wanted:
        on_progress(len(fits), len(wanted))
        own = seed_of_fit(seed, mode, view, number)
        labels = cluster(samples[view], mode, own)
        if labels.max() < 0:
            raise DiversityHealthError(
                f"{mode} found no cluster in a sample of {labels.size} documents: all of it is noise.",
                f"In the run's diversity settings, {_lower(mode, config, labels.size)}, or leave {mode} out of modes; or mix by"
                " policy natural, which needs no clusters.",
            )
        fits.append(_fit(samples[view].vectors, labels, config, mode, view, own))
    parents: Labels | None = None
    if parent is not None and inherits(parent, config):
        old, new = parent.first, fits[0]
        smallest = min(min_cluster_size(config, len(vectors)), int(new.sizes.min()))
        found = inherit(parent.views_of(vectors)[0], new.labels, old, smallest)
        if found.parents.size:
            view = next(view for view in config.views if view == old.view)
            fit = _fit(samples[view].vectors, found.labels, config, INHERITED, view, new.seed)
            # Members were chosen by the radius, so a quantile of theirs would be smaller each time.
            fits.insert(0, replace(fit, radii=np.where(np.isfinite(found.radii), found.radii, fit.radii)))
            parents = found.parents
    return replace(_model(vectors, tuple(fits), mean, config, seed, encoder_id, kinds), parents=parents)


def seed_of_fit(seed: int, mode: FitMode, view: View, number: int) -> int:
    """The seed of one fit: fits that differ in anything have nothing in common, and neighbouring seeds of models no fit."""
    return int(fingerprint({"seed": seed, "mode": mode, "view": view, "number": number})[:8], 16)


def one_cluster(vectors: Vectors, config: DiversityConfig, seed: int, encoder_id: str) -> ClusterModel:
    """Put all of a sample of unit vectors (n, dim), n at least 1, into one cluster, for policies that don't use diversity.

    Raises DiversityHealthError for values that are not finite.
    """
    _require_finite(vectors)
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    fit = _fit(vectors, np.zeros(vectors.shape[0], dtype=np.int32), config, "hdbscan", "plain", seed)
    # What is far from the only centroid is no noise: there are no clusters for it to be outside of.
    fit = replace(fit, radii=np.full(1, 2.0, dtype=np.float32))
    return _model(vectors, (fit,), mean, config, seed, encoder_id, None)


def _fit(vectors: Vectors, labels: Labels, config: DiversityConfig, mode: str, view: View, seed: int) -> Fit:
    """Measure the clusters that labels (n,) make of vectors (n, dim)."""
    from samplemix_core.diversity.nearest import nearest_centroid

    centroids = _centroids(vectors, labels)
    distances = _member_distances(vectors, labels, centroids)
    nearest, distance = nearest_centroid(vectors, centroids)
    assigned = np.bincount(nearest, minlength=len(centroids)).astype(np.int64)
    total = np.bincount(nearest, weights=distance, minlength=len(centroids))
    of_members = np.array([own.mean() for own in distances])
    compactness = np.where(assigned > 0, total / np.maximum(assigned, 1), of_members)
    return Fit(
        mode=mode,
        view=view,
        seed=seed,
        centroids=centroids,
        radii=np.array([np.quantile(own, config.noise_quantile) + _FLOAT32_COSINE_ERROR for own in distances], dtype=np.float32),
        labels=labels,
        compactness=np.where(compactness < _FLOAT32_COSINE_ERROR, 0.0, compactness),
        separation=separation(centroids, config.separation_neighbours),
        assigned=assigned,
        # Of density it is the documents' own.
        measure="product" if config.measure == "density" else config.measure,
    )


def _model(
    vectors: Vectors,
    fits: tuple[Fit, ...],
    mean: Vectors,
    config: DiversityConfig,
    seed: int,
    encoder_id: str,
    kinds: Kinds | None,
) -> ClusterModel:
    """Build the model of these fits, with the groups that the sample's documents have."""
    looks = config.measure == "density" or config.near_discount > 0
    neighbours = Neighbours.of(vectors, config.density_neighbours) if looks else None
    groups = Groups({}, None)
    bare = ClusterModel(fits, mean, groups, config.noise, config.identity(), seed, encoder_id, neighbours=neighbours)
    if len(bare.counted) == 1 and not looks and (kinds is None or not config.evenness):
        return bare
    _, _, places = bare.placed(vectors)
    return replace(bare, groups=Groups.of(places, kinds, config.evenness))


def _require_finite(vectors: Vectors) -> None:
    if not np.all(np.isfinite(vectors)):
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise DiversityHealthError(
            f"Vector {row} of the sample holds a value that is not finite.",
            "Its shard's embedding file is damaged: score it again.",
        )


def _require_sample(vectors: Vectors, config: DiversityConfig) -> None:
    """Raise DiversityHealthError unless there is as much as the modes take, naming the setting that asks for most."""
    _require_finite(vectors)
    n = vectors.shape[0]
    least, different, lower = 2, 2, ""
    if {"hdbscan", "plscan"} & set(config.modes):
        least = different = config.umap_components + 2
        lower = f"lower diversity.umap_components ({config.umap_components}), "
    smallest = min_cluster_size(config, n)
    if "hdbscan" in config.modes and 2 * smallest > least:
        least = 2 * smallest
        name = "min_cluster_size" if smallest == config.min_cluster_size else "min_cluster_share"
        lower = f"lower diversity.{name} ({getattr(config, name)}), "
    distinct = np.unique(vectors, axis=0).shape[0]
    if n < least or distinct < different:
        few = distinct < min(n, different)
        found = f"{n} documents, but only {distinct} different" if few else f"{n} documents"
        raise DiversityHealthError(
            f"The sample has {found}: too few to cluster. It takes {least} documents and {different} different ones with these"
            " settings.",
            f"Add documents, {'' if few else lower}or mix by policy natural, which needs no clusters.",
        )


def _lower(mode: FitMode, config: DiversityConfig, n: int) -> str:
    """Which setting to move for a mode that finds no cluster among n documents."""
    if mode in ("evoc", "kmeans"):
        return f"lower clusters ({clusters_wanted(config, n)})"
    samples = lower_min_samples(config)
    return samples if mode == "plscan" else f"lower min_cluster_size ({config.min_cluster_size}) or {samples}"


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
