"""Gates on a fit: degenerate clusters stop the run instead of deciding its mixture."""

from dataclasses import dataclass

from samplemix_core.config import DiversityConfig
from samplemix_core.diversity.model import ClusterModel
from samplemix_core.errors import DiversityHealthError


@dataclass(frozen=True)
class HealthReport:
    """A fit's figures. largest_share counts documents by nearest centroid, noise_share is HDBSCAN's own."""

    documents: int
    clusters: int
    largest_share: float
    noise_share: float


def check_health(model: ClusterModel, config: DiversityConfig) -> HealthReport:
    """The fit's figures, if they pass the gates.

    Raises:
        DiversityHealthError: naming each gate that failed, its figure, and which setting to move.
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
            f"In the run's diversity settings: {'; '.join(advice)}. If the corpus really is so, move the gate.",
        )
    return report
