"""Where tasks begin on a Dask worker.

These functions are named on both sides. What they need (torch, models, numba) is imported on the worker only, so that the
processes which fan work out stay light.
"""

from typing import Any

from samplemix_core.config import EmbeddingConfig
from samplemix_core.pipeline.tasks import AssignTask, FitResult, FitTask, ScoreResult, ScoreTask


def describe_models(embedding: EmbeddingConfig) -> dict[str, Any]:
    """The identities of encoder and quality model, as a worker has them."""
    from samplemix_core.pipeline import worker

    return worker.describe_models(embedding)


def score_shard(task: ScoreTask) -> ScoreResult:
    """Score and embed one shard."""
    from samplemix_core.pipeline import worker

    return worker.score_shard(task)


def fit_model(task: FitTask) -> FitResult:
    """Fit clusters on a sample."""
    from samplemix_core.pipeline import worker

    return worker.fit_model(task)


def assign_shard(task: AssignTask) -> int:
    """Assign one shard to clusters; returns how many documents it has."""
    from samplemix_core.pipeline import worker

    return worker.assign_shard(task)
