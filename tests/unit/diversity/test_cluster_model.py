"""A cluster model survives its bytes, and its identity is in them."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from samplemix_core.diversity.cluster_model import ClusterModel
from samplemix_core.errors import ModelError


def test_round_trip(model: ClusterModel) -> None:
    read = ClusterModel.from_bytes(model.to_bytes())
    for field in dataclasses.fields(ClusterModel):
        expected, found = getattr(model, field.name), getattr(read, field.name)
        if isinstance(expected, np.ndarray):
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == expected.dtype
        else:
            assert found == expected
    assert read.digest == model.digest


def test_shares_follow_from_labels_and_counts(model: ClusterModel) -> None:
    assert model.sizes.sum() + round(model.noise_share * model.labels.size) == model.labels.size
    assert model.largest_share == model.assigned.max() / model.labels.size


@pytest.mark.parametrize("change", [{"seed": 43}, {"encoder_id": "encoder-2"}, {"config": {}}])
def test_the_digest_knows_what_made_the_model(model: ClusterModel, change: dict[str, Any]) -> None:
    assert dataclasses.replace(model, **change).digest != model.digest


def test_no_other_bytes_are_a_model(model: ClusterModel) -> None:
    data = model.to_bytes()
    for damaged in (b"", b"model", data[:100], data[:-1], save(load(data))):
        with pytest.raises(ModelError, match="should hold a cluster model"):
            ClusterModel.from_bytes(damaged)


def test_a_later_format_is_refused_by_number(model: ClusterModel) -> None:
    data = model.to_bytes().replace(rb"\"format\":1", rb"\"format\":9")
    with pytest.raises(ModelError, match="has format 9; this version reads format 1"):
        ClusterModel.from_bytes(data)
