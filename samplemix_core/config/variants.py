"""Mixtures to draw a frontier from: settings over a version's own, by what they are called."""

from typing import Any

_HELD = {"constraints": {"hold": ["language", "content_type"]}}
"""Languages and content types keep their natural shares; weights act inside."""


def _samplemix(alpha: float, tau: float, normalise: str, *, held: bool) -> dict[str, Any]:
    policy = {"policy": {"name": "samplemix", "alpha": alpha, "tau": tau}, "normalise": normalise, "phases": []}
    return {**policy, **(_HELD if held else {"constraints": {"hold": []}})}


PLAIN = "plain"
"""The method of the SampleMix paper."""

VARIANTS: dict[str, dict[str, Any]] = {
    PLAIN: _samplemix(0.8, 0.2, "range", held=False),
    "plain, held": _samplemix(0.8, 0.2, "range", held=True),
    "plain, tau .5": _samplemix(0.8, 0.5, "range", held=False),
    "plain, alpha .5": _samplemix(0.5, 0.2, "range", held=False),
    "quality, tau .5": _samplemix(0.0, 0.5, "range", held=False),
    "quality, ranks, tau 1": _samplemix(0.0, 1.0, "ranks", held=False),
    "quality, ranks, tau .5": _samplemix(0.0, 0.5, "ranks", held=False),
    "ranks, tau .2": _samplemix(0.5, 0.2, "ranks", held=False),
    "ranks, tau .3": _samplemix(0.5, 0.3, "ranks", held=False),
    "ranks, tau .5": _samplemix(0.5, 0.5, "ranks", held=False),
    "ranks, tau .15, held": _samplemix(0.5, 0.15, "ranks", held=True),
    "ranks, tau .2, held": _samplemix(0.5, 0.2, "ranks", held=True),
    "ranks, tau .25, held": _samplemix(0.5, 0.25, "ranks", held=True),
    "ranks, tau .4, held": _samplemix(0.5, 0.4, "ranks", held=True),
    "qurating": {"policy": {"name": "qurating"}, "phases": [], "constraints": {"hold": []}},
    "temperature": {"policy": {"name": "temperature"}, "phases": [], "constraints": {"hold": []}},
}
"""From the plain method to ones that are kinder to text like the source: ranks in place of ranges, softer, groups held."""
