"""A comparison of mixtures as a table, as sentences, and as a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.table import Table

from samplemix_core.errors import ConfigError
from samplemix_core.evaluation.comparison import Comparison, Contender, Gain, Measured
from samplemix_core.logs import visible
from samplemix_core.report.labelling import label_circles
from samplemix_core.report.picture import INK, LINE, QUIET, picture
from samplemix_core.report.text import output, tell

_COLOURS = {"better": "#08457E", "worse": "#A63603", "open": QUIET}
_MOST_VIEWS = 6


def print_comparison(comparison: Comparison) -> None:
    """Print the steps ratios of all mixtures, and what can be concluded."""
    first = comparison.contenders[0]
    about = f"{comparison.tokens:,} tokens, {comparison.draws} draw{'s' if comparison.draws > 1 else ''}"
    if comparison.share < 1:
        about += f", {comparison.share:.1%} of each mixture's documents"
    _print_gains(
        f"Tokens that {first.name} needs over those that the mixture needs ({about})",
        {contender.name: contender.gains for contender in comparison.contenders},
    )
    if comparison.confirmation is not None:
        own = comparison.confirmation
        _print_gains(f"The same, by a {own.method} of about {own.parameters:,} parameters", own.gains)
    for line in comparison.said():
        tell(line)


def _print_gains(title: str, gains: Mapping[str, Sequence[Gain]]) -> None:
    table = Table(title=title, header_style="bold")
    table.add_column("")
    for gain in next(iter(gains.values())):
        table.add_column(visible(f"{gain.target}: {gain.view}"), justify="right")
    for name, own in gains.items():
        table.add_row(visible(name), *(_bar(gain.steps) for gain in own))
    output().print(table)


def _bar(measured: Measured) -> str:
    return f"{measured.mean:.2f}" if measured.error is None else f"{measured.mean:.2f} +- {measured.error:.2f}"


def draw_comparison(path: Path, title: str, comparison: Comparison) -> None:
    """Draw each mixture's steps ratio in each view, with its interval, into a .png or .svg file. ConfigError for another suffix."""
    shown = comparison.contenders[1:]
    seen = comparison.contenders[0].gains[:_MOST_VIEWS]
    with picture(path) as figure:
        FigureCanvasAgg(figure)
        height = 2.6 + 0.45 * len(shown)
        figure.set_figheight(height)
        figure.text(0.022, 1 - 0.35 / height, title, fontsize=17, fontweight="bold", va="center")
        figure.text(
            *(0.022, 1 - 0.72 / height),
            f"How many times fewer tokens than {comparison.reference} for the same loss; bars are 95 % intervals over"
            f" {comparison.draws} draws",
            fontsize=11,
            color=QUIET,
            va="center",
        )
        left, width = 0.2, 0.78 / max(1, len(seen))
        for place, view in enumerate(seen):
            axes = figure.add_axes((left + place * width, 0.5 / height, width * 0.9, 1 - 2.1 / height))
            axes.axvline(1.0, color=LINE, linewidth=1.5, zorder=0)
            for row, contender in enumerate(shown):
                gain = _gain(contender, view)
                colour = _COLOURS[gain.verdict]
                ends = _ends(gain.steps)
                axes.plot([min(ends), max(ends)], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
                axes.plot(ends[:1], [row], "o", color=colour, markersize=6)
                axes.text(ends[0], row - 0.3, f"{gain.steps.mean:.2f}", ha="center", va="center", fontsize=8, color=INK)
            values = [value for each in shown for value in _ends(_gain(each, view).steps)] or [1.0]
            low, high = min(0.9, *values, 1.0), max(1.1, *values, 1.0)
            axes.set_xlim(low - 0.08 * (high - low), high + 0.08 * (high - low))
            axes.set_ylim(max(1, len(shown)) - 0.4, -0.7)
            axes.set_yticks(
                range(len(shown)), [visible(each.name) for each in shown] if not place else [""] * len(shown), color=INK
            )
            axes.tick_params(length=0)
            axes.spines[["top", "right", "left"]].set_visible(False)
            axes.set_title(f"{visible(view.target)}\n{view.view}", loc="left", fontsize=10.5, fontweight="bold")


def _gain(contender: Contender, view: Gain) -> Gain:
    return next(gain for gain in contender.gains if (gain.target, gain.view) == (view.target, view.view))


def _ends(measured: Measured) -> list[float]:
    """Its mean, and then the ends of its interval, as far as the picture reaches: an interval of few draws may be very wide."""
    ends = [measured.mean, measured.low, measured.high]
    return [min(max(end, 0.0), 4.0) for end in ends if end is not None]


def draw_frontier(path: Path, title: str, comparison: Comparison) -> None:
    """Draw what each mixture gains elsewhere against what it costs on text like the source, into a .png or .svg file.

    Raises ConfigError for another suffix, and if targets are all of one kind.
    """
    placed = [(each, each.like_source, each.elsewhere) for each in comparison.contenders]
    points = [(each, near, far) for each, near, far in placed if near is not None and far is not None]
    require_both([target.drawn for target in comparison.targets])
    best = {each.name for each in comparison.frontier}
    with picture(path) as figure:
        canvas = FigureCanvasAgg(figure)
        figure.set_figheight(8.0)
        figure.text(0.022, 0.955, title, fontsize=17, fontweight="bold", va="center")
        axes = figure.add_axes((0.07, 0.09, 0.9, 0.81))
        for value in (axes.axvline, axes.axhline):
            value(1.0, color=LINE, linewidth=1.5, zorder=0)
        for each, near, far in points:
            colour = _COLOURS["better"] if each.name in best else QUIET
            axes.errorbar(near.mean, far.mean, xerr=near.error, yerr=far.error, fmt="o", color=colour, markersize=6, elinewidth=1)
        line = [(near.mean, far.mean) for each, near, far in points if each.name in best]
        axes.plot(*zip(*sorted(line), strict=True), color=_COLOURS["better"], linewidth=1, alpha=0.5, zorder=1)
        axes.set_xlabel(f"on text like the source: times fewer tokens than {comparison.reference}")
        axes.set_ylabel("on the other targets")
        axes.spines[["top", "right"]].set_visible(False)
        centres = [(near.mean, far.mean) for _, near, far in points]
        label_circles(axes, canvas, [visible(each.name) for each, _, _ in points], centres, [40.0] * len(points), INK)


def require_both(drawn: Sequence[bool]) -> None:
    """Raise ConfigError unless some targets were drawn from a corpus and others not."""
    if any(drawn) and not all(drawn):
        return
    missing = "of your own" if any(drawn) else "that was drawn from the corpus"
    raise ConfigError(
        f"A frontier needs a target {missing}, too.",
        "Draw one with 'samplemix target draw', add one with 'samplemix target add', and name both with --target.",
    )


def print_frontier(comparison: Comparison) -> None:
    """Print each mixture's place, the kindest to the source first, and which ones no other beats."""
    best = {each.name for each in comparison.frontier}
    placed = [(each, each.like_source, each.elsewhere) for each in comparison.contenders]
    table = Table(title=f"Times fewer tokens than {comparison.reference}, with standard errors", header_style="bold")
    for name in ("", "like the source", "elsewhere", ""):
        table.add_column(name, justify="left" if not name else "right")
    for each, near, far in sorted(placed, key=lambda row: -(row[1].mean if row[1] else 0)):
        if near is not None and far is not None:
            table.add_row(visible(each.name), _bar(near), _bar(far), "on the frontier" if each.name in best else "")
    output().print(table)
    for line in comparison.caveats():
        tell(line)
