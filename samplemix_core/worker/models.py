"""Load a worker's encoder and tokenizer, and check that they are those that the run registered."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.embedding.counter import counter_for
from samplemix_core.embedding.encoder import Encoder, load_encoder, load_known_encoder
from samplemix_core.embedding.tokens import TokenCounter
from samplemix_core.errors import ModelError
from samplemix_core.quality.composite import composite_model
from samplemix_core.quality.rubric import DEFAULT_RUBRIC
from samplemix_core.worker.jobs import ScoreTask


def describe_models(embedding: EmbeddingConfig, tokenizer: str, known: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """Describe the configured encoder as this worker loads it, the tokenizer that counts, and the composite score.

    If the precision is "auto", the first of the `known` encoders' specs that this one can match decides it.
    """
    encoder = load_known_encoder(embedding, known)
    counter = counter_for(tokenizer, encoder)
    return {
        "encoder_key": encoder.encoder_id,
        "encoder": encoder.spec,
        "family": encoder.family,
        "batch_tokens": encoder.batch_tokens,
        "tokenizer": counter.name,
        "tokenizer_id": counter.tokenizer_id,
        "composite": composite_model(),
        "composite_range": (0.0, float(DEFAULT_RUBRIC.maximum)),
    }


def load_models(task: ScoreTask) -> tuple[Encoder, TokenCounter]:
    """Load the encoder and the token counter; raise ModelError unless they are the run's, down to device and precision."""
    encoder = load_encoder(task.embedding)
    if encoder.encoder_id != task.encoder_key:
        raise ModelError(
            f"This worker's encoder ({encoder.spec['name']} on {encoder.device} in {encoder.precision}, computed with"
            f" {torch.backends.cpu.get_cpu_capability()}) is not the run's: it has the key {encoder.encoder_id}, the run"
            f" registered {task.encoder_key}.",
            "Give all workers the same model files, the same version of SampleMix, and processors with the same instructions.",
        )
    counter = counter_for(task.tokenizer, encoder)
    if counter.tokenizer_id != task.tokenizer_id:
        raise ModelError(
            f"This worker's tokenizer {counter.name} has the key {counter.tokenizer_id}, the run registered {task.tokenizer_id}.",
            "Give all workers the same tokenizer's file.",
        )
    return encoder, counter
