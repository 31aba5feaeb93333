"""The models that score, as a worker loads them, and whether they are those that the run registered."""

from typing import Any

from samplemix_core.config import EmbeddingConfig
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.errors import ModelError
from samplemix_core.identity import fingerprint
from samplemix_core.quality.composite import composite_model
from samplemix_core.quality.criteria import MAX_QUALITY
from samplemix_core.worker.jobs import ScoreTask


def describe_models(embedding: EmbeddingConfig) -> dict[str, Any]:
    """What the configured encoder, as this worker loads it, and the quality model are."""
    encoder = load_encoder(embedding)
    return {
        "encoder_key": encoder.encoder_id,
        "encoder": encoder.spec,
        "tokenizer_id": encoder.tokenizer_id,
        "quality_model": composite_model(),
        "quality_range": (0.0, float(MAX_QUALITY)),
    }


def load_models(task: ScoreTask) -> Encoder:
    """The encoder; raise ModelError unless it and the quality model are the run's, down to device and precision."""
    encoder = load_encoder(task.embedding)
    if encoder.encoder_id != task.encoder_key:
        raise ModelError(
            f"This worker's encoder ({encoder.spec['name']} on {encoder.device} in {encoder.precision}) is not the run's: it has"
            f" the key {encoder.encoder_id}, the run registered {task.encoder_key}.",
            "Give all workers the same model files and the same version of SampleMix.",
        )
    found = fingerprint(composite_model())
    if found != task.quality_model_key:
        raise ModelError(
            f"This worker's quality model has the key {found}, the run registered {task.quality_model_key}.",
            "Bring all workers and Airflow to the same version of SampleMix.",
        )
    return encoder
