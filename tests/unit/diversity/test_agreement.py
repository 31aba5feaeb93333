"""Agreement of two encoders' clusters: whole where they see the same, none where one sees nothing of what the other does."""

import numpy as np
import pytest

from samplemix_core.config.run import DiversityConfig
from samplemix_core.diversity.agreement import agreement
from tests.unit.diversity.conftest import Blobs


def test_a_rotation_agrees_as_the_reference_does_with_itself(blobs: Blobs, config: DiversityConfig) -> None:
    dim = blobs.vectors.shape[1]
    rotation = np.linalg.qr(np.random.default_rng(3).standard_normal((dim, dim)))[0].astype(np.float32)
    found = agreement(blobs.vectors @ rotation, blobs.vectors, config)
    assert found.documents == len(blobs.vectors)
    assert found.mutual_information > 0.95
    assert found.own_mutual_information > 0.95
    assert found.diversity_rank > 0.8
    assert found.clusters == found.reference_clusters


def test_what_is_unrelated_agrees_by_chance_alone(blobs: Blobs, config: DiversityConfig) -> None:
    shuffled = blobs.vectors[np.random.default_rng(4).permutation(len(blobs.vectors))]
    found = agreement(shuffled, blobs.vectors, config)
    assert found.mutual_information == pytest.approx(0, abs=0.1)
    assert abs(found.diversity_rank) < 0.3
    assert found.own_mutual_information > 0.9
