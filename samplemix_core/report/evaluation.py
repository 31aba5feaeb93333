"""A comparison of mixtures as a table, as sentences, and as a picture."""

from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.table import Table

from samplemix_core.evaluation.comparison import Comparison, Contender, Gain, Measured
from samplemix_core.logs import visible
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
    table = Table(title=f"Tokens that {first.name} needs over those that the mixture needs ({about})", header_style="bold")
    table.add_column("")
    for gain in first.gains:
        table.add_column(visible(f"{gain.target}: {gain.view}"), justify="right")
    for contender in comparison.contenders:
        table.add_row(visible(contender.name), *(_bar(gain.steps) for gain in contender.gains))
    output().print(table)
    for line in comparison.said():
        tell(line)


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
                if gain.steps.low is not None and gain.steps.high is not None:
                    axes.plot([gain.steps.low, gain.steps.high], [row, row], color=colour, linewidth=2, solid_capstyle="butt")
                axes.plot([gain.steps.mean], [row], "o", color=colour, markersize=6)
                axes.text(gain.steps.mean, row - 0.3, f"{gain.steps.mean:.2f}", ha="center", va="center", fontsize=8, color=INK)
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
    """What of it is within reach of the picture: an interval of few draws may be very wide."""
    ends = [measured.mean, measured.low, measured.high]
    return [min(max(end, 0.0), 4.0) for end in ends if end is not None]
