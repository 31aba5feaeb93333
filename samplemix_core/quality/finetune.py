"""Fine-tuning: an encoder and ordinal heads on its unit vectors, trained together, from heads fitted on the encoder as it was.

Because the heads are already fitted, the encoder is not distorted by heads that know nothing yet (Kumar et al. 2022). Batches hold
about the same number of tokens; the learning rate rises, then falls linearly (AdamW). After each part of an epoch the loss on
held-out documents is measured; the best weights are kept, and training ends early if they stay the best. A run's whole state is in
its checkpoint, so a run that was killed continues as if it had not been, on a CPU to the bit.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch.nn.functional import binary_cross_entropy_with_logits, normalize

from samplemix_core.config.quality import FineTuningConfig
from samplemix_core.quality.ordinal import Levels, OrdinalHeads

Ids = npt.NDArray[np.int32]

POOL_BATCHES = 50
"""Documents are sorted by length within pools of this many batches: little padding, and batches that differ from epoch to epoch."""

_CLIP = 1.0


@dataclass(frozen=True, eq=False)
class Examples:
    """n documents: each one's token ids as read by the encoder, none empty, and the level of each score (n,)."""

    ids: Sequence[Ids]
    levels: Mapping[str, Levels]

    def take(self, rows: npt.NDArray[np.int64]) -> "Examples":
        """Return the documents at these rows."""
        return Examples([self.ids[i] for i in rows], {name: values[rows] for name, values in self.levels.items()})


@dataclass(frozen=True)
class Evaluation:
    """The state of training: updates done, documents seen, mean training loss since the last evaluation, and held-out loss."""

    step: int
    documents: int
    loss: float | None
    held_out_loss: float


class Checkpoints(Protocol):
    """Keeps a run's state as one file, until the run is done."""

    def load(self) -> Path | None:
        """The file that was saved last; None if there is none."""

    def save(self, write: Callable[[Path], None]) -> None:
        """Have `write` write a file, and replace the last one with it, completely or not at all."""


@dataclass(frozen=True)
class FineTuned:
    """Heads on the vectors of the tuned encoder, whose weights are in its module; all evaluations; and the update that was best."""

    heads: OrdinalHeads
    evaluations: tuple[Evaluation, ...]
    best_step: int
    steps: int


def batches(lengths: npt.NDArray[np.int64], batch_tokens: int, seed: int, epoch: int) -> list[npt.NDArray[np.int64]]:
    """Return an epoch's batches in random order: documents of similar length, at most batch_tokens per batch with padding."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(lengths.size)
    pool = max(1, round(POOL_BATCHES * batch_tokens / max(1.0, float(lengths.mean()))))
    found = []
    for start in range(0, order.size, pool):
        part = order[start : start + pool]
        part = part[np.argsort(lengths[part], kind="stable")]
        begin = 0
        for end in range(1, part.size + 1):
            if end == part.size or (end + 1 - begin) * lengths[part[end]] > batch_tokens:
                found.append(part[begin:end])
                begin = end
    return [found[i] for i in rng.permutation(len(found))]


class _Heads(torch.nn.Module):
    """Logits of all scores from unit vectors, scaled to components of about 1 so that weights have a size that suits AdamW."""

    def __init__(self, heads: OrdinalHeads) -> None:
        super().__init__()
        dim, logits = heads.vector_weights.shape
        self.scale = float(np.sqrt(dim))
        self.linear = torch.nn.Linear(dim, logits)
        with torch.no_grad():
            self.linear.weight.copy_(torch.from_numpy(heads.vector_weights.T / self.scale))
            self.linear.bias.copy_(torch.from_numpy(heads.bias))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.linear(normalize(vectors.float(), dim=1) * self.scale)
        return logits

    def as_heads(self, maxima: Mapping[str, int]) -> OrdinalHeads:
        weight = self.linear.weight.detach().cpu().numpy() * self.scale
        no_features = np.empty((0, weight.shape[0]), dtype=np.float32)
        return OrdinalHeads(
            dict(maxima), np.ascontiguousarray(weight.T, dtype=np.float32), no_features, (), self.linear.bias.detach().cpu().numpy()
        )


class _Run:
    """A training run: modules, optimiser, and everything that changes."""

    def __init__(self, encoder: torch.nn.Module, start: OrdinalHeads, settings: FineTuningConfig, device: str, total: int) -> None:
        self.modules = torch.nn.ModuleDict({"encoder": encoder, "heads": _Heads(start)}).to(device)
        self.device, self.maxima, self.total = device, start.maxima, total
        # A dtype that the device computes in fast; weights stay in float32.
        half = torch.bfloat16 if device == "cuda" and torch.cuda.is_bf16_supported() else None
        self.precision = half
        decayed: list[torch.nn.Parameter] = []
        plain: list[torch.nn.Parameter] = []
        for parameter in self.modules.parameters():
            parameter.requires_grad_(True)
            (decayed if parameter.ndim > 1 else plain).append(parameter)
        groups = [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, lr=settings.learning_rate, fused=device == "cuda")
        self.learning_rate, self.warmup = settings.learning_rate, max(1, round(settings.warmup * total))
        self.step = self.epoch = self.batch = self.documents = self.best_step = 0
        self.evaluations: list[Evaluation] = []
        self.best = self._weights()
        weight = [1.0 / maximum for maximum in self.maxima.values() for _ in range(maximum)]
        self.weight = torch.tensor(weight, device=device) * sum(self.maxima.values()) / len(self.maxima)

    def loss(self, examples: Examples, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """Mean binary cross-entropy: over a score's tasks, over scores, over documents."""
        longest = max(examples.ids[i].size for i in rows)
        ids = np.zeros((rows.size, longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for place, i in enumerate(rows):
            ids[place, : examples.ids[i].size] = examples.ids[i]
            mask[place, : examples.ids[i].size] = 1
        targets = np.hstack([examples.levels[name][rows, None] > np.arange(top) for name, top in self.maxima.items()])
        read = {"input_ids": self._send(ids), "attention_mask": self._send(mask)}
        with torch.autocast(self.device, dtype=self.precision or torch.bfloat16, enabled=self.precision is not None):
            vectors = self.modules["encoder"](read)["sentence_embedding"]
        logits = self.modules["heads"](vectors)
        return binary_cross_entropy_with_logits(
            logits, self._send(targets.astype(np.float32)), weight=self.weight.expand_as(logits)
        )

    def _send(self, values: npt.NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(values).to(self.device, non_blocking=True)

    def held_out_loss(self, examples: Examples, batch_tokens: int) -> float:
        """Mean loss on held-out documents."""
        self.modules.eval()
        lengths = np.array([ids.size for ids in examples.ids])
        total = 0.0
        with torch.inference_mode():
            for rows in batches(lengths, batch_tokens, 0, 0):
                total += float(self.loss(examples, rows)) * rows.size
        return total / lengths.size

    def update(self, examples: Examples, rows: npt.NDArray[np.int64]) -> float:
        """One step of the optimiser; returns the loss before it."""
        self.modules.train()
        loss = self.loss(examples, rows)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.modules.parameters(), _CLIP)
        left = (self.total - self.step) / max(1, self.total - self.warmup)
        for group in self.optimiser.param_groups:
            group["lr"] = self.learning_rate * min((self.step + 1) / self.warmup, left)
        self.optimiser.step()
        self.step += 1
        self.batch += 1
        self.documents += rows.size
        return float(loss.detach())

    def note(self, evaluation: Evaluation) -> None:
        """Keep an evaluation, and the weights if they are the best."""
        before = min((each.held_out_loss for each in self.evaluations), default=float("inf"))
        self.evaluations.append(evaluation)
        if evaluation.held_out_loss < before:
            self.best_step, self.best = self.step, self._weights()

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().cpu().clone() for name, value in self.modules.state_dict().items()}

    def take_best(self) -> None:
        """Set all weights to the best."""
        self.modules.load_state_dict(self.best)

    def save(self, path: Path) -> None:
        """Write everything: weights, the best weights, the optimiser's state, random states, and the progress."""
        optimiser = self.optimiser.state_dict()["state"]
        tensors = {f"weights.{name}": value for name, value in self._weights().items()}
        tensors |= {f"best.{name}": value.clone() for name, value in self.best.items()}
        tensors |= {
            f"optimiser.{i}.{name}": value.detach().cpu().clone() for i, own in optimiser.items() for name, value in own.items()
        }
        tensors["random.cpu"] = torch.get_rng_state()
        if self.device == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state()
        state = {name: getattr(self, name) for name in ("step", "epoch", "batch", "documents", "best_step", "total")}
        save_file(
            tensors, path, metadata={"state": json.dumps({**state, "evaluations": [asdict(each) for each in self.evaluations]})}
        )

    def load(self, path: Path) -> None:
        """Restore the state of the run that wrote this file."""
        found: dict[str, dict[str, torch.Tensor]] = {"weights": {}, "best": {}, "optimiser": {}, "random": {}}
        with safe_open(path, "pt") as file:
            state = json.loads(file.metadata()["state"])
            for key in file.keys():  # noqa: SIM118 - it isn't a mapping
                kind, _, name = key.partition(".")
                found[kind][name] = file.get_tensor(key)
        self.modules.load_state_dict(found["weights"])
        self.best = found["best"]
        own = self.optimiser.state_dict()
        own["state"] = {}
        for name, value in found["optimiser"].items():
            number, _, part = name.partition(".")
            own["state"].setdefault(int(number), {})[part] = value
        self.optimiser.load_state_dict(own)
        self.evaluations = [Evaluation(**each) for each in state.pop("evaluations")]
        for name, value in state.items():
            setattr(self, name, value)
        torch.set_rng_state(found["random"]["cpu"])
        if "cuda" in found["random"] and self.device == "cuda":
            torch.cuda.set_rng_state(found["random"]["cuda"])


def _parts(epochs: Sequence[list[npt.NDArray[np.int64]]], per_epoch: int, run: _Run) -> Iterator[list[npt.NDArray[np.int64]]]:
    """Yield the remaining batches, in parts that are each followed by an evaluation."""
    while run.epoch < len(epochs):
        left = epochs[run.epoch]
        for end in np.unique(np.rint(np.linspace(0, len(left), per_epoch + 1)).astype(int)).tolist():
            if end > run.batch:
                yield left[run.batch : end]
        run.epoch, run.batch = run.epoch + 1, 0


def finetune(
    encoder: torch.nn.Module,
    start: OrdinalHeads,
    examples: Examples,
    held_out: Examples,
    settings: FineTuningConfig,
    checkpoints: Checkpoints,
    *,
    seed: int,
    device: str,
    on_progress: Callable[[int, int, str], None] = lambda *_: None,
) -> FineTuned:
    """Train an encoder, in place, and its heads on examples; `start` are heads fitted on its unit vectors without features.

    encoder: called as sentence-transformers calls its models, with input_ids and attention_mask, giving sentence_embedding.
    `on_progress` is called with documents seen, the most there can be, and a line on the held-out loss.
    """
    lengths = np.array([ids.size for ids in examples.ids])
    epochs = [batches(lengths, settings.batch_tokens, seed, epoch) for epoch in range(settings.epochs)]
    torch.manual_seed(seed)
    run = _Run(encoder, start, settings, device, sum(map(len, epochs)))
    if (saved := checkpoints.load()) is not None:
        run.load(saved)
    else:
        run.note(Evaluation(0, 0, None, run.held_out_loss(held_out, settings.batch_tokens)))
    seen = lengths.size * settings.epochs
    for part in _parts(epochs, settings.evaluations_per_epoch, run):
        if sum(each.step > run.best_step for each in run.evaluations) >= settings.patience:
            break
        on_progress(run.documents, seen, f"held-out loss {run.evaluations[-1].held_out_loss:.4f}")
        loss = float(np.mean([run.update(examples, rows) for rows in part]))
        run.note(Evaluation(run.step, run.documents, loss, run.held_out_loss(held_out, settings.batch_tokens)))
        checkpoints.save(run.save)
    on_progress(run.documents, seen, f"best held-out loss after {run.best_step:,} of {run.step:,} updates")
    run.take_best()
    heads = run.modules["heads"]
    assert isinstance(heads, _Heads)
    encoder.eval()
    return FineTuned(heads.as_heads(start.maxima), tuple(run.evaluations), run.best_step, run.step)
