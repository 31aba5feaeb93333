"""Ordinal heads: the loss that is minimised, what they predict, and that their bytes are all of them."""

import numpy as np
import pytest
import torch

from samplemix_core.errors import ModelError
from samplemix_core.quality.ordinal import (
    HeadSettings,
    Inputs,
    OrdinalHeads,
    expected_score,
    fit_heads,
    functions_of,
    level_of_the_paper,
    predicted_level,
)

N, DIM = 600, 12


def made(features: int = 0) -> tuple[Inputs, np.ndarray]:
    """Vectors, features, and levels 0 to 4 that hang on a direction and, if there are features, on how far the first is from 0."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(N, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    read = rng.normal(size=(N, features))
    value = 4 * vectors[:, 0] + (2 - 2 * np.abs(read[:, 0]) if features else 0)
    levels = np.digitize(value + 0.3 * rng.normal(size=N), np.quantile(value, (0.2, 0.4, 0.6, 0.8)))
    return Inputs(vectors.astype(np.float32), read), levels


def test_levels_of_probabilities() -> None:
    probabilities = np.array(
        [[0.9, 0.8, 0.6, 0.1], [0.4, 0.6, 0.1, 0.1], [0.9, 0.9, 0.9, 0.9], [0.1, 0.1, 0.1, 0.1]], dtype=np.float32
    )
    np.testing.assert_array_equal(predicted_level(probabilities), [3, 1, 4, 0])
    # The paper's: .9, .72, .432; .4; .9, .81, .729, .6561; .1.
    np.testing.assert_array_equal(level_of_the_paper(probabilities), [2, 0, 4, 0])
    np.testing.assert_allclose(expected_score(probabilities), [2.4, 1.2, 3.6, 0.4], rtol=1e-6)


def test_a_fit_is_the_least_penalised_loss_as_torch_finds_it() -> None:
    inputs, levels = made()
    penalty = 0.01
    heads, _ = fit_heads(inputs, {"q": levels}, {"q": 4}, HeadSettings(penalty))
    vectors = inputs.vectors.astype(np.float64)
    columns = torch.tensor((vectors - vectors.mean(axis=0)) / vectors.std(axis=0) / np.sqrt(DIM))
    targets = torch.tensor((levels[:, None] > np.arange(4)).astype(np.float64))
    weight = torch.zeros(DIM, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=500, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        value = torch.nn.functional.binary_cross_entropy_with_logits(columns @ weight + bias, targets)
        value = value + penalty / 2 * (weight**2).sum() / 4
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        expected = torch.sigmoid(columns @ weight + bias).numpy()
    np.testing.assert_allclose(heads.probabilities(inputs)["q"], expected, atol=2e-3)


def test_heads_find_what_levels_hang_on_and_features_in_both_directions() -> None:
    inputs, levels = made(features=3)
    with_features, _ = fit_heads(inputs, {"q": levels}, {"q": 4}, HeadSettings(1e-4))
    without, _ = fit_heads(Inputs(inputs.vectors, np.empty((N, 0))), {"q": levels}, {"q": 4}, HeadSettings(1e-4))
    error = [
        np.abs(predicted_level(heads.probabilities(read)["q"]) - levels).mean()
        for heads, read in ((with_features, inputs), (without, Inputs(inputs.vectors, np.empty((N, 0)))))
    ]
    assert error[0] < 0.35 < error[1]


def test_several_scores_are_fitted_as_each_alone() -> None:
    inputs, levels = made(features=2)
    other = (levels > 2).astype(np.int64)
    settings = HeadSettings(1e-3)
    both, _ = fit_heads(inputs, {"q": levels, "r": other}, {"q": 4, "r": 1}, settings)
    alone, _ = fit_heads(inputs, {"r": other}, {"r": 1}, settings)
    assert both.probabilities(inputs)["q"].shape == (N, 4)
    np.testing.assert_allclose(both.probabilities(inputs)["r"], alone.probabilities(inputs)["r"], atol=5e-3)


def test_where_a_fit_starts_changes_nothing() -> None:
    inputs, levels = made()
    cold, _ = fit_heads(inputs, {"q": levels}, {"q": 4}, HeadSettings(1e-3))
    _, other = fit_heads(inputs, {"q": levels}, {"q": 4}, HeadSettings(1e-1))
    warm, _ = fit_heads(inputs, {"q": levels}, {"q": 4}, HeadSettings(1e-3), other)
    np.testing.assert_allclose(cold.probabilities(inputs)["q"], warm.probabilities(inputs)["q"], atol=5e-3)


def test_a_level_that_no_document_has_is_never_likely() -> None:
    inputs, levels = made()
    heads, _ = fit_heads(inputs, {"q": levels}, {"q": 9}, HeadSettings(1e-3))
    probabilities = heads.probabilities(inputs)["q"]
    assert probabilities[:, 4:].max() < 0.05
    assert np.isfinite(probabilities).all()


def test_features_that_never_differ_count_for_nothing() -> None:
    inputs, levels = made()
    constant = Inputs(inputs.vectors, np.full((N, 2), 7.0))
    heads, _ = fit_heads(constant, {"q": levels}, {"q": 4}, HeadSettings(1e-3))
    moved = Inputs(inputs.vectors, np.full((N, 2), 1e9))
    np.testing.assert_array_equal(heads.probabilities(constant)["q"], heads.probabilities(moved)["q"])


def test_functions_of_features_share_a_value_between_two_knots() -> None:
    knots = (np.array([0.0, 1.0, 3.0]), np.array([5.0]))
    found = functions_of(np.array([[0.25, 5], [2, 6], [-1, 5], [99, 5]]), knots)
    np.testing.assert_allclose(found, np.array([[0.75, 0.25, 0, 1], [0, 0.5, 0.5, 1], [1, 0, 0, 1], [0, 0, 1, 1]]))


def test_bytes_hold_all_of_the_heads() -> None:
    inputs, levels = made(features=2)
    heads, _ = fit_heads(inputs, {"q": levels}, {"q": 4}, HeadSettings(1e-3))
    data = heads.to_bytes()
    read = OrdinalHeads.from_bytes(data, ("q",))
    np.testing.assert_array_equal(heads.probabilities(inputs)["q"], read.probabilities(inputs)["q"])
    assert read.to_bytes() == data
    without, _ = fit_heads(Inputs(inputs.vectors, np.empty((N, 0))), {"q": levels}, {"q": 4}, HeadSettings(1e-3))
    assert OrdinalHeads.from_bytes(without.to_bytes(), ("q",)).knots == ()
    for broken in (b"", data[:100], b"not safetensors at all, whatever"):
        with pytest.raises(ModelError):
            OrdinalHeads.from_bytes(broken, ("q",))
    with pytest.raises(ModelError):
        OrdinalHeads.from_bytes(data, ("q", "r"))


def test_probabilities_are_those_of_the_logits() -> None:
    heads = OrdinalHeads(
        {"q": 2, "r": 1},
        np.array([[1, 0, 2], [0, -1, 0]], dtype=np.float32),
        np.empty((0, 3), dtype=np.float32),
        (),
        np.array([0, 1, -1], dtype=np.float32),
    )
    found = heads.probabilities(Inputs(np.array([[1, 2]], dtype=np.float32), np.empty((1, 0))))
    np.testing.assert_allclose(found["q"], 1 / (1 + np.exp([[-1.0, 1.0]])), rtol=1e-6)
    np.testing.assert_allclose(found["r"], 1 / (1 + np.exp([[-1.0]])), rtol=1e-6)
