"""One picture of a mixture: what it does to each domain's share, and where quality and diversity put the copies.

One colour scale ties both panels together: blue is repeated more than the mixture's average, orange less. It and the
fonts come with matplotlib, so the same input gives the same bytes.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple
from matplotlib.patches import Patch

from samplemix_core.errors import ConfigError
from samplemix_core.logs import visible
from samplemix_core.manifest.diff import GroupChange, VersionDiff
from samplemix_core.manifest.format import Manifest
from samplemix_core.mixing.plan import Plan
from samplemix_core.report.labelling import label_circles
from samplemix_core.report.record import DomainPoint, FloatArray, MixtureRecord, SampleHistogram
from samplemix_core.report.text import written

MAX_DOMAINS = 20
_ADD_UP = ("source_samples", "source_tokens", "source_share", "samples", "copies", "mixture_tokens", "mixture_share")

_PANELS = ((0.142, 0.34), (0.543, 0.385), (0.939, 0.009))
"""Left edge and width of the three axes, as fractions of the figure."""

_LINE_LENGTH = 20
INK, QUIET, LINE, BEFORE = "#1F2430", "#6B7280", "#E3E6EB", "#C5CAD3"
_COPIES = LinearSegmentedColormap.from_list("copies", ["#A63603", "#E6853E", "#C9CCD3", "#4C93C9", "#08457E"])
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.labelcolor": QUIET,
    "axes.edgecolor": LINE,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "svg.hashsalt": "samplemix",
}


def require_picture(path: Path) -> str:
    """The suffix of a picture's file; raise ConfigError if it is another than .png or .svg."""
    suffix = path.suffix.lower()
    if suffix not in (".png", ".svg"):
        raise ConfigError(f"A picture can't be written as {path.name!r}.", "Give it a name that ends in .png or .svg.")
    return suffix


@contextmanager
def picture(path: Path) -> Iterator[Figure]:
    """A figure in the house style, written to a .png (1400 x 700 pixels unless it is made higher) or .svg file.

    Raises ConfigError for another suffix.
    """
    suffix = require_picture(path)
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(STYLE)
        figure = Figure(figsize=(14, 7), dpi=100, facecolor="white")
        yield figure
        with written(path):
            figure.savefig(path, format=suffix[1:], metadata={"Date": None} if suffix == ".svg" else {})


def draw_mixture(path: Path, record: MixtureRecord) -> None:
    """Draw the mixture into a .png (1400 x 700 pixels) or .svg file.

    With more than 20 domains the smallest are drawn as one. Raises ConfigError for another suffix, and ValueError for
    domains without tokens.
    """
    domains, histogram = record.domains, record.histogram
    if not domains or sum(point.source_tokens for point in domains) == 0 or sum(point.mixture_tokens for point in domains) == 0:
        raise ValueError(f"{len(domains)} domains without tokens before or after the mixture: there is nothing to draw")
    shown = sorted(merge_smallest(domains), key=lambda point: (-point.mixture_tokens, point.domain))
    with picture(path) as figure:
        canvas = FigureCanvasAgg(figure)
        shares, scores, scale = (figure.add_axes((left, 0.095, width, 0.695)) for left, width in _PANELS)
        copies = _CopiesScale.fit(shown, histogram)
        _draw_heading(figure, record.manifest)
        _draw_shares(shares, shown, copies)
        points = _draw_scores(scores, shown, histogram, copies)
        names = [_shorten(point.domain, 26) for point, _ in points]
        centres = [(point.quality, point.diversity) for point, _ in points]
        label_circles(scores, canvas, names, centres, [area for _, area in points], INK)
        _draw_scale(figure, scale, copies)


def merge_smallest(domains: Sequence[DomainPoint]) -> list[DomainPoint]:
    """At most MAX_DOMAINS points: the largest in the source, and the rest as one with token-weighted means."""
    if len(domains) <= MAX_DOMAINS:
        return list(domains)
    ranked = sorted(domains, key=lambda point: (-point.source_tokens, point.domain))
    rest = ranked[MAX_DOMAINS - 1 :]
    tokens = sum(point.source_tokens for point in rest)
    merged = DomainPoint(
        domain=f"{len(rest)} smaller domains",
        **{name: sum(getattr(point, name) for point in rest) for name in _ADD_UP},
        mean_copies=sum(point.copies for point in rest) / max(1, sum(point.source_samples for point in rest)),
        quality=sum(point.quality * point.source_tokens for point in rest) / max(tokens, 1),
        diversity=sum(point.diversity * point.source_tokens for point in rest) / max(tokens, 1),
    )
    return [*ranked[: MAX_DOMAINS - 1], merged]


@dataclass(frozen=True)
class _CopiesScale:
    """Mean copies to colour: grey at the mixture's average, orange towards 0, blue towards `top` and above."""

    average: float
    top: float

    @property
    def norm(self) -> TwoSlopeNorm:
        return TwoSlopeNorm(self.average, vmin=0.0, vmax=self.top)

    def colours(self, copies: npt.ArrayLike) -> FloatArray:
        """RGBA, of shape copies.shape + (4,)."""
        return np.asarray(_COPIES(self.norm(np.asarray(copies, dtype=np.float64))))

    @classmethod
    def fit(cls, domains: Sequence[DomainPoint], histogram: SampleHistogram) -> Self:
        """A scale that shows every domain, and the bins of all but the most repeated 2 % of the source's tokens."""
        average = sum(point.mixture_tokens for point in domains) / sum(point.source_tokens for point in domains)
        occupied = histogram.source_tokens > 0
        tokens = histogram.source_tokens[occupied]
        copies = histogram.mixture_tokens[occupied] / tokens
        order = np.argsort(copies, kind="stable")
        cumulative = np.cumsum(tokens[order])
        high = float(copies[order][int(np.searchsorted(cumulative, 0.98 * cumulative[-1]))]) if tokens.size else 0.0
        return cls(average, max(high, *(point.token_copies for point in domains), 1.25 * average))


def _short(parameter: Any) -> str:
    return f"{parameter:g}" if isinstance(parameter, float) else str(parameter)[:_MOST_SHOWN]


_MOST_SHOWN = 30
"""Characters of a policy's parameter that the heading shows."""


def _draw_heading(figure: Figure, manifest: Manifest) -> None:
    figure.text(0.022, 0.945, f"{manifest.name}, version {manifest.version}", fontsize=19, fontweight="bold", va="center")
    met = manifest.realised_tokens / max(manifest.budget_tokens, 1)
    own = {name: value for name, value in sorted(manifest.policy.parameters.items()) if not name.startswith(("q_", "d_ranks"))}
    if manifest.phases:
        own = {phase.name: f"{phase.realised_tokens / manifest.realised_tokens:.0%}" for phase in manifest.phases}
    parameters = ", ".join(f"{name} {_short(value)}" for name, value in own.items())
    facts = (
        ("phases" if manifest.phases else f"policy {manifest.policy.name}") + (f" ({parameters})" if parameters else ""),
        f"budget {compact(manifest.budget_tokens)} tokens" + (f" of {manifest.tokenizer.name}" if manifest.tokenizer else ""),
        f"realised {manifest.realised_tokens:,} tokens, {met:.2%} of the budget",
    )
    figure.text(0.022, 0.892, "   ·   ".join(facts), fontsize=11.5, color=QUIET, va="center")


def _draw_shares(axes: Axes, domains: Sequence[DomainPoint], copies: _CopiesScale) -> None:
    """Paired bars: each domain's share of the source's tokens over its share of the mixture's."""
    before = np.array([point.source_tokens for point in domains], dtype=np.float64)
    after = np.array([point.mixture_tokens for point in domains], dtype=np.float64)
    before, after = before / before.sum(), after / after.sum()
    rows = np.arange(len(domains), dtype=np.float64)
    size = float(np.clip(15 - 0.38 * len(domains), 7.8, 10.5))
    axes.barh(rows - 0.19, before, height=0.36, color=BEFORE)
    axes.barh(rows + 0.19, after, height=0.36, color=copies.colours([point.token_copies for point in domains]))
    longest = max(before.max(), after.max())
    for row, old, new in zip(rows, before, after, strict=True):
        axes.text(old + 0.012 * longest, row - 0.19, f"{old:.1%}", va="center_baseline", fontsize=size - 1, color=QUIET)
        label = axes.annotate(
            f"{new:.1%}", (new + 0.012 * longest, row + 0.19), va="center_baseline", fontsize=size - 0.5, fontweight="bold"
        )
        axes.annotate(
            "  " + f"{100 * (new - old):+.1f}".replace("-", "\N{MINUS SIGN}"),
            (1, 0.5),
            xycoords=label,
            va="center",
            fontsize=size - 1,
            color=QUIET,
        )
    names = [wrap(point.domain) if len(domains) <= 12 else _shorten(point.domain, 26) for point in domains]
    axes.set_yticks(rows, names, fontsize=size, color=INK)
    axes.set_ylim(max(len(domains), 6) - 0.45, -0.55)
    axes.set_xlim(0, 1.27 * longest)
    axes.xaxis.set_visible(False)
    axes.tick_params(length=0, pad=6)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_title("Share of tokens, by domain", loc="left", fontsize=12.5, fontweight="bold", pad=26)
    after_key = tuple(Patch(color=colour) for colour in copies.colours([0.0, copies.average, copies.top]))
    axes.legend(
        [Patch(color=BEFORE), after_key],
        ["before: source", "after: mixture, coloured by copies"],
        handler_map={tuple: HandlerTuple(ndivide=None, pad=0)},
        loc="lower left",
        bbox_to_anchor=(-0.014, 0.988),
        ncols=2,
        frameon=False,
        fontsize=9.5,
        labelcolor=QUIET,
        handlelength=1.6,
        handletextpad=0.6,
        columnspacing=1.6,
    )
    axes.text(1, 1.018, "± points", transform=axes.transAxes, ha="right", fontsize=9.5, color=QUIET)


def _draw_scores(
    axes: Axes, domains: Sequence[DomainPoint], histogram: SampleHistogram, copies: _CopiesScale
) -> list[tuple[DomainPoint, float]]:
    """The source's tokens over quality and diversity as coloured squares, each domain's means as a circle on top of them.

    Returns the domains as drawn, the largest circle first, with the circles' areas in square points.
    """
    source = histogram.source_tokens
    field = copies.colours(np.divide(histogram.mixture_tokens, source, out=np.zeros_like(source), where=source > 0))
    # The cube root lets a bin of a thousandth of the fullest one's tokens still show.
    field[..., 3] = 0.62 * np.cbrt(source / max(source.max(), 1.0))
    axes.pcolormesh(histogram.quality_edges, histogram.diversity_edges, field.transpose(1, 0, 2), rasterized=True)
    axes.set_xlim(_limits(histogram.quality_edges, source.sum(axis=1), [point.quality for point in domains]))
    axes.set_ylim(_limits(histogram.diversity_edges, source.sum(axis=0), [point.diversity for point in domains]))
    points = sorted(domains, key=lambda point: -point.mixture_tokens)
    areas = [80 + 1200 * point.mixture_tokens / points[0].mixture_tokens for point in points]
    axes.scatter(
        [point.quality for point in points],
        [point.diversity for point in points],
        s=areas,
        c=copies.colours([point.token_copies for point in points]),
        edgecolors="white",
        linewidths=1.8,
        zorder=3,
    )
    axes.set_xlabel("quality, {:g} to {:g}".format(*histogram.quality_edges[[0, -1]]))
    axes.set_ylabel("diversity, 0 to 1")
    axes.tick_params(length=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title("Where quality and diversity put the copies", loc="left", fontsize=12.5, fontweight="bold", pad=26)
    legend = "circles: domain means, sized by mixture tokens   ·   squares: source tokens"
    axes.text(0, 1.018, legend, transform=axes.transAxes, fontsize=9.5, color=QUIET)
    return list(zip(points, areas, strict=True))


def _limits(edges: FloatArray, tokens: FloatArray, means: Sequence[float]) -> tuple[float, float]:
    """A range that shows all but half a per cent of the tokens on each side, and every mean, with some air."""
    share = np.cumsum(tokens) / max(float(tokens.sum()), 1.0)
    first, last = (int(np.searchsorted(share, quantile)) for quantile in (0.005, 0.995))
    low = min(float(edges[first]), *means) if tokens.any() else min(means)
    high = max(float(edges[last + 1]), *means) if tokens.any() else max(means)
    air = 0.06 * max(high - low, float(edges[1] - edges[0]))
    return max(float(edges[0]), low - air), min(float(edges[-1]), high + air)


def _draw_scale(figure: Figure, axes: Axes, copies: _CopiesScale) -> None:
    bar = figure.colorbar(ScalarMappable(copies.norm, _COPIES), cax=axes)
    marks = [0.0, copies.average / 2, copies.average, (copies.average + copies.top) / 2, copies.top]
    bar.set_ticks(marks, labels=[f"{mark:.2f}" for mark in marks])
    axes.get_yticklabels()[2].set(color=INK, fontweight="bold")
    axes.tick_params(length=0, labelsize=9.5)
    axes.set_title("mean\ncopies", fontsize=9.5, color=QUIET, loc="left", pad=6)
    for spine in axes.spines.values():
        spine.set_visible(False)


def compact(number: int) -> str:
    """A number in three significant digits and a unit, 2.5M or 100B."""
    rounded = float(f"{number:.3g}")
    for unit, size in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if rounded >= size:
            return f"{rounded / size:.4g}{unit}"
    return str(number)


def _shorten(name: str, length: int) -> str:
    name = visible(name)
    return name if len(name) <= length else name[: length - 1] + "…"


def wrap(name: str) -> str:
    """A name on at most two lines, broken after a hyphen, underscore, slash, dot or space if it has any."""
    name = visible(name)
    first, rest = "", re.split(r"(?<=[-_/. ])", name)
    while rest and len(first + rest[0]) <= _LINE_LENGTH:
        first += rest.pop(0)
    return _shorten(name, _LINE_LENGTH) if not first else f"{first}\n{_shorten(''.join(rest), _LINE_LENGTH)}" if rest else first


def draw_diff(path: Path, diff: VersionDiff) -> None:
    """Draw two versions' tokens, by all that is known of both, into a .png or .svg file; ConfigError for another suffix.

    Of many groups, those whose tokens moved most are drawn.
    """
    tables = diff.tables()
    below = (len(tables) - 1) // 2
    with picture(path) as figure:
        FigureCanvasAgg(figure)
        height = 7 + 5.9 * below
        figure.set_figheight(height)
        title = f"{diff.before} and {diff.after}"
        figure.text(0.022, 1 - 0.385 / height, title, fontsize=19, fontweight="bold", va="center")
        said = "   ·   ".join(f"{count:,} {change}" for change, count in diff.changes.items())
        figure.text(0.022, 1 - 0.756 / height, f"documents: {said}", fontsize=11.5, color=QUIET, va="center")
        key, corner = [Patch(color=BEFORE), Patch(color=_COPIES(0.85))], (0.978, 1 - 0.385 / height)
        figure.legend(key, ["before", "after"], loc="center right", bbox_to_anchor=corner, ncols=2, frameon=False)
        for number, (name, groups) in enumerate(tables.items()):
            bottom, left = 0.665 + 5.9 * (below - number // 2), (0.142, 0.6)[number % 2]
            shown = groups
            if name not in ("quality", "phase"):
                moved = sorted(groups, key=lambda group: (-abs(group.gained), group.group))[:MAX_DOMAINS]
                shown = tuple(sorted(moved, key=lambda group: (-group.after.tokens, group.group)))
            _draw_moved(figure.add_axes((left, bottom / height, 0.34, 4.865 / height)), f"Tokens, by {name}", shown)


def _draw_moved(axes: Axes, title: str, groups: Sequence[GroupChange]) -> None:
    """Paired bars: each group's tokens before, and after with what was gained."""
    rows = np.arange(len(groups), dtype=np.float64)
    before, after = (np.array([getattr(group, side).tokens for group in groups], dtype=np.float64) for side in ("before", "after"))
    axes.barh(rows - 0.19, before, height=0.36, color=BEFORE)
    axes.barh(rows + 0.19, after, height=0.36, color=_COPIES(0.85))
    longest = max(before.max(initial=1), after.max(initial=1))
    for row, group in enumerate(groups):
        gained = f"{group.gained:+,}".replace("-", "\N{MINUS SIGN}")
        axes.text(after[row] + 0.012 * longest, row + 0.19, gained, va="center_baseline", fontsize=8.5, color=QUIET)
    axes.set_yticks(rows, [_shorten(group.group, 26) for group in groups], fontsize=9, color=INK)
    axes.set_ylim(max(len(groups), 6) - 0.45, -0.55)
    axes.set_xlim(0, 1.27 * longest)
    axes.xaxis.set_visible(False)
    axes.tick_params(length=0, pad=6)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=12.5, fontweight="bold", pad=12)


def draw_plans(path: Path, title: str, plans: Mapping[str, Plan]) -> None:
    """Draw the shares of groups in plans beside those of the source into a .png or .svg file; ConfigError for another suffix."""
    first = next(iter(plans.values()))
    series = ["source", *plans]
    colours = [BEFORE, *(_COPIES(0.95 - 0.9 * place / max(1, len(plans) - 1)) for place in range(len(plans)))]
    rows = [min(len(groups), MAX_DOMAINS) for groups in first.groups.values()]
    with picture(path) as figure:
        FigureCanvasAgg(figure)
        height = 2.2 + max(rows) * (0.16 * len(series) + 0.16)
        figure.set_figheight(max(7.0, height))
        figure.text(0.022, 0.955, title, fontsize=19, fontweight="bold", va="center")
        keys = [Patch(color=colour) for colour in colours]
        names = [_shorten(name, 30) for name in series]
        figure.legend(keys, names, loc="center right", bbox_to_anchor=(0.978, 0.955), ncols=len(series), frameon=False)
        left, width = 0.11, 0.205
        for column, groups in first.groups.items():
            axes = figure.add_axes((left, 0.04, width, 0.83))
            _draw_planned(axes, f"Tokens, by {column.replace('_', ' ')}", column, [group.name for group in groups], plans, colours)
            left += width + 0.118


def _draw_planned(
    axes: Axes, title: str, column: str, names: Sequence[str], plans: Mapping[str, Plan], colours: Sequence[Any]
) -> None:
    names = names[:MAX_DOMAINS]
    source = {group.name: group.source_share for group in next(iter(plans.values())).groups[column]}
    shares = [source, *({group.name: group.share for group in plan.groups[column]} for plan in plans.values())]
    height = 0.84 / len(shares)
    longest = max(own.get(name, 0.0) for own in shares for name in names)
    for number, (own, colour) in enumerate(zip(shares, colours, strict=True)):
        places = np.arange(len(names)) + (number - (len(shares) - 1) / 2) * height
        values = [own.get(name, 0.0) for name in names]
        axes.barh(places, values, height=0.9 * height, color=colour)
        for place, value in zip(places.tolist(), values, strict=True):
            axes.text(value + 0.02 * longest, place, f"{value:.1%}", va="center_baseline", fontsize=8, color=QUIET)
    axes.set_yticks(range(len(names)), [_shorten(name, 18) for name in names], fontsize=9, color=INK)
    axes.set_ylim(max(len(names), 4) - 0.45, -0.55)
    axes.set_xlim(0, 1.27 * max(longest, 1e-9))
    axes.xaxis.set_visible(False)
    axes.tick_params(length=0, pad=6)
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_title(title, loc="left", fontsize=12.5, fontweight="bold", pad=12)
