"""How well clusters agree that are fitted on two encoders' vectors of the same documents."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import adjusted_mutual_info_score

from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.fit import fit_clusters
from samplemix_core.diversity.geometry import rank_correlation

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
    own, other, again = (
        fits[name].assign(of, None) for name, of in (("own", vectors), ("reference", reference), ("again", reference))
    )
    return Agreement(
        documents=len(vectors),
        clusters=fits["own"].n_clusters,
        reference_clusters=fits["reference"].n_clusters,
        mutual_information=float(adjusted_mutual_info_score(other.cluster, own.cluster)),
        diversity_rank=rank_correlation(other.diversity, own.diversity),
        own_mutual_information=float(adjusted_mutual_info_score(other.cluster, again.cluster)),
        own_diversity_rank=rank_correlation(other.diversity, again.diversity),
    )
