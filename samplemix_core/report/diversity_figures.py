"""Tables, and one picture, of what diversity settings come to."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from samplemix_core.diversity.health import Health, Tuned
from samplemix_core.logs import visible
from samplemix_core.report.picture import INK, LINE, QUIET, picture

_PASSES, _FAILS = "#1B6CA8", "#C43C3C"


def health_rows(health: Health) -> Iterator[dict[str, Any]]:
    """One row per figure, with what it means."""
    report = health.report
    figures: dict[str, tuple[float | int | None, str]] = {
        "clusters": (report.clusters, "of the first fit"),
        "largest share": (report.largest_share, "of the documents, in the largest cluster"),
        "noise share": (report.noise_share, "of the documents, in no cluster of the first fit"),
        "fits": (health.fits, "that d is averaged over"),
        "fits agree": (health.agreement, "rank correlation of d between two single fits"),
        "another seed": (health.seed and health.seed.diversity, "rank correlation of d"),
        "another seed, clusters": (health.seed and health.seed.clusters, "adjusted Rand index: 1 the same, 0 by chance"),
        "a fifth": (health.fifth and health.fifth.diversity, "rank correlation of d with a model of a fifth of the sample"),
        "a fifth, clusters": (health.fifth and health.fifth.clusters, "adjusted Rand index"),
        "k-means": (health.against_kmeans, "rank correlation of d with one fit by k-means"),
        "DBCV": (health.dbcv, "density of HDBSCAN's clusters against what is between them, -1 to 1"),
    }
    for name, (value, meaning) in figures.items():
        yield {"figure": name, "value": value, "meaning": meaning}
    for factor in health.factors:
        explained = factor.name in ("language", "content_type")
        yield {
            "figure": f"d and {factor.name.replace('_', ' ')}",
            "value": factor.correlation,
            "meaning": "share of the variance of d's ranks that it explains" if explained else "rank correlation",
        }


def tuned_rows(points: Sequence[Tuned]) -> list[dict[str, Any]]:
    """One row per point of a grid."""
    return [
        {
            "settings": point.name,
            "clusters": point.report.clusters,
            "largest": point.report.largest_share,
            "noise": point.report.noise_share,
            "fits_agree": point.agreement,
            "another_seed": point.seed,
            "a_fifth": point.fifth,
            "seconds": point.seconds,
            "fails": point.failed,
        }
        for point in points
    ]


def draw_tuned(path: Path, corpus: str, documents: int, points: Sequence[Tuned]) -> None:
    """Draw points, best first, into a .png (1400 x 700 pixels) or .svg file; raise ConfigError for another suffix."""
    with picture(path) as figure:
        figure.text(0.028, 0.93, f"How steady diversity is: {visible(corpus)}", fontsize=17, fontweight="bold")
        said = "rank correlation of d with a model of another seed (full) and with one of a fifth of the documents (hollow)"
        figure.text(0.028, 0.89, f"{documents:,} documents; {said}", color=QUIET)
        axes = figure.add_axes((0.34, 0.09, 0.42, 0.74))
        for row, point in enumerate(points):
            colour = _FAILS if point.failed else _PASSES
            axes.plot([point.fifth, point.seed], [row, row], color=colour, linewidth=2.2, alpha=0.45)
            axes.plot([point.seed], [row], "o", color=colour, markersize=7)
            axes.plot([point.fifth], [row], "o", color=colour, markersize=7, markerfacecolor="white")
        axes.set_yticks(range(len(points)), labels=[visible(point.name) for point in points])
        axes.set_ylim(len(points) - 0.5, -0.5)
        least = min((min(point.seed, point.fifth) for point in points if not point.failed), default=0.0)
        axes.set_xlim(max(0.0, least - 0.1), 1.01)
        axes.grid(axis="x", color=LINE, linewidth=0.7)
        axes.tick_params(length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        clusters, noise, seconds = 0.835, 0.88, 0.937
        for column, title in ((clusters, "clusters"), (noise, "noise"), (seconds, "seconds")):
            figure.text(column, 0.845, title, color=QUIET, ha="right")
        for row, point in enumerate(points):
            height = 0.09 + 0.74 * (1 - (row + 0.5) / len(points)) - 0.008
            colour = _FAILS if point.failed else INK
            figure.text(clusters, height, f"{point.report.clusters:,}", color=colour, ha="right")
            figure.text(noise, height, f"{point.report.noise_share:.0%}", color=colour, ha="right")
            figure.text(seconds, height, f"{point.seconds:.0f}", color=colour, ha="right")
            if point.failed:
                figure.text(0.945, height, "fails a gate", color=colour, fontsize=9)
