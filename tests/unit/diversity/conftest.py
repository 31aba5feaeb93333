"""Synthetic embeddings whose clusters are known: blobs on the unit sphere."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.cluster_model import ClusterModel, Fit
from samplemix_core.diversity.fit import fit_clusters

Vectors = npt.NDArray[np.float32]


class Blobs(NamedTuple):
    """Unit vectors (n, dim) and the blob each was drawn from, (n,)."""

    vectors: npt.NDArray[np.float32]
    truth: npt.NDArray[np.int64]


def unit(vectors: npt.NDArray[np.float64]) -> Vectors:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def draw_blobs(n_blobs: int = 14, per_blob: int = 40, dim: int = 64, spread: float = 0.06, seed: int = 0) -> Blobs:
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(n_blobs), per_blob))
    directions = unit(rng.standard_normal((n_blobs, dim)))
    return Blobs(unit(directions[truth] + spread * rng.standard_normal((truth.size, dim))), truth)


@pytest.fixture(scope="session")
def blobs() -> Blobs:
    return draw_blobs()


@pytest.fixture(scope="session")
def config() -> DiversityConfig:
    """One fit by HDBSCAN, which is quick."""
    return DiversityConfig(modes=("hdbscan",), fits=1)


@pytest.fixture(scope="session")
def model(blobs: Blobs, config: DiversityConfig) -> ClusterModel:
    return fit_clusters(blobs.vectors, config, seed=42, encoder_id="encoder-1")


@pytest.fixture(scope="session")
def first(model: ClusterModel) -> Fit:
    return model.first


@pytest.fixture(scope="session")
def several(blobs: Blobs) -> ClusterModel:
    """Two fits of each of two modes and views."""
    settings = DiversityConfig(modes=("hdbscan", "kmeans"), views=("plain", "centred"), fits=2)
    return fit_clusters(blobs.vectors, settings, seed=42, encoder_id="encoder-1")
