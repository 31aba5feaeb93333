"""Sequence-classification models of transformers: FineWeb-Edu's, or a team's own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from samplemix_core.errors import ModelError
from samplemix_core.scorers.scorer import Documents, Materials, Scorer, ScorerSpec, Scores, registered

if TYPE_CHECKING:
    import torch

Output = Literal["regression", "level", "probability"]
"""Meaning of a model's logits: numbers, one of which counts; levels of a score, whose mean counts; classes, one of which counts."""

MULTI_LABEL = "multi_label_classification"

BATCH_TOKENS = {"cpu": 4096, "cuda": 65_536}
"""Tokens scored at once, padding counted."""


@registered
class TransformerSpec(ScorerSpec):
    """A model by its files, name to SHA-256, what its outputs mean, and the number of the one that counts."""

    FIRST_FIELDS = frozenset({"kind", "version", "range", "files", "output", "label", "max_tokens"})

    kind: Literal["transformer"] = "transformer"
    range: tuple[float, float]
    files: dict[str, str]
    output: Output
    label: int
    max_tokens: int

    def make(self, name: str, key: str, materials: Materials) -> Scorer:
        """See ScorerSpec.make."""
        from samplemix_core.embedding.loading import detect_hardware, resolve_device

        device = resolve_device(materials.embedding, detect_hardware())
        network, tokenizer = load_classifier(materials.files(self.files), device)
        low, high = self.range
        return SequenceClassifier(name, key, network, tokenizer, self.output, self.label, self.max_tokens, low, high, device)


@dataclass(frozen=True, eq=False)
class SequenceClassifier:
    """A loaded model on its device: float32 on a CPU, bfloat16 (or float16 if the GPU lacks it) on a GPU.

    It reads the first `max_tokens` tokens of a text. `label` is the output that counts, if one does. On the same device, equal
    batches of documents give equal bits; others differ by rounding.
    """

    name: str
    key: str
    model: Any
    tokenizer: Any
    output: Output
    label: int
    max_tokens: int
    low: float
    high: float
    device: str
    waits: bool = True

    def score(self, documents: Documents) -> Scores:
        """The number that the model gives, clipped to low and high; the expected level; or the class's probability.

        Classes exclude each other, unless the model's configuration says that it has several labels at once.
        """
        import torch

        read = self.tokenizer(documents.as_strings, truncation=True, max_length=self.max_tokens)["input_ids"]
        ids = [np.array(each, dtype=np.int64) for each in read]
        order, logits = [np.empty(0, dtype=np.int64)], []
        with torch.inference_mode():
            for rows in _batches([each.size for each in ids], BATCH_TOKENS[self.device]):
                padded = np.full((rows.size, max(1, ids[rows[0]].size)), self.tokenizer.pad_token_id or 0)
                mask = np.zeros_like(padded)
                for i, row in enumerate(rows):
                    padded[i, : ids[row].size] = ids[row]
                    mask[i, : ids[row].size] = 1
                given = (torch.from_numpy(each).to(self.device) for each in (padded, mask))
                # The next batch is made while a GPU still works on this one.
                logits.append(self.model(**dict(zip(("input_ids", "attention_mask"), given, strict=True))).logits)
                order.append(rows)
        found = np.empty(len(ids), dtype=np.float32)
        if logits:
            found[np.concatenate(order)] = self._meaning(torch.cat(logits).float().cpu())
        return {"quality": found}

    def _meaning(self, logits: "torch.Tensor") -> npt.NDArray[np.float32]:
        import torch

        if self.output == "regression":
            return np.asarray(logits[:, self.label].clamp(self.low, self.high).numpy())
        shares = logits.sigmoid() if self.model.config.problem_type == MULTI_LABEL else logits.softmax(dim=1)
        if self.output == "level":
            return np.asarray((shares @ torch.arange(shares.shape[1], dtype=torch.float32)).numpy())
        return np.asarray(shares[:, self.label].numpy())


def _batches(lengths: Sequence[int], tokens: int) -> Iterator[npt.NDArray[np.int64]]:
    """Batches of rows of similar length, within `tokens` or one row; longest first, so that memory runs out at once or never."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < order.size:
        count = max(1, tokens // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count


@dataclass(frozen=True)
class ClassifierConfig:
    """What a model's own configuration says: its outputs by number, and whether several of its labels hold at once."""

    labels: dict[int, str]
    multi_label: bool


def read_classifier(directory: Path) -> ClassifierConfig:
    """Read the configuration of the model in a directory; raise ModelError if there is none, or no weights as safetensors."""
    from transformers import AutoConfig

    if not any(directory.glob("*.safetensors")):
        raise ModelError(
            f"{directory} has no weights in safetensors form.",
            "Other forms are not read, because they can run code when opened: convert the model with save_pretrained().",
        )
    try:
        config = AutoConfig.from_pretrained(str(directory), trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"{directory} is not a readable model: {error}", "Give a directory that save_pretrained() wrote."
        ) from error
    return ClassifierConfig(
        labels={int(number): str(name) for number, name in config.id2label.items()},
        multi_label=config.problem_type == MULTI_LABEL,
    )


def most_tokens(model: Any, tokenizer: Any) -> int:
    """How many tokens of a text a model can read: limited by its positions and by its tokenizer.

    Models like RoBERTa count positions from after the padding's, so they have fewer than their configuration says.
    """
    positions = int(getattr(model.config, "max_position_embeddings", 512))
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and getattr(module, "padding_idx", None) is not None:
            positions = module.num_embeddings - module.padding_idx - 1
    return min(positions, int(tokenizer.model_max_length))


def try_classifier(name: str, model: Any, tokenizer: Any) -> None:
    """Raise ModelError unless a model scores texts of different lengths at once."""
    trial = SequenceClassifier(name, "", model, tokenizer, "regression", 0, most_tokens(model, tokenizer), -np.inf, np.inf, "cpu")
    texts = ["One.", "Two words.", ""]
    try:
        trial.score(Documents(pa.chunked_array([texts], pa.large_string()), [b""] * 3, [None] * 3))
    except (ValueError, TypeError, IndexError, RuntimeError) as error:
        raise ModelError(f"{name} can't score texts: {error}", "Give a model that reads input_ids and attention_mask.") from error


def load_classifier(directory: Path, device: str) -> tuple[Any, Any]:
    """Load a model and its tokenizer, on a device; raise ModelError if it can't be loaded. None of its own code is run."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    dtype = torch.float32
    if device == "cuda":
        dtype = torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    shows_progress = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(directory), trust_remote_code=False, local_files_only=True)
        model, report = AutoModelForSequenceClassification.from_pretrained(
            str(directory),
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            dtype=dtype,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelError(f"{directory} can't be loaded as a sequence-classification model: {error}") from error
    finally:
        if shows_progress:
            transformers_logging.enable_progress_bar()
    if report["missing_keys"]:
        raise ModelError(
            f"{directory} lacks weights of a sequence-classification model: {', '.join(sorted(report['missing_keys']))}.",
            "Give a model that was trained to classify; an encoder alone has no head.",
        )
    return model.eval().to(device), tokenizer
