"""Pictures of mixtures."""

from samplemix_core.plots.inputs import DomainPoint, Heading, SampleHistogram
from samplemix_core.plots.mixture import draw_mixture

__all__ = ["DomainPoint", "Heading", "SampleHistogram", "draw_mixture"]
