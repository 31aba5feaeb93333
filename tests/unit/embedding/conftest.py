"""Real encoders, loaded once, and real short texts."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
from transformers import AutoModel, AutoTokenizer, PretrainedConfig

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.embedding.loading import locate_model

TEXTS = [
    "The lighthouse keeper climbed the stairs every evening at dusk.",
    "def mean(values):\n    return sum(values) / len(values)\n",
    "Le chat dort sur le canapé pendant que la pluie tombe.",
    "Photosynthesis converts light energy into chemical energy stored in glucose.",
    "東京は日本の首都であり、人口が最も多い都市です。",
    "naïve café — résumé ☃ 🚀 ﬁne",
    "a",
    "   \n\t ",
    "word " * 700,
    "Buy now!!! Cheap!!! " * 30,
    "The lighthouse keeper climbed the stairs every evening at dusk.",
    "Once upon a time there was " + "a very " * 90 + "long story.",
]


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return TEXTS


@pytest.fixture(scope="session")
def float32_encoder() -> Encoder:
    return load_encoder(EmbeddingConfig(precision="float32", device="cpu"))


@pytest.fixture
def model_copy(tmp_path: Path) -> Path:
    """A copy of the shipped model that a test may change; the weights are linked, not copied."""
    source = locate_model(EmbeddingConfig())
    target = tmp_path / "model"
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("*.safetensors"))
    (target / "model.safetensors").symlink_to(source / "model.safetensors")
    return target


def save_small(directory: Path, config: PretrainedConfig) -> Path:
    """A sentence-transformers model of a kind of transformer, with random weights and the shipped model's tokenizer."""
    source = locate_model(EmbeddingConfig())
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(directory)
    AutoTokenizer.from_pretrained(source).save_pretrained(directory)
    SentenceTransformer(modules=[Transformer(str(directory)), Pooling(32)]).save_pretrained(str(directory / "model"))
    return directory / "model"


SMALL: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "pad_token_id": 0,
}
