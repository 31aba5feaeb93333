"""Mixtures to draw a frontier from: settings over a version's own, by what they are called."""

from typing import Any

_HELD = {"constraints": {"hold": ["language", "content_type"]}}
"""Languages and content types keep their natural shares; weights act inside."""


def _samplemix(alpha: float, tau: float, normalise: str, *, held: bool = False, brevity: float = 0.0) -> dict[str, Any]:
    policy = {"policy": {"name": "samplemix", "alpha": alpha, "tau": tau, "brevity": brevity}, "normalise": normalise, "phases": []}
    return {**policy, **(_HELD if held else {"constraints": {"hold": []}})}


def _named(policy: str) -> dict[str, Any]:
    return {"policy": {"name": policy}, "normalise": "range", "phases": [], "constraints": {"hold": []}}


PLAIN = "plain"
"""The method of the SampleMix paper."""

VARIANTS: dict[str, dict[str, Any]] = {
    PLAIN: _samplemix(0.8, 0.2, "range"),
    "plain, held": _samplemix(0.8, 0.2, "range", held=True),
    "plain, tau .5": _samplemix(0.8, 0.5, "range"),
    "plain, brevity .25": _samplemix(0.8, 0.2, "range", brevity=0.25),
    "quality, ranks, tau 1": _samplemix(0.0, 1.0, "ranks"),
    "ranks, tau .2": _samplemix(0.5, 0.2, "ranks"),
    "ranks, tau .3": _samplemix(0.5, 0.3, "ranks"),
    "ranks, tau .5": _samplemix(0.5, 0.5, "ranks"),
    "ranks, tau .25, held": _samplemix(0.5, 0.25, "ranks", held=True),
    "ranks, tau .4, held": _samplemix(0.5, 0.4, "ranks", held=True),
    "brief, tau .3": _samplemix(0.5, 0.3, "ranks", brevity=0.5),
    "brief, tau .35, held": _samplemix(0.5, 0.35, "ranks", held=True, brevity=0.5),
    **{name: _named(name) for name in ("samplemix_safe", "samplemix_calibrated", "qurating", "temperature")},
}
"""From the plain method to ones that are kinder to text like the source: ranks in place of ranges, softer, groups held, short
documents first."""
