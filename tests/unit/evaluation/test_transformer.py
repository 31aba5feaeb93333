"""What the small transformer learns, and that a training which was cut off ends as one that wasn't."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from samplemix_core.errors import ModelError
from samplemix_core.evaluation.transformer import Recipe, Shape, Training, Transformer

SIZE = 50
TINY = Recipe(Shape(1, 64), sequence=16, batch=128, rate=0.01, precision="float32")


def cycles(documents: int, seed: int = 0) -> npt.NDArray[np.uint16]:
    """Documents that count upwards from somewhere, each after the token that documents begin with."""
    chance = np.random.default_rng(seed)
    parts = [np.concatenate([[SIZE], (first + np.arange(20)) % SIZE]) for first in chance.integers(0, SIZE, documents)]
    return np.concatenate(parts).astype(np.uint16)


TEXTS = (np.arange(70) % SIZE).astype(np.uint16)
ENDS = np.array([3, 3, 40, 70])


@pytest.mark.parametrize("parameters", [1_000_000, 3_000_000, 50_000_000, 1_000_000_000])
def test_a_shape_has_about_the_parameters_that_are_asked_for(parameters: int) -> None:
    shape = Shape.nearest(parameters)
    assert 0.7 < shape.parameters / parameters < 1.4
    small = Shape(2, 64)
    model = Transformer(SIZE, small, 16, 0)
    assert sum(weight.numel() for weight in model.parameters()) == small.parameters + (SIZE + 1) * 64


def test_no_token_knows_a_later_one() -> None:
    model = Transformer(SIZE, Shape(2, 64), 16, 0)
    ids = torch.arange(12).reshape(1, 12)
    changed = ids.clone()
    changed[0, 7] = 30
    with torch.no_grad():
        before, after = model(ids), model(changed)
    assert torch.allclose(before[0, :7], after[0, :7])
    assert not torch.allclose(before[0, 7:], after[0, 7:], atol=1e-3)


def test_it_learns_what_follows_and_a_training_that_was_cut_off_ends_the_same() -> None:
    stream = cycles(700)
    whole = Training(SIZE, TINY, "cpu", seed=1)
    tokens, nats = whole.learn(stream, TEXTS, ENDS)
    assert tokens.size == nats.shape[0] >= 10
    assert (np.diff(tokens) > 0).all()
    assert tokens[-1] == (stream.size - 1) // TINY.batch * TINY.batch
    lengths = np.diff(ENDS, prepend=0)
    assert nats[0].sum() / 70 > 0.8 * np.log(SIZE)
    assert nats[-1].sum() / 70 < 1.0
    assert nats[-1][1] == lengths[1] == 0

    class CutError(Exception):
        pass

    def cut() -> None:
        if first.step == 60:
            raise CutError

    first = Training(SIZE, TINY, "cpu", seed=1)
    with pytest.raises(CutError):
        first.learn(stream, TEXTS, ENDS, cut)
    state = first.state
    second = Training(SIZE, TINY, "cpu", seed=99)
    second.go_on(state)
    again, losses = second.learn(stream, TEXTS, ENDS)
    assert again.tolist() == tokens.tolist()
    assert losses.tolist() == nats.tolist()
    state.tensors["model.embed.weight"] = torch.full_like(state.tensors["model.embed.weight"], float("nan"))
    with pytest.raises(ModelError, match="damaged"):
        Training(SIZE, TINY, "cpu", seed=1).go_on(state)
    state = first.state
    third = Training(SIZE, TINY, "cpu", seed=1)
    third.go_on(state)
    with pytest.raises(ModelError, match="of another stream"):
        third.learn(cycles(100), TEXTS, ENDS)
    other = Training(SIZE, TINY._replace(shape=Shape(2, 64)), "cpu", seed=1)
    with pytest.raises(ModelError, match="can't go on"):
        other.go_on(state)


def test_the_loss_of_a_text_is_the_sum_over_its_pieces_whatever_it_is_read_with() -> None:
    training = Training(SIZE, TINY, "cpu", seed=1)
    together = training.losses(TEXTS, ENDS)
    alone = [training.losses(TEXTS[start:end], np.array([end - start]))[0] for start, end in ((0, 3), (3, 40), (40, 70))]
    assert together[[0, 2, 3]] == pytest.approx(alone, rel=1e-5)


def test_a_stream_that_is_too_short_and_a_loss_that_is_no_number_are_told() -> None:
    with pytest.raises(ModelError, match="shorter than a step"):
        Training(SIZE, TINY, "cpu", 0).learn(cycles(3), TEXTS, ENDS)
    broken = Training(SIZE, TINY, "cpu", 0)
    with torch.no_grad():
        broken.model.embed.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match="no longer a number"):
        broken.learn(cycles(100), TEXTS, ENDS)
