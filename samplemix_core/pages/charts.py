"""Charts of a mixture for a page: pieces of HTML, and one script that draws them with BokehJS, which the page loads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bokeh
import numpy as np
from bokeh.embed import components
from bokeh.models import (
    BoxZoomTool,
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    LinearColorMapper,
    NumeralTickFormatter,
    OpenURL,
    PanTool,
    Range1d,
    ResetTool,
    TapTool,
    WheelZoomTool,
)
from bokeh.models.annotations import ColorBar, Legend, LegendItem
from bokeh.palettes import Viridis256
from bokeh.plotting import figure
from markupsafe import Markup

from samplemix_core.database.mixtures import ProfileCell
from samplemix_core.report.record import DIVERSITY_BINS, QUALITY_BINS

BOKEH_JS = Path(bokeh.__file__).parent / "server" / "static" / "js" / "bokeh.min.js"
"""The script that draws the charts, as it comes with Bokeh."""

_INK, _BLUE = "#75808f", "#2f7db8"
"""Colours that can be read on white and on black."""

_RATIOS = ("#A63603", "#E6853E", "#9aa3b0", "#4C93C9", "#08457E")
_STEPS = (0.5, 0.8, 1.25, 2.0)


@dataclass(frozen=True)
class MixtureCharts:
    """The script, and where each chart goes."""

    script: Markup
    map: Markup
    copies: Markup


def mixture_charts(
    cells: Sequence[ProfileCell], histogram: Sequence[Mapping[str, Any]], quality_range: tuple[float, float]
) -> MixtureCharts | None:
    """A map of quality, over its range, and diversity from a version's profile, and its copies; None if there is no profile."""
    if not cells:
        return None
    # Nothing but numbers goes in. Any text of the corpus would be put into HTML by Bokeh itself.
    script, parts = components({"map": _map(cells, *quality_range), "copies": _copies(histogram)})
    return MixtureCharts(Markup(script), Markup(parts["map"]), Markup(parts["copies"]))  # noqa: S704 Bokeh's own HTML


def _map(cells: Sequence[ProfileCell], low: float, high: float) -> Any:
    sums = np.zeros((3, QUALITY_BINS, DIVERSITY_BINS))
    for cell in cells:
        sums[:, cell.quality_bin, cell.diversity_bin] += (cell.source_tokens, cell.mixture_tokens, cell.documents)
    quality, diversity = np.nonzero(sums[0])
    source, mixture, documents = sums[:, quality, diversity]
    mean = mixture.sum() / source.sum()
    ratio = mixture / source / mean if mean else np.ones(source.size)
    width = (high - low) / QUALITY_BINS
    data = ColumnDataSource(
        {
            "quality": low + (quality + 0.5) * width,
            "diversity": (diversity + 0.5) / DIVERSITY_BINS,
            "documents": documents,
            "tokens": source,
            "copies": mixture / source,
            "colour": [_RATIOS[int(np.searchsorted(_STEPS, value))] for value in ratio.tolist()],
            "strength": 0.25 + 0.75 * np.sqrt(source / source.max()),
        }
    )
    chart = _figure("quality", "diversity", x_range=(low, high), y_range=(0, 1))
    chart.rect("quality", "diversity", width, 1 / DIVERSITY_BINS, source=data, color="colour", alpha="strength", line_width=0)
    shown = [("quality", "@quality{0.00}"), ("diversity", "@diversity{0.00}"), ("documents", "@documents{0,0}")]
    chart.add_tools(HoverTool(tooltips=[*shown, ("tokens", "@tokens{0,0}"), ("copies of a token", "@copies{0.00}")]))
    return chart


def _copies(histogram: Sequence[Mapping[str, Any]]) -> Any:
    copies = [row["copies"] for row in histogram]
    samples = [row["samples"] for row in histogram]
    chart = _figure("copies", "samples", y_range=Range1d(start=0, end=1.05 * max(samples, default=1)))
    data = ColumnDataSource({"copies": copies, "samples": samples})
    chart.vbar("copies", top="samples", width=0.8, source=data, color=_BLUE)
    chart.xaxis.ticker = FixedTicker(ticks=copies)
    chart.add_tools(HoverTool(tooltips=[("copies", "@copies"), ("samples", "@samples{0,0}")]))
    return chart


COLOURS = {"main_domain": "domain", "quality": "quality", "diversity": "diversity", "mean_copies": "copies"}
"""What clusters can be coloured by -> its name."""

_DOMAINS = ("#1F77B4", "#D9730D", "#2C8C4A", "#C43C3C", "#8A63C4", "#8C564B", "#D15DAA", "#8F8F1F", "#1795A5")
_OTHER_DOMAIN = "#7f8894"


@dataclass(frozen=True)
class ClusterMap:
    """The script, and where the map goes."""

    script: Markup
    map: Markup


def cluster_map(clusters: Sequence[Mapping[str, Any]], colour: str, link: str) -> ClusterMap | None:
    """A map of described clusters, each a circle by its documents, coloured by one of COLOURS; None if none is described.

    A click goes to `link` with the cluster's number appended. Domains and words come from the corpus: Bokeh inserts them as text.
    """
    placed = [row for row in clusters if row["x"] is not None]
    if not placed:
        return None
    most = max(row["documents"] for row in placed)
    columns = ("cluster", "x", "y", "documents", *COLOURS)
    data = {name: [row[name] for row in placed] for name in columns}
    data |= {name: [float(value) for value in data[name]] for name in ("quality", "diversity", "mean_copies")}
    data["words"] = [", ".join(row["terms"] or ()) for row in placed]
    data["size"] = [6 + 34 * (row["documents"] / most) ** 0.5 for row in placed]
    chart = _figure("", "", x_range=(-1.15, 1.15), y_range=(-1.15, 1.15))
    chart.height = 560
    chart.axis.visible = False
    chart.add_tools(HoverTool(tooltips=_CLUSTER_TIPS), TapTool(callback=OpenURL(url=f"{link}@cluster", same_tab=True)))
    if colour == "main_domain":
        _by_domain(chart, data)
    else:
        mapper = LinearColorMapper(palette=Viridis256, low=min(data[colour]), high=max(data[colour]))
        _circles(chart, data, {"field": colour, "transform": mapper})
        bar = ColorBar(color_mapper=mapper, title=COLOURS[colour], background_fill_alpha=0, width=10)
        bar.title_text_color = bar.major_label_text_color = _INK
        chart.add_layout(bar, "right")
    script, part = components(chart)
    return ClusterMap(Markup(script), Markup(part))  # noqa: S704 Bokeh's own HTML


CATEGORIES = {"domain": "domain", "cluster": "cluster", "language": "language", "content_type": "content type", "snapshot": "crawl"}
NUMBERS = {"quality": "quality", "diversity": "diversity", "copies": "copies"}
"""What documents can be coloured by -> its name."""

PALETTE, OTHERS, RAMP = (*_DOMAINS, "#5DBB63", "#E0A800", "#3D5A98"), _OTHER_DOMAIN, Viridis256


def document_map() -> ClusterMap:
    """A map of documents without any: the page's own script puts them into the data source "documents".

    Besides places, each has a colour, a strength and a size.
    """
    columns = (
        "x",
        "y",
        "colour",
        "strength",
        "size",
        "cluster",
        "domain",
        "language",
        "quality",
        "diversity",
        "copies",
        "beginning",
    )
    source = ColumnDataSource({name: [] for name in columns}, name="documents")
    chart = _figure("", "", x_range=(-1.15, 1.15), y_range=(-1.15, 1.15))
    chart.height = 620
    chart.axis.visible = False
    chart.grid.visible = False
    chart.scatter(
        *("x", "y"),
        source=source,
        size="size",
        fill_color="colour",
        fill_alpha="strength",
        line_color=None,
        nonselection_fill_alpha="strength",
        selection_line_color=_INK,
    )
    wheel = WheelZoomTool()
    chart.add_tools(PanTool(), wheel, BoxZoomTool(), ResetTool(), TapTool(), HoverTool(tooltips=_DOCUMENT_TIPS, limit=3))
    chart.toolbar.active_scroll = wheel
    chart.toolbar_location = "above"
    script, part = components(chart)
    return ClusterMap(Markup(script), Markup(part))  # noqa: S704 Bokeh's own HTML


_DOCUMENT_TIPS = [
    ("text", "@beginning"),
    *(("domain", "@domain"), ("cluster", "@cluster"), ("language", "@language")),
    *(("quality", "@quality{0.00}"), ("diversity", "@diversity{0.00}"), ("copies", "@copies")),
]

_CLUSTER_TIPS = [
    ("cluster", "@cluster"),
    ("words", "@words"),
    ("domain", "@main_domain"),
    *(("documents", "@documents{0,0}"), ("quality", "@quality{0.00}")),
    *(("diversity", "@diversity{0.00}"), ("copies of a document", "@mean_copies{0.00}")),
]


def _by_domain(chart: Any, data: Mapping[str, list[Any]]) -> None:
    """Circles in a colour for each of the largest domains, and their legend."""
    documents: dict[str, int] = {}
    for domain, count in zip(data["main_domain"], data["documents"], strict=True):
        documents[domain] = documents.get(domain, 0) + count
    names = sorted(documents, key=lambda name: (-documents[name], name))
    items = []
    for number, name in enumerate([*names[: len(_DOMAINS)], None]):
        own = [
            place
            for place, domain in enumerate(data["main_domain"])
            if domain == name or (name is None and domain in names[len(_DOMAINS) :])
        ]
        if own:
            colour = _OTHER_DOMAIN if name is None else _DOMAINS[number]
            circles = _circles(chart, {column: [values[i] for i in own] for column, values in data.items()}, colour)
            items.append(LegendItem(label={"value": "others" if name is None else name}, renderers=[circles]))
    legend = Legend(
        items=items,
        background_fill_alpha=0,
        border_line_alpha=0,
        label_text_color=_INK,
        orientation="horizontal",
        location="bottom_left",
    )
    legend.ncols = 3
    chart.add_layout(legend, "below")


def _circles(chart: Any, data: Mapping[str, list[Any]], colour: Any) -> Any:
    source = ColumnDataSource(dict(data))
    return chart.scatter("x", "y", size="size", source=source, fill_color=colour, fill_alpha=0.75, line_color=_INK, line_alpha=0.6)


def _figure(x: str, y: str, **ranges: Any) -> Any:
    chart = figure(
        height=320,
        sizing_mode="stretch_width",
        toolbar_location=None,
        tools="",
        x_axis_label=x,
        y_axis_label=y,
        background_fill_alpha=0,
        border_fill_alpha=0,
        outline_line_color=None,
        **ranges,
    )
    for axis in chart.axis:
        axis.axis_label_text_color = axis.major_label_text_color = _INK
        axis.axis_line_color = axis.major_tick_line_color = axis.minor_tick_line_color = _INK
        axis.formatter = NumeralTickFormatter(format="0.[00]a")
    chart.grid.grid_line_color = _INK
    chart.grid.grid_line_alpha = 0.2
    return chart
