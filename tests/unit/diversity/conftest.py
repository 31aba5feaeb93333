"""Synthetic embeddings whose clusters are known: blobs on the unit sphere."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest

from samplemix_core.config import DiversityConfig
from samplemix_core.diversity.fit import fit_clusters


class Blobs(NamedTuple):
    """Unit vectors (n, dim) and the blob each was drawn from, (n,)."""

    vectors: npt.NDArray[np.float32]
    truth: npt.NDArray[np.int64]


def unit(vectors):
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def draw_blobs(n_blobs=14, per_blob=40, dim=64, spread=0.06, seed=0):
    rng = np.random.default_rng(seed)
    truth = rng.permutation(np.repeat(np.arange(n_blobs), per_blob))
    directions = unit(rng.standard_normal((n_blobs, dim)))
    return Blobs(unit(directions[truth] + spread * rng.standard_normal((truth.size, dim))), truth)


@pytest.fixture(scope="session")
def blobs():
    return draw_blobs()


@pytest.fixture(scope="session")
def config():
    return DiversityConfig()


@pytest.fixture(scope="session")
def model(blobs, config):
    return fit_clusters(blobs.vectors, config, seed=42, encoder_id="encoder-1")
