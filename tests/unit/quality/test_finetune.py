"""Fine-tuning learns what heads alone can't, ends in time, and goes on from a checkpoint as if nothing had happened."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from samplemix_core.config.quality import FineTuningConfig
from samplemix_core.quality.finetune import Examples, FineTuned, batches, finetune
from samplemix_core.quality.ordinal import HeadSettings, Inputs, OrdinalHeads, fit_heads, predicted_level

WORDS, DIM = 40, 16
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="wants a GPU"))]


class TinyEncoder(torch.nn.Module):
    """Called as sentence-transformers are: the mean over tokens of what a layer makes of their embeddings."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.words = torch.nn.Embedding(WORDS, DIM)
        self.layer = torch.nn.Sequential(
            torch.nn.Linear(DIM, 2 * DIM), torch.nn.GELU(), torch.nn.Dropout(0.1), torch.nn.Linear(2 * DIM, DIM)
        )

    def forward(self, read: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        mask = read["attention_mask"][..., None].float()
        pooled = (self.layer(self.words(read["input_ids"])) * mask).sum(dim=1) / mask.sum(dim=1)
        return {"sentence_embedding": pooled}


def made(n: int, seed: int) -> Examples:
    """Documents whose level 0 to 2 is how many of the tokens 1 and 2 they have: neither, one, both."""
    rng = np.random.default_rng(seed)
    ids, levels = [], []
    for _ in range(n):
        document = rng.integers(3, WORDS, rng.integers(4, 30)).astype(np.int32)
        level = int(rng.integers(0, 3))
        places = rng.permutation(document.size)[:level]
        document[places] = np.array([1, 2], dtype=np.int32)[rng.permutation(2)[:level]]
        ids.append(document)
        levels.append(level)
    return Examples(ids, {"q": np.array(levels), "r": (np.array(levels) > 0).astype(np.int64)})


MAXIMA = {"q": 2, "r": 1}
LEARN, HELD_OUT, TEST = made(900, 1), made(150, 2), made(300, 3)
SETTINGS = FineTuningConfig(epochs=12, learning_rate=0.02, batch_tokens=600, evaluations_per_epoch=2, patience=8)


class File:
    """A checkpoint in a file; `after` saves, everything ends."""

    def __init__(self, path: Path, after: int = 10**9) -> None:
        self.path, self.left = path, after

    def load(self) -> Path | None:
        return self.path if self.path.exists() else None

    def save(self, write: Callable[[Path], None]) -> None:
        write(self.path)
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def vectors_of(encoder: torch.nn.Module, examples: Examples) -> Inputs:
    encoder.to("cpu").eval()
    with torch.inference_mode():
        found = [
            encoder({"input_ids": torch.from_numpy(ids[None].astype(np.int64)), "attention_mask": torch.ones(1, ids.size)})
            for ids in examples.ids
        ]
    vectors = np.concatenate([each["sentence_embedding"].numpy() for each in found])
    return Inputs(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.empty((len(vectors), 0)))


def run(
    checkpoints: File, device: str = "cpu", settings: FineTuningConfig = SETTINGS, held_out: Examples = HELD_OUT
) -> tuple[torch.nn.Module, FineTuned, float]:
    """A tuned encoder, how it went, and the mean error of its heads as they were before."""
    encoder = TinyEncoder()
    start, _ = fit_heads(vectors_of(encoder, LEARN), LEARN.levels, MAXIMA, HeadSettings(1e-3))
    before = error_of(encoder, start)
    return encoder, finetune(encoder, start, LEARN, held_out, settings, checkpoints, seed=5, device=device), before


def error_of(encoder: torch.nn.Module, heads: OrdinalHeads) -> float:
    probabilities = heads.probabilities(vectors_of(encoder, TEST))
    assert probabilities["q"].shape == (300, 2)
    return float(np.abs(predicted_level(probabilities["q"]) - TEST.levels["q"]).mean())


@pytest.mark.parametrize("device", DEVICES)
def test_it_learns_what_heads_alone_can_not(tmp_path: Path, device: str) -> None:
    encoder, tuned, before = run(File(tmp_path / "c"), device)
    assert before > 0.45
    assert error_of(encoder, tuned.heads) < 0.6 * before
    losses = {each.step: each.held_out_loss for each in tuned.evaluations}
    assert tuned.best_step == min(losses, key=lambda step: losses[step])
    assert tuned.evaluations[0].step == 0
    assert all(each.documents == 900 * i / 2 for i, each in enumerate(tuned.evaluations) if i % 2 == 0)


@pytest.mark.parametrize("device", DEVICES)
def test_one_that_was_cut_off_goes_on_as_if_it_had_not_been(tmp_path: Path, device: str) -> None:
    few = SETTINGS.model_copy(update={"epochs": 3})
    whole, expected, _ = run(File(tmp_path / "whole"), device, few)
    for after in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            run(File(tmp_path / "cut", after), device, few)
    encoder, tuned, _ = run(File(tmp_path / "cut"), device, few)
    assert [each.step for each in tuned.evaluations] == [each.step for each in expected.evaluations]
    if device == "cpu":
        assert tuned.evaluations == expected.evaluations
        assert tuned.heads.to_bytes() == expected.heads.to_bytes()
        for one, other in zip(encoder.state_dict().values(), whole.state_dict().values(), strict=True):
            assert torch.equal(one, other)
    else:
        np.testing.assert_allclose(
            [each.held_out_loss for each in tuned.evaluations], [each.held_out_loss for each in expected.evaluations], rtol=0.02
        )


def test_it_ends_where_nothing_gets_better(tmp_path: Path) -> None:
    short = SETTINGS.model_copy(update={"patience": 3})
    contrary = Examples(HELD_OUT.ids, {name: MAXIMA[name] - levels for name, levels in HELD_OUT.levels.items()})
    encoder, tuned, before = run(File(tmp_path / "c"), settings=short, held_out=contrary)
    assert len(tuned.evaluations) == 4
    assert tuned.best_step == 0
    assert error_of(encoder, tuned.heads) == pytest.approx(before, abs=0.02), "the best weights are those that it began with"
    # Taken up again after its end, it is at its end.
    _, again, _ = run(File(tmp_path / "c"), settings=short, held_out=contrary)
    assert again.evaluations == tuned.evaluations


@pytest.mark.parametrize("tokens", [30, 200, 5000])
def test_batches_hold_each_document_once_and_not_too_many_tokens(tokens: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 500)
    found = batches(lengths, tokens, seed=1, epoch=0)
    np.testing.assert_array_equal(np.sort(np.concatenate(found)), np.arange(500))
    assert all(batch.size * lengths[batch].max() <= tokens or batch.size == 1 for batch in found)
    assert any(
        (one != other).any() if one.size == other.size else True
        for one, other in zip(found, batches(lengths, tokens, 1, 1), strict=False)
    )
    padded = sum(batch.size * int(lengths[batch].max()) for batch in found)
    assert padded < 1.35 * lengths.sum()
