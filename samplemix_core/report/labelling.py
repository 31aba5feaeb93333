"""Place names next to circles: near their own, away from others, joined by a line if they are not right next to it."""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

GAPS = (5.0, 16.0, 30.0, 48.0, 70.0)
"""Gaps to try between a circle and its name, in pixels."""
DIRECTIONS = ((1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (0.7, 0.7), (-0.7, 0.7), (0.7, -0.7), (-0.7, -0.7))


def label_circles(
    axes: Axes, canvas: FigureCanvasAgg, names: Sequence[str], centres: npt.ArrayLike, areas: Sequence[float], ink: str
) -> None:
    """Write n names near their circles: centres (n, 2) in data coordinates, areas (n,) in square points.

    Names are placed in order, each where it hides the least and can't be taken for another circle's. The axes' limits
    must be final.
    """
    canvas.figure.draw_without_rendering()
    renderer = canvas.get_renderer()
    pixels = axes.transData.transform(np.asarray(centres, dtype=np.float64))
    radii = np.array([math.sqrt(area / math.pi) * canvas.figure.dpi / 72 for area in areas])
    circles = [Bbox.from_bounds(x - r, y - r, 2 * r, 2 * r).padded(4) for (x, y), r in zip(pixels, radii, strict=True)]
    frame = axes.get_window_extent(renderer)
    placed: list[Bbox] = []
    for i, name in enumerate(names):
        text = axes.text(0, 0, name, fontsize=9.5, color=ink, transform=None, va="bottom", ha="left", zorder=5)
        text.set_path_effects([withStroke(linewidth=3, foreground="white", alpha=0.9)])
        size = text.get_window_extent(renderer)
        obstacles = [*placed, *circles[:i], *circles[i + 1 :]]
        best_cost = math.inf
        for gap in GAPS:
            for direction in DIRECTIONS:
                candidate = _beside(pixels[i], radii[i] + gap, direction, size)
                distances = np.delete(_distances(candidate, pixels) - radii, i)
                cost = (
                    3 * gap
                    + 8 * (candidate.width * candidate.height - _overlap(candidate, frame))
                    + sum(_overlap(candidate, obstacle) for obstacle in obstacles)
                    + 12 * float(np.clip(gap + 6 - distances, 0, None).sum())
                )
                if cost < best_cost:
                    best_cost, box, best_gap = cost, candidate, gap
        text.set_position((box.x0, box.y0))
        placed.append(box.padded(2))
        if best_gap > GAPS[0]:
            (x, y), end = pixels[i], np.clip(pixels[i], box.min, box.max)
            axes.plot([x, end[0]], [y, end[1]], color=ink, linewidth=0.8, transform=None, zorder=4)


def _beside(point: npt.NDArray[np.float64], distance: float, direction: tuple[float, float], size: Bbox) -> Bbox:
    """A box of a size whose nearest edge or corner lies at a distance from a point, in a direction."""
    dx, dy = direction
    left = point[0] + dx * distance - size.width * (1 - np.sign(dx)) / 2
    bottom = point[1] + dy * distance - size.height * (1 - np.sign(dy)) / 2
    return Bbox.from_bounds(left, bottom, size.width, size.height)


def _distances(box: Bbox, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distance (n,) of each point (n, 2) to the box; 0 inside it."""
    distances: npt.NDArray[np.float64] = np.linalg.norm(points - np.clip(points, box.min, box.max), axis=1)
    return distances


def _overlap(box: Bbox, other: Bbox) -> float:
    """Area in square pixels that two boxes share."""
    width = min(box.x1, other.x1) - max(box.x0, other.x0)
    height = min(box.y1, other.y1) - max(box.y0, other.y0)
    return float(max(width, 0.0) * max(height, 0.0))
