"""Clusters from one fit to the next: those that are still there keep their names, and others are split, merged, born or die."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.cluster_model import Assignment, ClusterModel, Fit, Kinds
from samplemix_core.diversity.geometry import rank_correlation

Vectors = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int32]

Fate = Literal["kept", "split", "born", "merged", "died"]
FATES: tuple[Fate, ...] = get_args(Fate)

_GROWN = 2.0
"""A cluster is split if its share of the documents has grown by more than this, and a new fit finds several clusters in it."""

_LARGE = 0.15
"""Or if it has a larger share than this, however slowly it came by it."""

_LEAST_SHARED = 0.25
"""Least part of their documents together that two clusters have in common if they are the same."""


class Heir(NamedTuple):
    """What became of a cluster, or where one comes from; parent is of the earlier model, cluster of the later one.

    kept: the same cluster. split: most of its documents were in the parent. born: it has no parent. merged: most of the parent's
    documents are in the cluster, and its name is gone. died: the parent's documents are in no one cluster.
    shared: documents that both have, of all that one of them has.
    """

    fate: Fate
    parent: int | None
    cluster: int | None
    shared: float


class Inherited(NamedTuple):
    """Clusters in which those of an earlier fit live on; n documents, K clusters.

    labels: int32 (n,), -1 for noise. parents: int32 (K,), the cluster that each is, -1 for a new one. radii: float32 (K,), of those
    that are as they were; NaN for others, which have that of their members.
    """

    labels: Labels
    parents: Labels
    radii: npt.NDArray[np.float32]


def inherits(parent: ClusterModel, config: DiversityConfig) -> bool:
    """Whether a model with these settings has the parent's clusters live on: those of other settings would be others."""
    return parent.config == config.identity()


def inherit(vectors: Vectors, fresh: Labels, parent: Fit, smallest: int) -> Inherited:
    """Have the clusters of an earlier fit live on among unit vectors (n, dim).

    fresh: (n,), what a new fit found. A document within the radius of its nearest old centroid stays with it. A new cluster of
    which half is outside of these radii is born, unless it is all that is near an old one, which has spread then. An old one that
    has grown by much is split as the new fit has it, and the part that is nearest to its centroid keeps the name. Those of fewer
    than `smallest` documents die.
    """
    nearest, distance = parent.nearest(vectors)
    outside = distance > parent.radii[nearest]
    old, new = parent.n_clusters, int(fresh.max()) + 1
    labels = np.where(outside, -1, nearest).astype(np.int64)
    member = fresh >= 0
    novel = np.bincount(fresh[member], weights=outside[member], minlength=new) * 2 >= np.bincount(fresh[member], minlength=new)
    radii = parent.radii.copy()
    near = np.zeros((new, old), dtype=np.int64)
    np.add.at(near, (fresh[member], nearest[member]), 1)
    for spread in np.flatnonzero(novel).tolist():
        its = int(near[spread].argmax())
        if 2 * near[spread, its] > near[spread].sum() and 2 * near[spread, its] > near[:, its].sum():
            novel[spread] = False
            labels[fresh == spread] = its
            radii[its] = np.nan
    born = member & novel[fresh]
    labels[born] = old + fresh[born]

    following = old + new
    before, after = parent.assigned / parent.assigned.sum(), np.bincount(nearest[~born], minlength=old) / len(vectors)
    for grown in np.flatnonzero((after > _GROWN * before) | (after > _LARGE)).tolist():
        inside = np.flatnonzero(labels == grown)
        parts, counts = np.unique(fresh[inside][fresh[inside] >= 0], return_counts=True)
        parts = parts[counts >= smallest]
        if parts.size < 2:
            continue
        means = np.stack([vectors[inside[fresh[inside] == part]].mean(axis=0, dtype=np.float64) for part in parts])
        alike = means @ parent.centroids[grown].astype(np.float64) / np.maximum(np.linalg.norm(means, axis=1), 1e-12)
        radii[grown] = np.nan
        for part in np.delete(parts, int(alike.argmax())).tolist():
            labels[inside[fresh[inside] == part]] = following
            following += 1

    counts = np.bincount(labels[labels >= 0], minlength=following)
    numbers = np.full(following, -1)
    kept = np.flatnonzero(counts >= smallest)
    in_order = kept[np.argsort(-counts[kept], kind="stable")]
    numbers[in_order] = np.arange(kept.size)
    lives = in_order < old
    return Inherited(
        np.where(labels >= 0, numbers[labels], -1).astype(np.int32),
        np.where(lives, in_order, -1).astype(np.int32),
        np.where(lives, radii[np.minimum(in_order, old - 1)], np.float32(np.nan)).astype(np.float32),
    )


def heirs(before: Labels, after: Labels, parents: int, clusters: int, known: Labels | None = None) -> list[Heir]:
    """Match the clusters of two models by the documents that both hold; `before` and `after` are the same documents', (n,).

    known: (clusters,), which parent each cluster is, -1 for none; without it, pairs are chosen so that they have the most in common
    in all (Kuhn 1955, the Hungarian method).

    -1 is in no cluster: what is only nearest to one, and far from it, doesn't make a new cluster its heir.
    Each of the later model's clusters comes first, in order, then the parents without an heir.
    """
    from scipy.optimize import linear_sum_assignment

    common, both = np.zeros((parents, clusters)), (before >= 0) & (after >= 0)
    np.add.at(common, (before[both], after[both]), 1.0)
    of_parent = np.bincount(before[before >= 0], minlength=parents)
    of_cluster = np.bincount(after[after >= 0], minlength=clusters)
    shared = common / np.maximum(of_parent[:, None] + of_cluster[None, :] - common, 1.0)
    if known is None:
        rows, columns = linear_sum_assignment(-shared)
        pairs = {j: i for i, j in zip(rows.tolist(), columns.tolist(), strict=True) if shared[i, j] >= _LEAST_SHARED}
    else:
        pairs = {j: i for j, i in enumerate(known.tolist()) if i >= 0}
    found = list[Heir]()
    for j in range(clusters):
        i = int(pairs.get(j, common[:, j].argmax()))
        fate: Fate = "kept" if j in pairs else "split" if 2 * common[i, j] > of_cluster[j] else "born"
        found.append(Heir(fate, None if fate == "born" else i, j, 0.0 if fate == "born" else float(shared[i, j])))
    for i in sorted(set(range(parents)) - set(pairs.values())):
        j = int(common[i].argmax())
        gone: Fate = "merged" if 2 * common[i, j] > of_parent[i] else "died"
        found.append(Heir(gone, i, None if gone == "died" else j, 0.0 if gone == "died" else float(shared[i, j])))
    return found


@dataclass(frozen=True)
class GroupChange:
    """Documents of a language and their mean d, before and after."""

    language: str
    documents: int
    before: float
    after: float


@dataclass(frozen=True)
class Change:
    """What a refit does to the documents of its sample: Spearman's correlation of d before and after, and its mean change.

    fates: how many clusters are kept, split and so on. groups: languages with LEAST_DOCUMENTS, those whose d changed most first.
    """

    documents: int
    correlation: float
    moved: float
    fates: dict[str, int]
    groups: tuple[GroupChange, ...]

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Change":
        """Read what asdict() made."""
        groups = tuple(GroupChange(**group) for group in values["groups"])
        return cls(**{**{field.name: values[field.name] for field in fields(cls)}, "groups": groups})

    def __str__(self) -> str:
        said = ", ".join(f"{count} {fate}" for fate, count in self.fates.items())
        moved = f"d moves by {self.moved:.3f} on average, rank correlation {self.correlation:.2f}"
        return f"clusters against those before: {said}; {moved}"


LEAST_DOCUMENTS = 200


def change_of(
    parent: ClusterModel, model: ClusterModel, before: Assignment, after: Assignment, kinds: Kinds
) -> tuple[list[Heir], Change]:
    """Compare two models by what they say of the same documents; `model` as fit_clusters returned it."""
    old, new = (np.where(each.is_noise, np.int32(-1), each.cluster) for each in (before, after))
    found = heirs(old, new, parent.n_clusters, model.n_clusters, model.parents)
    fates: dict[str, int] = {fate: count for fate in FATES if (count := sum(heir.fate == fate for heir in found))}
    moved = float(np.abs(after.diversity.astype(np.float64) - before.diversity).mean())
    groups = sorted(_groups(before, after, kinds), key=lambda group: -abs(group.after - group.before))
    correlation = rank_correlation(before.diversity, after.diversity)
    return found, Change(len(before.cluster), correlation, moved, fates, tuple(groups))


def _groups(before: Assignment, after: Assignment, kinds: Kinds) -> Iterator[GroupChange]:
    counts = np.bincount(kinds.language, minlength=len(kinds.languages))
    for code in np.flatnonzero(counts >= LEAST_DOCUMENTS).tolist():
        here = kinds.language == code
        means = (float(each.diversity[here].mean(dtype=np.float64)) for each in (before, after))
        yield GroupChange(kinds.languages[code], int(counts[code]), *means)
