"""One picture, and tables, of what quality models measure: their scores by domain, what predicts them, how far they agree."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from samplemix_core.config.run import AuditConfig
from samplemix_core.logs import visible
from samplemix_core.quality.audit import GROUPINGS, ModelAudit
from samplemix_core.report.picture import INK, LINE, QUIET, picture

_COLOURS = ("#1B6CA8", "#D9730D", "#2C8C4A", "#8A63C4", "#C43C3C", "#8C564B")
_MOST_MODELS, _MOST_DOMAINS = len(_COLOURS), 14


def summary_rows(models: Sequence[ModelAudit]) -> list[dict[str, Any]]:
    """One row per model: its scores over all documents, and what predicts them."""
    rows = []
    for model in models:
        whole, by = model.groups[0], {source.grouping: source for source in model.sources}
        rows.append(
            {
                "model": model.model,
                "verdict": model.verdict,
                "documents": model.documents,
                "mean": whole.mean,
                "spread": whole.spread,
                "constant": whole.constant_share,
                "length": whole.length_correlation,
                **{f"{name}_r2": by[name].r2 for name in GROUPINGS},
                "domain_auc": by["domain"].auc,
            }
        )
    return rows


def group_rows(model: ModelAudit, grouping: str) -> list[dict[str, Any]]:
    """One row per group of one grouping, the best first."""
    found = sorted((group for group in model.groups if group.grouping == grouping), key=lambda group: -group.mean)
    return [{grouping: group.name, **{k: v for k, v in vars(group).items() if k not in ("grouping", "name")}} for group in found]


def draw_audit(path: Path, corpus: str, models: Sequence[ModelAudit], config: AuditConfig) -> None:
    """Draw at most six models into a .png (1400 x 700 pixels) or .svg file; raise ConfigError for another suffix."""
    shown = models[:_MOST_MODELS]
    with picture(path) as figure:
        figure.text(0.028, 0.93, f"What quality models measure: {corpus}", fontsize=17, fontweight="bold")
        said = f"{shown[0].documents:,} documents; quality from 0 to 1 in each model's range"
        figure.text(0.028, 0.89, said, color=QUIET)
        for place, model in enumerate(shown):
            colour, text = _COLOURS[place], f"{model.model}: {model.verdict}"
            figure.text(0.028 + 0.155 * place, 0.845, text, color=colour, fontsize=10.5, fontweight="bold")
        _draw_domains(figure.add_axes((0.115, 0.09, 0.33, 0.66)), shown)
        _draw_measures(figure.add_axes((0.555, 0.09, 0.18, 0.66)), shown, config)
        _draw_agreement(figure.add_axes((0.83, 0.3, 0.145, 0.38)), shown)


def _title(axes: Axes, title: str, said: str) -> None:
    axes.set_title(title, loc="left", fontsize=12.5, fontweight="bold", pad=26)
    axes.text(0, 1.02, said, transform=axes.transAxes, fontsize=9.5, color=QUIET)
    axes.tick_params(length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_domains(axes: Axes, models: Sequence[ModelAudit]) -> None:
    domains = [row["domain"] for row in group_rows(models[0], "domain")][:_MOST_DOMAINS]
    step = 0.7 / len(models)
    for place, model in enumerate(models):
        by_name = {group.name: group for group in model.groups if group.grouping == "domain"}
        for row, name in enumerate(domains):
            if (group := by_name.get(name)) is not None:
                y = row + step * (place - (len(models) - 1) / 2)
                axes.plot([group.lowest_tenth, group.highest_tenth], [y, y], color=_COLOURS[place], linewidth=2.2, alpha=0.55)
                axes.plot([group.median], [y], "o", color=_COLOURS[place], markersize=4.5)
    axes.set_yticks(range(len(domains)), labels=list(map(visible, domains)))
    axes.set_ylim(max(len(domains), 1) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.grid(axis="x", color=LINE, linewidth=0.7)
    _title(axes, "What it gives each domain", "line: from a tenth to nine tenths, dot: the middle")


def _draw_measures(axes: Axes, models: Sequence[ModelAudit], config: AuditConfig) -> None:
    names = [f"{GROUPINGS[grouping]} predicts it" for grouping in GROUPINGS] + ["length correlates", "nearly the same"]
    limits = [config.source_r2.warn] * len(GROUPINGS) + [config.length_correlation.warn, config.constant_share.warn]
    step = 0.7 / len(models)
    for place, model in enumerate(models):
        whole, by = model.groups[0], {source.grouping: source.r2 for source in model.sources}
        values = [by[grouping] for grouping in GROUPINGS] + [abs(whole.length_correlation or 0.0), whole.constant_share]
        y = np.arange(len(values)) + step * (place - (len(models) - 1) / 2)
        axes.barh(y, values, height=0.8 * step, color=_COLOURS[place])
    for row, limit in enumerate(limits):
        if limit is not None:
            axes.plot([limit, limit], [row - 0.45, row + 0.45], color=INK, linewidth=1.2)
    axes.set_yticks(range(len(names)), labels=names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.grid(axis="x", color=LINE, linewidth=0.7)
    _title(axes, "What else explains it", "share of variance, or of ranks; black: from here a warning")


def _draw_agreement(axes: Axes, models: Sequence[ModelAudit]) -> None:
    names = [model.model for model in models]
    values = np.array([[1.0 if a.model == b else a.agreement.get(b) or 0.0 for b in names] for a in models])
    axes.imshow(values, cmap="RdBu", vmin=-1, vmax=1)
    for i, row in enumerate(values.tolist()):
        for j, value in enumerate(row):
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=9, color="white" if abs(value) > 0.6 else INK)
    axes.set_xticks(range(len(names)), labels=names, rotation=30, ha="right")
    axes.set_yticks(range(len(names)), labels=names)
    _title(axes, "How far they agree", "correlation of ranks")
    axes.spines[:].set_visible(False)
