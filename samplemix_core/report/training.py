"""One picture, and a table, of a quality model's training: its confusions, simpler methods, and whether labels are lacking."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from samplemix_core.quality.training import ScoreReport, TrainingReport
from samplemix_core.report.picture import INK, LINE, QUIET, picture

_BLUE, _GREY = "#1B6CA8", "#9AA1AD"
_PANELS = ((0.06, 0.24), (0.405, 0.21), (0.675, 0.13), (0.86, 0.12))
"""Left edge and width of the four axes, as fractions of the figure."""


def draw_training(path: Path, name: str, report: TrainingReport) -> None:
    """Draw how well overall quality is predicted into a .png (1400 x 700 pixels) or .svg file; ConfigError for other suffixes."""
    overall = report.scores[-1]
    with picture(path) as figure:
        axes = [figure.add_axes((left, 0.13, width, 0.6)) for left, width in _PANELS]
        figure.text(0.028, 0.93, f"{name}: {overall.score}, 0 to {overall.maximum}", fontsize=17, fontweight="bold")
        said = (
            f"{report.documents:,} labels, {report.judged:,} of them judged without having been seen, nor their group"
            f" ({report.groups:,} groups, {report.folds} {'fold' if report.folds == 1 else 'folds'})"
        )
        figure.text(0.028, 0.89, said, color=QUIET)
        _draw_confusion(axes[0], overall)
        _draw_methods(axes[1], overall, report.method)
        _draw_calibration(axes[2], overall)
        _draw_curve(axes[3], report)


def _title(axes: Axes, title: str, said: str) -> None:
    axes.set_title(title, loc="left", fontsize=12.5, fontweight="bold", pad=26)
    axes.text(0, 1.018, said, transform=axes.transAxes, fontsize=9.5, color=QUIET)
    axes.tick_params(length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _draw_confusion(axes: Axes, score: ScoreReport) -> None:
    counts = np.array(score.confusion)
    share = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, row in enumerate(counts.tolist()):
        for j, count in enumerate(row):
            if count:
                colour = "white" if share[i, j] > 0.6 else INK
                axes.text(j, i, f"{count:,}", ha="center", va="center", fontsize=9, color=colour)
    levels = range(len(counts))
    axes.set_xticks(levels, labels=[str(level) for level in levels])
    axes.set_yticks(levels, labels=[str(level) for level in levels])
    axes.set_xlabel("predicted")
    axes.set_ylabel("label")
    _title(axes, "What is taken for what", "documents; shaded by share of the label")
    axes.spines[:].set_visible(False)


def _draw_methods(axes: Axes, score: ScoreReport, main: str) -> None:
    ranked = sorted(score.methods.items(), key=lambda item: -item[1]["mae"].value)
    for i, (method, measures) in enumerate(ranked):
        mae = measures["mae"]
        colour = _BLUE if method == main else _GREY
        axes.plot([mae.low, mae.high], [i, i], color=colour, linewidth=3, solid_capstyle="round")
        axes.plot([mae.value], [i], marker="o", color=colour, markersize=8)
        axes.text(mae.high, i + 0.18, f"{mae.value:.3f} ", fontsize=9, color=INK, ha="right")
    axes.set_yticks(range(len(ranked)), labels=[method for method, _ in ranked])
    axes.set_xlim(left=0)
    axes.set_ylim(-0.6, len(ranked) - 0.3)
    axes.set_xlabel("mean absolute error, in levels")
    axes.grid(axis="x", color=LINE)
    axes.set_axisbelow(True)
    _title(axes, "Beside simpler methods", "the same documents; lines are 95 % intervals")


def _draw_calibration(axes: Axes, score: ScoreReport) -> None:
    documents, expected, labels = (np.array(column, dtype=np.float64) for column in zip(*score.calibration, strict=True))
    axes.plot([0, score.maximum], [0, score.maximum], color=LINE, linewidth=1.5)
    axes.scatter(expected, labels, s=20 + 160 * documents / documents.max(), color=_BLUE, zorder=3)
    axes.set_xlabel("expected score")
    axes.set_ylabel("mean label")
    _title(axes, "Calibration", "on the line is right")


def _draw_curve(axes: Axes, report: TrainingReport) -> None:
    if report.tuning:
        documents, values = zip(*report.tuning, strict=True)
        axes.set_xlabel("documents seen")
        _title(axes, "Fine-tuning", "loss on held-out documents")
    else:
        documents, values = zip(*((count, measures["mae"]) for count, measures in report.curve), strict=True)
        axes.set_xscale("log")
        axes.set_xlabel("labels learnt from")
        _title(axes, "More labels", "mean absolute error")
    axes.plot(documents, values, color=_BLUE, marker="o", linewidth=2)
    axes.set_xticks([documents[0], documents[-1]], labels=[f"{documents[0]:,}", f"{documents[-1]:,}"])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)


def method_rows(score: ScoreReport) -> list[dict[str, Any]]:
    """A table of the methods for a score, the best first: measures, and whether the kept one is clearly better."""
    rows = []
    for method, measures in sorted(score.methods.items(), key=lambda item: item[1]["mae"].value):
        row: dict[str, Any] = {"score": score.score, "method": method}
        for name, measured in measures.items():
            row[name] = f"{measured.value:.3f} ({measured.low:.3f} to {measured.high:.3f})"
        if score.auc:
            row["auc"] = f"{score.auc[method]:.3f}"
        gain = score.gains.get(method)
        row["kept is better"] = (
            ", ".join(
                f"{name} {'yes' if gain[name].low > 0 else 'no, worse' if gain[name].high < 0 else 'not surely'}"
                for name in ("mae", "cacc")
            )
            if gain
            else ""
        )
        rows.append(row)
    return rows
