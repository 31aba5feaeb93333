"""How well clusters agree that are fitted on two encoders' vectors of the same documents."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr
from sklearn.metrics import adjusted_mutual_info_score

from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.cluster_model import ClusterModel
from samplemix_core.diversity.fit import fit_clusters
from samplemix_core.diversity.geometry import nearest_centroid, separation

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Agreement:
    """Two encoders' clusters of the same documents.

    mutual_information: adjusted, of the nearest clusters (Vinh et al. 2010): 1 if they are the same, about 0 by chance.
    diversity_rank: Spearman's correlation of the documents' d.
    own_mutual_information, own_diversity_rank: the same for the reference's clusters and those of another UMAP seed, which is how
    far these clusters agree with themselves.
    """

    documents: int
    clusters: int
    reference_clusters: int
    mutual_information: float
    diversity_rank: float
    own_mutual_information: float
    own_diversity_rank: float


def agreement(vectors: Vectors, reference: Vectors, config: DiversityConfig) -> Agreement:
    """Fit clusters on each encoder's unit vectors of the same documents, (n, dim) and (n, reference's dim), and compare.

    Raises DiversityHealthError if there are too few documents to cluster, or no clusters.
    """
    fits = {
        name: fit_clusters(of, config, seed, encoder_id=name)
        for name, of, seed in (
            ("own", vectors, config.seed),
            ("reference", reference, config.seed),
            ("again", reference, config.seed + 1),
        )
    }
    clusters, d = _seen_by(fits["own"], vectors)
    reference_clusters, reference_d = _seen_by(fits["reference"], reference)
    again_clusters, again_d = _seen_by(fits["again"], reference)
    return Agreement(
        documents=len(vectors),
        clusters=fits["own"].n_clusters,
        reference_clusters=fits["reference"].n_clusters,
        mutual_information=float(adjusted_mutual_info_score(reference_clusters, clusters)),
        diversity_rank=_rank_correlation(reference_d, d),
        own_mutual_information=float(adjusted_mutual_info_score(reference_clusters, again_clusters)),
        own_diversity_rank=_rank_correlation(reference_d, again_d),
    )


def _seen_by(model: ClusterModel, vectors: Vectors) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """Documents' nearest clusters, (n,), and their raw diversity, (n,)."""
    cluster, _ = nearest_centroid(vectors, model.centroids)
    return cluster, (model.compactness * separation(model.centroids))[cluster]


def _rank_correlation(left: npt.NDArray[np.float64], right: npt.NDArray[np.float64]) -> float:
    """Return Spearman's correlation; 0 if one side is constant, so there is no order to agree on."""
    if np.ptp(left) == 0 or np.ptp(right) == 0:
        return 0.0
    return float(spearmanr(left, right).statistic)
