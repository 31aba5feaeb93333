"""SampleMix: sample-wise pre-training data mixing by quality and diversity.

Read the pure packages in the order data flows: corpus, quality, scorers, embedding, diversity, mixing, manifest. Then objects,
database and compute, which handle state and machines; worker, which does the work, and pipeline, which drives it; and reading,
crawls, models, operations, report, pages, local, demo and cli. docs/architecture.md describes each.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from samplemix_core.reading.mixture import open_mixture as open_mixture

__version__ = "0.1.0"


def __getattr__(name: str) -> object:
    # Imported when it is asked for, so that importing the package costs nothing.
    if name == "open_mixture":
        from samplemix_core.reading.mixture import open_mixture

        return open_mixture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
