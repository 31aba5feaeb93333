"""The confirmation: what a small decoder-only transformer learns from a stream of tokens, at several points on the way.

Pre-normalised blocks with rotary positions (Su et al. 2021), gated feed-forward layers (Shazeer 2020) and tied embeddings, trained
by AdamW at a learning rate that stays as it is after a warm-up. Losses are taken with an average of the weights over about the last
tenth of the steps so far, which does what a decaying rate would, at each point and not at the end alone (Haegele et al. 2024).
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from samplemix_core.errors import ModelError
from samplemix_core.evaluation.curves import stops

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]
UInt16Array = npt.NDArray[np.uint16]

_HEAD = 64
_STEPS = 1_000
"""As many steps as a stream's tokens are cut into, if batches aren't too small or large for it."""

_LEAST_BATCH, _MOST_BATCH = 1_024, 2**19
_RATE, _WIDE_BATCH = 0.6, 8_192
"""The learning rate times the width, with steps of so many tokens; of smaller ones, less by the square root."""

_WARM_UP = 0.05
_AVERAGED = 9.0
"""A step's part in the averaged weights is (1 + this) / (steps + this): about a tenth of the steps so far count."""

_TOKENS_AT_ONCE = {"cpu": 4_096, "cuda": 65_536}
"""Most tokens in one pass forward and back, but at least a sequence: the rest of a step is added up."""

_TEXTS_AT_ONCE = 16_384


class Shape(NamedTuple):
    """A transformer's layers and width, and of each of its feed-forward layers."""

    layers: int
    width: int

    @property
    def inner(self) -> int:
        """Width within a feed-forward layer: gated ones have three matrices and not two, so two thirds of four times the width."""
        return round(self.width * 8 / 3 / 32) * 32

    @property
    def parameters(self) -> int:
        """Its weights, without those of the vocabulary."""
        return self.layers * (4 * self.width**2 + 3 * self.width * self.inner + 2 * self.width) + self.width

    @classmethod
    def nearest(cls, parameters: int) -> "Shape":
        """The one with about so many weights, some 64 times as wide as it has layers."""
        shapes = (cls(layers, width) for width in range(_HEAD, 4096, _HEAD) for layers in range(width // 96 + 1, width // 48 + 2))
        return min(shapes, key=lambda shape: abs(math.log(shape.parameters / parameters)))


class Recipe(NamedTuple):
    """How a transformer is trained: tokens of a sequence and of a step, and the learning rate.

    precision: bfloat16 for matrix products, or float32 throughout.
    """

    shape: Shape
    sequence: int
    batch: int
    rate: float
    precision: str

    @classmethod
    def of(cls, parameters: int, sequence: int, tokens: int, precision: str) -> "Recipe":
        """For a stream of so many tokens: about a thousand steps, and a rate by the width and, of small steps, by their size."""
        shape = Shape.nearest(parameters)
        wanted = min(max(tokens // _STEPS, _LEAST_BATCH), _MOST_BATCH)
        step = max(1, round(wanted / sequence)) * sequence
        return cls(shape, sequence, step, _RATE / shape.width * min(1.0, math.sqrt(step / _WIDE_BATCH)), precision)


class _Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.heads = shape.width // _HEAD
        self.before_attention, self.before_feed = nn.RMSNorm(shape.width), nn.RMSNorm(shape.width)
        self.attend = nn.Linear(shape.width, 3 * shape.width, bias=False)
        self.attended = nn.Linear(shape.width, shape.width, bias=False)
        self.feed = nn.Linear(shape.width, 2 * shape.inner, bias=False)
        self.fed = nn.Linear(shape.inner, shape.width, bias=False)

    def forward(self, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        sequences, length, width = x.shape
        parts = self.attend(self.before_attention(x)).view(sequences, length, 3, self.heads, _HEAD)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        found = functional.scaled_dot_product_attention(_turned(query, turn), _turned(key, turn), value, is_causal=True)
        x = x + self.attended(found.transpose(1, 2).reshape(sequences, length, width))
        gate, inner = self.feed(self.before_feed(x)).chunk(2, dim=-1)
        fed: Tensor = self.fed(functional.silu(gate) * inner)
        return x + fed


def _turned(x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
    cosine, sine = turn
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cosine - second * sine, second * cosine + first * sine], dim=-1).to(x.dtype)


class Transformer(nn.Module):
    """A language model of `size` tokens and one that stands before each document."""

    cosine: Tensor
    sine: Tensor

    def __init__(self, size: int, shape: Shape, sequence: int, seed: int) -> None:
        """Begin with random weights, which depend on the seed alone."""
        super().__init__()
        self.embed = nn.Embedding(size + 1, shape.width)
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.last = nn.RMSNorm(shape.width)
        angles = torch.outer(torch.arange(sequence), 10_000.0 ** (-torch.arange(_HEAD // 2) / (_HEAD // 2)))
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)
        chance = torch.Generator().manual_seed(seed)
        residual = {"attended", "fed"}
        for name, weight in self.named_parameters():
            if weight.ndim > 1:
                narrow = name.split(".")[-2] in residual
                deviation = 0.02 / math.sqrt(2 * shape.layers) if narrow else 0.02
                with torch.no_grad():
                    weight.normal_(0.0, deviation, generator=chance)

    def forward(self, ids: Tensor) -> Tensor:
        """Logits (sequences, length, tokens) of what follows each of the tokens (sequences, length)."""
        turn = (self.cosine[: ids.shape[1]], self.sine[: ids.shape[1]])
        x = self.embed(ids)
        for block in self.blocks:
            x = block(x, turn)
        return functional.linear(self.last(x), self.embed.weight)


@dataclass
class State:
    """How far a training is: its steps, all tensors that go on from there, and the losses (t,) after so many tokens each."""

    step: int
    tensors: dict[str, Tensor]
    tokens: list[int]
    nats: list[Float64Array]


class Training:
    """A transformer that reads a stream; what it knows can be put aside and taken up again."""

    def __init__(self, size: int, recipe: Recipe, device: str, seed: int) -> None:
        """Begin anew. The seed is of the first weights: draws with one seed begin alike."""
        self.size, self.recipe, self.device = size, recipe, device
        self.model = Transformer(size, recipe.shape, recipe.sequence, seed).to(device)
        self.averaged = {name: weight.detach().clone() for name, weight in self.model.named_parameters()}
        decayed = [weight for weight in self.model.parameters() if weight.ndim > 1]
        others = [weight for weight in self.model.parameters() if weight.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
            lr=recipe.rate,
            betas=(0.9, 0.95),
            fused=device == "cuda",
        )
        self.step = 0
        self.tokens, self.nats = list[int](), list[Float64Array]()

    def learn(
        self, stream: UInt16Array, ids: UInt16Array, ends: Int64Array, on_step: Callable[[], None] = lambda: None
    ) -> tuple[Int64Array, Float64Array]:
        """Read a stream in whole steps; look at the losses on texts (t,) at about curves.stops(). Goes on where its state is.

        Each document of the stream begins with the token `size`. ids: of the texts, one after another; ends: where each ends.
        Returns how many tokens were read at each point, int64 (p,), and nats, float64 (p, t). Raises ModelError for a stream that
        is shorter than a step, and if the loss is no longer a number.
        """
        batch, sequence = self.recipe.batch, self.recipe.sequence
        steps = (stream.size - 1) // batch
        if not steps:
            raise ModelError(
                f"A stream of {stream.size:,} tokens is shorter than a step of {batch:,}.",
                "Read more tokens, or take a smaller --sequence.",
            )
        ahead = np.unique(np.maximum(np.rint(stops(steps * batch) / batch), 1)).astype(np.int64)
        had = [step * batch for step in ahead.tolist() if step <= self.step]
        if self.step > steps or self.tokens != had or any(each.shape != ends.shape for each in self.nats):
            raise ModelError("A training can't go on: it is of another stream.", "Evaluate again.")
        most = max(sequence, _TOKENS_AT_ONCE[self.device] // sequence * sequence)
        warm = max(1, round(_WARM_UP * steps))
        while self.step < steps:
            start = self.step * batch
            own = torch.from_numpy(stream[start : start + batch + 1].astype(np.int64)).to(self.device, non_blocking=True)
            for group in self.optimizer.param_groups:
                group["lr"] = self.recipe.rate * min(1.0, (self.step + 1) / warm)
            for at in range(0, batch, most):
                part = own[at : at + most + 1]
                with self._products():
                    logits = self.model(part[:-1].view(-1, sequence))
                    loss = functional.cross_entropy(logits.float().flatten(0, 1), part[1:], reduction="sum") / batch
                torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            self.step += 1
            share = (1.0 + _AVERAGED) / (self.step + _AVERAGED)
            with torch.no_grad():
                names, weights = zip(*self.model.named_parameters(), strict=True)
                torch._foreach_lerp_([self.averaged[name] for name in names], list(weights), share)
            if self.step in ahead:
                if not math.isfinite(loss.item()):
                    raise ModelError(
                        f"The loss is no longer a number after {self.step:,} steps.", "Choose fewer parameters, or more tokens."
                    )
                self.tokens.append(self.step * batch)
                self.nats.append(self.losses(ids, ends))
            on_step()
        return np.array(self.tokens, dtype=np.int64), np.stack(self.nats)

    def _products(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.recipe.precision == "bfloat16")

    @torch.no_grad()
    def losses(self, ids: UInt16Array, ends: Int64Array) -> Float64Array:
        """Nats of each text with the averaged weights; a long text is read in pieces, each of which knows only the token before."""
        averaged = Transformer(self.size, self.recipe.shape, self.recipe.sequence, 0).to(self.device)
        averaged.load_state_dict(self.averaged)
        found = np.zeros(ends.size)
        for text, batch, known in _pieces(ids, ends, self.size, self.recipe.sequence):
            own = torch.from_numpy(batch).to(self.device)
            with self._products():
                logits = averaged(own[:, :-1])
            nats = functional.cross_entropy(logits.float().flatten(0, 1), own[:, 1:].flatten(), reduction="none")
            nats = nats.view(own.shape[0], -1).double() * torch.from_numpy(known).to(self.device)
            np.add.at(found, text, nats.sum(dim=1).cpu().numpy())
        return found

    @property
    def state(self) -> State:
        """All that it takes to go on."""
        tensors = {f"averaged.{name}": weight for name, weight in self.averaged.items()}
        for name, weight in self.model.named_parameters():
            kept = self.optimizer.state[weight]
            tensors |= {f"model.{name}": weight.detach(), f"mean.{name}": kept["exp_avg"], f"square.{name}": kept["exp_avg_sq"]}
        return State(self.step, tensors, self.tokens, self.nats)

    def go_on(self, state: State) -> None:
        """Take a state up. Raises ModelError for one of another model, or that is not of finite numbers."""
        with torch.no_grad():
            try:
                for name, weight in self.model.named_parameters():
                    kept = [state.tensors[f"{what}.{name}"] for what in ("model", "averaged", "mean", "square")]
                    if any(each.shape != weight.shape or not bool(each.isfinite().all()) for each in kept):
                        raise RuntimeError(f"{name} is of another shape, or damaged")
                    weight.copy_(state.tensors[f"model.{name}"])
                    self.averaged[name].copy_(state.tensors[f"averaged.{name}"])
                    self.optimizer.state[weight] = {
                        "step": torch.tensor(float(state.step), device=self.device if self.device == "cuda" else "cpu"),
                        "exp_avg": state.tensors[f"mean.{name}"].to(self.device, copy=True),
                        "exp_avg_sq": state.tensors[f"square.{name}"].to(self.device, copy=True),
                    }
            except (KeyError, RuntimeError) as error:
                raise ModelError(f"A training can't go on: {error}.", "Evaluate again.") from error
        self.step, self.tokens, self.nats = state.step, list(state.tokens), list(state.nats)


def _pieces(
    ids: UInt16Array, ends: Int64Array, before: int, sequence: int
) -> Iterator[tuple[Int64Array, Int64Array, npt.NDArray[np.float64]]]:
    """Texts in pieces of at most `sequence` tokens, the longest first: whose they are (n,), tokens (n, m + 1), and which count."""
    starts = np.concatenate([[0], ends[:-1]])
    whose, first, last = list[int](), list[int](), list[int]()
    for number, (start, stop) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
        for at in range(start, stop, sequence):
            whose.append(number)
            first.append(at)
            last.append(min(at + sequence, stop))
    text, begin, end = np.array(whose, dtype=np.int64), np.array(first, dtype=np.int64), np.array(last, dtype=np.int64)
    order, at = np.argsort(begin - end, kind="stable"), 0
    while at < order.size:
        longest = int(end[order[at]] - begin[order[at]])
        own = order[at : at + max(1, _TEXTS_AT_ONCE // longest)]
        batch, known = np.zeros((own.size, longest + 1), dtype=np.int64), np.zeros((own.size, longest))
        for row, piece in enumerate(own.tolist()):
            n = int(end[piece] - begin[piece])
            begins = begin[piece] == starts[text[piece]]
            batch[row, 0] = before if begins else ids[begin[piece] - 1]
            batch[row, 1 : n + 1] = ids[begin[piece] : end[piece]]
            known[row, :n] = 1.0
        yield text[own], batch, known
        at += own.size
