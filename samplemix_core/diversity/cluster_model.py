"""Fitted clusters: the versioned artifact that makes everything after the fit exact, and the gates it must pass.

A model has one or several fits of one sample, which differ in how they find clusters, in the view of the vectors, and in the seed.
The first names a document's cluster. Its diversity d is averaged over all: two fits of the same vectors agree on d at a rank
correlation of .9, two averages of several at .97.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load, save

from samplemix_core import schemas
from samplemix_core.diversity.geometry import Bounds, centred
from samplemix_core.diversity.measures import Neighbours, hierarchical, weighted_places
from samplemix_core.errors import ModelError
from samplemix_core.identity import canonical_json
from samplemix_core.policies.policy import Ranks

Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Int32Array = npt.NDArray[np.int32]
Int64Array = npt.NDArray[np.int64]

INHERITED = "inherited"
"""The mode of a fit that carries the clusters of an earlier model on: see lineage.py. It names clusters, and has no part in d."""

_FORMATS = (2, 3)
"""Formats of files; the second where there is something that a version that doesn't know of it would take for something else."""

_OF_NEIGHBOURS = ("vectors", "distances")
_OF_FIT = ("centroids", "radii", "labels", "compactness", "separation", "assigned")


class Kinds(NamedTuple):
    """Languages and content types of documents: codes (n,), indices into the names."""

    languages: Sequence[str]
    content_types: Sequence[str]
    language: npt.NDArray[np.integer]
    content_type: npt.NDArray[np.integer]


@dataclass(frozen=True, eq=False)
class Fit:
    """One clustering of a sample, with clusters numbered from the largest; K clusters, n documents in the sample.

    mode, view, seed: how it was found.
    centroids: float32 (K, dim), unit vectors in the encoder's space, or less the sample's mean in view centred.
    radii: float32 (K,), cosine distance from the centroid beyond which a document counts as noise.
    labels: int32 (n,), the clusters that were found, -1 for noise.
    compactness: float64 (K,), mean cosine distance of the documents whose nearest centroid it is; of a cluster without any, that
        of its members.
    separation: float64 (K,), mean cosine distance of the centroid to others.
    assigned: int64 (K,), documents of the sample by nearest centroid, noise included.
    measure: what clusters are ordered by, see measures.py.
    """

    mode: str
    view: str
    seed: int
    centroids: Float32Array
    radii: Float32Array
    labels: Int32Array
    compactness: Float64Array
    separation: Float64Array
    assigned: Int64Array
    measure: str = "product"

    @property
    def n_clusters(self) -> int:
        """Number of clusters K."""
        return int(self.centroids.shape[0])

    @property
    def sizes(self) -> Int64Array:
        """Members of each cluster in the sample, (K,)."""
        return np.bincount(self.labels[self.labels >= 0], minlength=self.n_clusters).astype(np.int64)

    @property
    def noise_share(self) -> float:
        """Share of the sample's documents that were left out of every cluster."""
        return float(np.mean(self.labels < 0))

    @property
    def largest_share(self) -> float:
        """Share of the sample's documents whose nearest centroid is that of the most frequent cluster."""
        return float(self.assigned.max() / self.assigned.sum())

    @cached_property
    def raw(self) -> Float64Array:
        """What orders the clusters, (K,): compactness * separation, as in the paper, unless the measure is another."""
        if self.measure == "balanced":
            return (self._compactness_places + weighted_places(self.separation, self.assigned)) / 2
        if self.measure == "hierarchical":
            return hierarchical(self.centroids, self.assigned)
        return self.compactness * self.separation

    @cached_property
    def _compactness_places(self) -> Float64Array:
        return weighted_places(self.compactness, self.assigned)

    @cached_property
    def bounds(self) -> Bounds:
        """The least and greatest raw diversity, by which d becomes 0..1."""
        return Bounds.of(self.raw)

    @cached_property
    def places(self) -> Float64Array:
        """Place of each cluster's documents in the sample by raw diversity, (K,): the share with less, and half of those alike."""
        return weighted_places(self.raw, self.assigned)

    def nearest(self, vectors: Float32Array) -> tuple[Int32Array, Float32Array]:
        """The nearest cluster of each of these vectors as this fit sees them, and the distance to it. See nearest_centroid."""
        from samplemix_core.diversity.nearest import nearest_centroid

        return nearest_centroid(vectors, self.centroids)

    def quantiles(self, places: Float64Array) -> Float64Array:
        """Diversity, 0..1, of documents at these places (n,)."""
        _, first = np.unique(self.places, return_index=True)
        return np.interp(places, self.places[first], self.bounds.normalise(self.raw)[first])

    def places_of(self, cluster: Int32Array, distance: Float32Array, noise: str) -> Float64Array:
        """Places of documents in these clusters (n,). With noise "distance", one beyond its radius goes by its own distance."""
        places = self.places[cluster]
        if noise == "distance":
            far = distance > self.radii[cluster]
            _, first = np.unique(self.raw, return_index=True)
            if self.measure == "balanced":
                in_order = np.argsort(self.compactness, kind="stable")
                compactness = np.interp(distance[far], self.compactness[in_order], self._compactness_places[in_order])
                own = (compactness + weighted_places(self.separation, self.assigned)[cluster[far]]) / 2
            else:
                own = distance[far] * self.separation[cluster[far]]
            places[far] = np.interp(own, self.raw[first], self.places[first])
        return places


@dataclass(frozen=True)
class Groups:
    """How far the mean places of languages and content types are brought together.

    offsets: what is taken off the places of a language's documents of a content type; nothing off those of others.
    ranks: of the places that result, over the sample's documents; None where places are ranks already: of one fit, as it is.
    """

    offsets: Mapping[tuple[str, str], float]
    ranks: Ranks | None

    _FEW = 50
    """Documents of a group with which half of its offset is believed."""

    @classmethod
    def of(cls, places: Float64Array, kinds: Kinds | None, evenness: float) -> "Groups":
        """Bring groups of documents at these places (n,), n at least 1, together by a share of their distance from the mean."""
        moved, offsets = places.copy(), dict[tuple[str, str], float]()
        if kinds is not None and evenness > 0:
            code = kinds.language.astype(np.int64) * len(kinds.content_types) + kinds.content_type
            middle = float(places.mean())
            for group in np.unique(code).tolist():
                here = code == group
                count = int(here.sum())
                offset = evenness * count / (count + cls._FEW) * (float(places[here].mean()) - middle)
                language, content_type = divmod(group, len(kinds.content_types))
                offsets[kinds.languages[language], kinds.content_types[content_type]] = offset
                moved[here] -= offset
        return cls(offsets, Ranks.over(moved))

    def places(self, places: Float64Array, kinds: Kinds | None) -> Float64Array:
        """The places (n,) that result from places (n,)."""
        if self.ranks is None:
            return places
        if kinds is not None and self.offsets:
            offset = np.array([[self.offsets.get((one, other), 0.0) for other in kinds.content_types] for one in kinds.languages])
            places = places - offset[kinds.language, kinds.content_type]
        return self.ranks.of(places)


@dataclass(frozen=True, eq=False)
class Assignment:
    """Documents' clusters, in the order of their vectors.

    cluster: int32 (n,), the nearest centroid of the first fit. distance: float32 (n,), cosine distance to it.
    is_noise: bool (n,), whether the distance exceeds that cluster's radius. diversity: float32 (n,), 0..1.
    """

    cluster: Int32Array
    distance: Float32Array
    is_noise: npt.NDArray[np.bool_]
    diversity: Float32Array


@dataclass(frozen=True, eq=False)
class ClusterModel:
    """Fits of one sample, and how they make a document's diversity.

    fits: at least one that isn't INHERITED; the first is the one whose clusters are named.
    mean: float32 (dim,), the mean of the sample's vectors, for view centred.
    groups: how languages and content types are brought together.
    noise: what d a document has that is far from every centroid, as in a DiversityConfig.
    config, seed, encoder_id: what made the model, together with the sample; config is the identity() of a DiversityConfig.
    neighbours: the sample, for a measure or a discount that looks for a document's neighbours in it.
    parents: int32 (K,), which cluster of its parent each is, -1 for a new one, in a model that was just fitted; not in files.
    """

    fits: tuple[Fit, ...]
    mean: Float32Array
    groups: Groups
    noise: str
    config: dict[str, Any]
    seed: int
    encoder_id: str
    parents: Int32Array | None = None
    neighbours: Neighbours | None = None

    @property
    def first(self) -> Fit:
        """The fit whose clusters are named."""
        return self.fits[0]

    @cached_property
    def counted(self) -> tuple[Fit, ...]:
        """The fits that d is averaged over."""
        return tuple(fit for fit in self.fits if fit.mode != INHERITED)

    @property
    def n_clusters(self) -> int:
        """Number of clusters that are named, K."""
        return self.first.n_clusters

    @cached_property
    def digest(self) -> str:
        """Identity of the model: the SHA-256 of its bytes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    @property
    def ranks(self) -> Ranks:
        """Ranks of diversity over documents, for mixing by ranks: diversities at evenly spread places, and these."""
        if self.groups.ranks is None:
            (only,) = self.counted
            return Ranks.over(only.bounds.normalise(only.raw).astype(np.float32), only.assigned)
        places = np.linspace(0.005, 0.995, 100)
        values, first = np.unique(self.at(places), return_index=True)
        last = np.append(first[1:], places.size) - 1
        return Ranks(tuple(values.tolist()), tuple(((places[first] + places[last]) / 2).tolist()))

    def at(self, places: Float64Array) -> Float64Array:
        """Diversity, 0..1, of documents at these places (n,): the mean over the fits, which is spread as the formula has it."""
        return np.asarray(np.mean([fit.quantiles(places) for fit in self.counted], axis=0))

    def assign(self, vectors: Float32Array, kinds: Kinds | None) -> Assignment:
        """Assign unit vectors (n, dim) to clusters. kinds: None if they aren't known, which counts as none of the groups."""
        cluster, distance, places = self.placed(vectors)
        diversity = self.at(self.groups.places(places, kinds)).astype(np.float32)
        return Assignment(cluster, distance, distance > self.first.radii[cluster], diversity)

    def views_of(self, vectors: Float32Array) -> list[Float32Array]:
        """Unit vectors (n, dim) as each of the fits sees them."""
        views = {"plain": vectors}
        if any(fit.view == "centred" for fit in self.fits):
            views["centred"] = centred(vectors, self.mean)
        return [views[fit.view] for fit in self.fits]

    def placed(self, vectors: Float32Array) -> tuple[Int32Array, Float32Array, Float64Array]:
        """The first fit's clusters of unit vectors (n, dim) and the distances to them, and their mean places."""
        from samplemix_core.diversity.nearest import nearest_centroids

        found = dict[int, tuple[Int32Array, Float32Array]]()
        # All fits of a view in one pass.
        for view in ("plain", "centred"):
            own = [i for i, fit in enumerate(self.fits) if fit.view == view]
            if own:
                seen = vectors if view == "plain" else centred(vectors, self.mean)
                found |= zip(own, nearest_centroids(seen, [self.fits[i].centroids for i in own]), strict=True)
        places = np.zeros(len(vectors))
        for i, fit in enumerate(self.fits):
            if fit.mode != INHERITED:
                places += fit.places_of(*found[i], self.noise)
        places = places / len(self.counted)
        if self.neighbours is not None:
            nearest, kth = self.neighbours.found(vectors)
            if self.config.get("measure") == "density":
                places = self.neighbours.places(kth)
            # Alike beyond half of the way; what is the same loses all of the discount.
            alike = np.clip(1.0 - 2.0 * nearest.astype(np.float64), 0.0, 1.0)
            places = places * (1.0 - self.config.get("near_discount", 0.0) * alike)
        return *found[0], places

    @property
    def _is_extended(self) -> bool:
        """Whether it has something that a version that reads only the first format would not notice."""
        of_fits = any(fit.mode == INHERITED or fit.measure != "product" for fit in self.fits)
        return of_fits or self.neighbours is not None

    def to_bytes(self) -> bytes:
        """The model in safetensors form; equal models give equal bytes."""
        header = {
            "format": _FORMATS[self._is_extended],
            "config": self.config,
            "seed": self.seed,
            "encoder_id": self.encoder_id,
            "noise": self.noise,
            "fits": [
                {"mode": fit.mode, "view": fit.view, "seed": fit.seed}
                | ({} if fit.measure == "product" else {"measure": fit.measure})
                for fit in self.fits
            ],
            "offsets": [[*group, offset] for group, offset in self.groups.offsets.items()],
            "ranks": self.groups.ranks,
        }
        if self.neighbours is not None:
            header["neighbours"] = self.neighbours.k
        # One entry, because safetensors writes several in an order of its own that changes from run to run.
        metadata = {"model": canonical_json(header).decode()}
        tensors = {f"{i}.{name}": getattr(fit, name) for i, fit in enumerate(self.fits) for name in _OF_FIT}
        if self.neighbours is not None:
            tensors |= {f"neighbours.{name}": getattr(self.neighbours, name) for name in _OF_NEIGHBOURS}
        return save({name: np.ascontiguousarray(tensor) for name, tensor in (tensors | {"mean": self.mean}).items()}, metadata)

    @classmethod
    def from_bytes(cls, data: bytes) -> "ClusterModel":
        """Read what to_bytes() wrote; raise ModelError if it is not that."""
        try:
            tensors = load(data)
            header = json.loads(_safetensors_header(data)["__metadata__"]["model"])
            if header["format"] not in _FORMATS:
                raise ModelError(
                    f"A cluster model has format {header['format']}; this version reads {' and '.join(map(str, _FORMATS))}.",
                    "Fit the clusters again with this version.",
                )
            return cls(
                fits=tuple(
                    Fit(**(made | {name: tensors[f"{i}.{name}"] for name in _OF_FIT})) for i, made in enumerate(header["fits"])
                ),
                mean=tensors["mean"],
                groups=Groups(
                    {(language, content_type): offset for language, content_type, offset in header["offsets"]},
                    None if header["ranks"] is None else Ranks(*map(tuple, header["ranks"])),
                ),
                noise=header["noise"],
                config=header["config"],
                seed=header["seed"],
                encoder_id=header["encoder_id"],
                neighbours=Neighbours(**{name: tensors[f"neighbours.{name}"] for name in _OF_NEIGHBOURS}, k=header["neighbours"])
                if "neighbours" in header
                else None,
            )
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{len(data)} bytes that should hold a cluster model do not: {error!r}.", "Fit the clusters again."
            ) from error


def _safetensors_header(data: bytes) -> Any:
    """The JSON header of a safetensors file: its length as a little-endian uint64 comes first."""
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def cluster_table(sizes: Int64Array, model: ClusterModel) -> pa.Table:
    """Clusters of a corpus as schemas.CLUSTERS; sizes (K,) are its documents, all else is the model's.

    diversity is d of the first fit's formula; that of its documents is averaged over all fits.
    """
    first = model.first
    return pa.Table.from_arrays(
        [
            pa.array(np.arange(model.n_clusters, dtype=np.int32)),
            pa.array(sizes),
            pa.array(first.compactness),
            pa.array(first.separation),
            pa.array(first.bounds.normalise(first.raw)),
        ],
        schema=schemas.CLUSTERS,
    )
