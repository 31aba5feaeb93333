"""Real encoders, loaded once, and real short texts."""

import shutil
from pathlib import Path

import pytest

from samplemix_core.config import EmbeddingConfig
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.embedding.model import locate_model

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
