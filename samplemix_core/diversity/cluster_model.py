"""A fitted clustering: the versioned artifact that makes everything after the fit exact, and the gates it must pass."""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from safetensors import SafetensorError
from safetensors.numpy import load, save

from samplemix_core import schemas
from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.geometry import Bounds, ClusterSums, separation
from samplemix_core.errors import DiversityHealthError, ModelError
from samplemix_core.identity import canonical_json

_FORMAT = 1
_TENSORS = ("centroids", "radii", "labels", "compactness", "assigned")


@dataclass(frozen=True, eq=False)
class ClusterModel:
    """Clusters of a sample, numbered from the largest; K clusters, n documents in the sample.

    centroids: float32 (K, dim), unit vectors in the encoder's space.
    radii: float32 (K,), cosine distance from the centroid beyond which a document counts as noise.
    labels: int32 (n,), HDBSCAN's clusters of the sample's documents, -1 for its noise.
    compactness: float64 (K,), mean cosine distance of those members to their centroid; stands in for a cluster that a corpus
        has no document of.
    assigned: int64 (K,), documents of the sample by nearest centroid, noise included.
    bounds: least and greatest raw diversity in the sample by nearest centroid; they normalise d for every corpus and crawl
        that this model is applied to, so d stays comparable when new crawls land.
    config, seed, encoder_id: what made the model, together with the sample; config is the identity() of a DiversityConfig.
    """

    centroids: npt.NDArray[np.float32]
    radii: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int32]
    compactness: npt.NDArray[np.float64]
    assigned: npt.NDArray[np.int64]
    bounds: Bounds
    config: dict[str, Any]
    seed: int
    encoder_id: str

    @property
    def n_clusters(self) -> int:
        """Number of clusters K."""
        return int(self.centroids.shape[0])

    @property
    def sizes(self) -> npt.NDArray[np.int64]:
        """HDBSCAN's members of each cluster in the sample, (K,)."""
        return np.bincount(self.labels[self.labels >= 0], minlength=self.n_clusters).astype(np.int64)

    @property
    def noise_share(self) -> float:
        """Share of the sample's documents that HDBSCAN left out of every cluster."""
        return float(np.mean(self.labels < 0))

    @property
    def largest_share(self) -> float:
        """Share of the sample's documents whose nearest centroid is that of the most frequent cluster."""
        return float(self.assigned.max() / self.assigned.sum())

    @cached_property
    def digest(self) -> str:
        """Identity of the model: the SHA-256 of its bytes."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """The model in safetensors form; equal models give equal bytes."""
        header = {
            "format": _FORMAT,
            "config": self.config,
            "seed": self.seed,
            "encoder_id": self.encoder_id,
            "bounds": [self.bounds.low, self.bounds.high],
        }
        # One entry, because safetensors writes several in an order of its own that changes from run to run.
        metadata = {"model": canonical_json(header).decode()}
        return save({name: np.ascontiguousarray(getattr(self, name)) for name in _TENSORS}, metadata)

    @classmethod
    def from_bytes(cls, data: bytes) -> "ClusterModel":
        """Read what to_bytes() wrote; raise ModelError if it is not that."""
        try:
            tensors = load(data)
            header = json.loads(_safetensors_header(data)["__metadata__"]["model"])
            if header["format"] != _FORMAT:
                raise ModelError(
                    f"A cluster model has format {header['format']}; this version reads format {_FORMAT}.",
                    "Fit the clusters again with this version.",
                )
            return cls(
                **{name: tensors[name] for name in _TENSORS},
                bounds=Bounds(*header["bounds"]),
                config=header["config"],
                seed=header["seed"],
                encoder_id=header["encoder_id"],
            )
        except (SafetensorError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{len(data)} bytes that should hold a cluster model do not: {error!r}.", "Fit the clusters again."
            ) from error


def _safetensors_header(data: bytes) -> Any:
    """The JSON header of a safetensors file: its length as a little-endian uint64 comes first."""
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def cluster_table(sums: ClusterSums, model: ClusterModel) -> pa.Table:
    """Clusters of a corpus as schemas.CLUSTERS: size, compactness, separation, and d normalised with the model's bounds.

    sums: of every document of the corpus, merged in shard order.
    """
    compactness = sums.compactness(model.compactness)
    apart = separation(model.centroids)
    return pa.Table.from_arrays(
        [
            pa.array(np.arange(model.n_clusters, dtype=np.int32)),
            pa.array(sums.counts),
            pa.array(compactness),
            pa.array(apart),
            pa.array(model.bounds.normalise(compactness * apart)),
        ],
        schema=schemas.CLUSTERS,
    )


@dataclass(frozen=True)
class HealthReport:
    """A fit's figures. largest_share counts documents by nearest centroid, noise_share is HDBSCAN's own."""

    documents: int
    clusters: int
    largest_share: float
    noise_share: float


def check_health(model: ClusterModel, config: DiversityConfig) -> HealthReport:
    """The fit's figures, if they pass the gates.

    Raises DiversityHealthError naming each gate that failed, its figure, and which setting to move.
    """
    report = HealthReport(int(model.labels.size), model.n_clusters, model.largest_share, model.noise_share)
    problems: list[str] = []
    advice: list[str] = []
    if report.clusters < config.gate_min_clusters:
        problems.append(f"{report.clusters} clusters, fewer than gate_min_clusters = {config.gate_min_clusters}")
        advice.append(
            f"for more clusters lower min_cluster_size ({config.min_cluster_size})"
            f" or min_cluster_share ({config.min_cluster_share:g})"
        )
    if report.largest_share > config.gate_max_largest_share:
        problems.append(
            f"the largest cluster has {report.largest_share:.1%} of the documents,"
            f" more than gate_max_largest_share = {config.gate_max_largest_share:.1%}"
        )
        advice.append(
            "to split a large cluster set selection to 'leaf'"
            if config.selection == "eom"
            else f"to split a large cluster lower umap_neighbors ({config.umap_neighbors})"
        )
    if report.noise_share > config.gate_max_noise_share:
        problems.append(f"{report.noise_share:.1%} noise, more than gate_max_noise_share = {config.gate_max_noise_share:.1%}")
        advice.append(
            "for less noise set selection to 'eom'"
            if config.selection == "leaf"
            else f"for less noise lower min_samples ({config.min_samples})"
        )
    if problems:
        raise DiversityHealthError(
            f"The clusters of a sample of {report.documents} documents are degenerate: {'; '.join(problems)}.",
            f"In the run's diversity settings: {'; '.join(advice)}. If this corpus is like that, relax the gate, or mix by policy"
            " natural, which needs no clusters.",
        )
    return report
