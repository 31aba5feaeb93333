"""A cluster model survives its bytes, and its identity is in them."""

import dataclasses
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, save

from samplemix_core.diversity.cluster_model import ClusterModel, Fit
from samplemix_core.errors import ModelError


def equal(expected: Any, found: Any) -> bool:
    """Whether two models, or parts of them, are the same to the last bit."""
    if isinstance(expected, np.ndarray):
        return bool(np.array_equal(found, expected) and found.dtype == expected.dtype)
    if isinstance(expected, ClusterModel | Fit):
        return all(equal(getattr(expected, field.name), getattr(found, field.name)) for field in dataclasses.fields(expected))
    if isinstance(expected, tuple) and expected and isinstance(expected[0], Fit):
        return len(expected) == len(found) and all(equal(*pair) for pair in zip(expected, found, strict=True))
    return bool(expected == found)


def test_round_trip(model: ClusterModel, several: ClusterModel) -> None:
    for each in (model, several):
        read = ClusterModel.from_bytes(each.to_bytes())
        assert equal(each, read)
        assert read.digest == each.digest


def test_shares_follow_from_labels_and_counts(first: Fit) -> None:
    assert first.sizes.sum() + round(first.noise_share * first.labels.size) == first.labels.size
    assert first.largest_share == first.assigned.max() / first.labels.size


@pytest.mark.parametrize("change", [{"seed": 43}, {"encoder_id": "encoder-2"}, {"config": {}}])
def test_the_digest_knows_what_made_the_model(model: ClusterModel, change: dict[str, Any]) -> None:
    assert dataclasses.replace(model, **change).digest != model.digest


def test_no_other_bytes_are_a_model(model: ClusterModel) -> None:
    data = model.to_bytes()
    for damaged in (b"", b"model", data[:100], data[:-1], save(load(data))):
        with pytest.raises(ModelError, match="should hold a cluster model"):
            ClusterModel.from_bytes(damaged)


def test_a_later_format_is_refused_by_number(model: ClusterModel) -> None:
    data = model.to_bytes().replace(rb"\"format\":2", rb"\"format\":9")
    with pytest.raises(ModelError, match="has format 9; this version reads 2 and 3"):
        ClusterModel.from_bytes(data)
