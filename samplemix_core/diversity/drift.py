"""How far a crawl is from the sample that clusters were fitted on: by distances, by the clusters' shares, in each language."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.cluster_model import Assignment, Kinds

Int64Array = npt.NDArray[np.int64]

BINS = 2000
"""Equal parts of the distances from 0 to 2 in which they are counted."""

LEAST_DOCUMENTS = 200
"""With fewer documents of a language, or in a crawl, nothing is said."""

_ABOUT = 0.5
"""Added to each cluster's count, so that one without documents has a share."""

_DRAWS = 100


@dataclass(frozen=True, eq=False)
class Profile:
    """Documents as drift sees them: how many lie in each cluster (K,) and at each distance (BINS,), and how many are far.

    Far documents lie beyond the radius of their cluster.
    """

    clusters: Int64Array
    distances: Int64Array
    far: int

    @property
    def documents(self) -> int:
        """Number of documents."""
        return int(self.clusters.sum())

    @classmethod
    def of(cls, assigned: Assignment, n_clusters: int) -> "Profile":
        """The profile of these documents."""
        return cls(
            np.bincount(assigned.cluster, minlength=n_clusters).astype(np.int64),
            np.bincount(bins_of(assigned.distance), minlength=BINS).astype(np.int64),
            int(assigned.is_noise.sum()),
        )

    def to_json(self) -> dict[str, Any]:
        """Values for JSON, without the zeros."""
        places, clusters = np.flatnonzero(self.distances), np.flatnonzero(self.clusters)
        return {
            "clusters": [clusters.tolist(), self.clusters[clusters].tolist()],
            "distances": [places.tolist(), self.distances[places].tolist()],
            "far": self.far,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any], n_clusters: int) -> "Profile":
        """Read what to_json() wrote."""
        clusters, distances = np.zeros(n_clusters, dtype=np.int64), np.zeros(BINS, dtype=np.int64)
        for into, name in ((clusters, "clusters"), (distances, "distances")):
            places, counts = values[name]
            into[places] = counts
        return cls(clusters, distances, int(values["far"]))


def bins_of(distance: npt.NDArray[np.float32]) -> Int64Array:
    """Which of the BINS each distance (n,) is in."""
    return np.clip(np.floor(distance.astype(np.float64) * (BINS / 2)), 0, BINS - 1).astype(np.int64)


ALL = ""
"""What stands for all languages together."""

Profiles = dict[str, Profile]
"""Of all documents, as ALL, and of each language with at least LEAST_DOCUMENTS."""


def profiles_of(assigned: Assignment, n_clusters: int, kinds: Kinds | None) -> Profiles:
    """Profiles of documents whose languages are `kinds`."""
    found = {ALL: Profile.of(assigned, n_clusters)}
    if kinds is not None:
        counts = np.bincount(kinds.language, minlength=len(kinds.languages))
        for code in np.flatnonzero(counts >= LEAST_DOCUMENTS).tolist():
            here = kinds.language == code
            own = Assignment(assigned.cluster[here], assigned.distance[here], assigned.is_noise[here], assigned.diversity[here])
            found[kinds.languages[code]] = Profile.of(own, n_clusters)
    return found


@dataclass(frozen=True)
class Drift:
    """How far documents of a crawl, all or those of a language, are from the fit's sample.

    far, far_in_sample: share beyond the radius of their cluster, in the crawl and in the sample.
    distance_shift: greatest difference between the distributions of distances to the centroid (Kolmogorov-Smirnov), 0 to 1.
    share_shift: population stability index of the clusters' shares, sum of (p - q) ln(p / q), less what as many documents of the
        sample would come to by chance.
    known: whether the sample has documents of the language; otherwise all of the sample is what these are compared with.
    over: which limits they are over, in words.
    """

    language: str
    documents: int
    far: float
    far_in_sample: float
    distance_shift: float
    share_shift: float
    known: bool
    over: tuple[str, ...] = ()


def drift_of(sample: Profiles, crawl: Profiles) -> list[Drift]:
    """Compare a crawl with a sample: all of it first, then each language with LEAST_DOCUMENTS, in their order."""
    found = [_drift(ALL, sample[ALL], crawl[ALL], known=True)]
    for language in sorted(crawl.keys() - {ALL}):
        known = language in sample
        found.append(_drift(language, sample[language if known else ALL], crawl[language], known=known))
    return found


def over_limits(whole: Drift, config: DiversityConfig) -> tuple[str, ...]:
    """Which limits a crawl as a whole is over, in words; none with fewer than LEAST_DOCUMENTS. Its languages are to explain it."""
    figures = (
        ("far documents", whole.far - whole.far_in_sample, config.drift_max_far),
        ("distances", whole.distance_shift, config.drift_max_distances),
        ("shares of clusters", whole.share_shift, config.drift_max_shares),
    )
    over = [f"{what} differ by {value:.2f}, over {limit:g}" for what, value, limit in figures if value > limit]
    return tuple(over) if whole.documents >= LEAST_DOCUMENTS else ()


def _drift(language: str, sample: Profile, crawl: Profile, *, known: bool) -> Drift:
    far, before = crawl.far / max(crawl.documents, 1), sample.far / max(sample.documents, 1)
    distance_shift = _kolmogorov_smirnov(sample.distances, crawl.distances)
    return Drift(language, crawl.documents, far, before, distance_shift, _excess(sample.clusters, crawl.clusters), known)


def _kolmogorov_smirnov(one: Int64Array, other: Int64Array) -> float:
    if not one.sum() or not other.sum():
        return 0.0
    return float(np.abs(np.cumsum(one) / one.sum() - np.cumsum(other) / other.sum()).max())


def _stability_index(sample: Int64Array, crawl: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Population stability index of counts (..., K) against those of a sample (K,)."""
    p = (sample + _ABOUT) / (sample + _ABOUT).sum()
    q = (crawl + _ABOUT) / (crawl + _ABOUT).sum(axis=-1, keepdims=True)
    return np.asarray(((p - q) * np.log(p / q)).sum(axis=-1))


def _excess(sample: Int64Array, crawl: Int64Array) -> float:
    """The index, less its mean over draws of as many documents from the sample; 0 at least."""
    if not sample.sum() or not crawl.sum():
        return 0.0
    drawn = np.random.default_rng(0).multinomial(int(crawl.sum()), sample / sample.sum(), size=_DRAWS)
    return max(0.0, float(_stability_index(sample, crawl)) - float(_stability_index(sample, drawn).mean()))
