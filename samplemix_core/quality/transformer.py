"""A scorer that is a sequence-classification model of transformers: FineWeb-Edu's, one like DCLM's, or a team's own."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging as transformers_logging

from samplemix_core.errors import ModelError
from samplemix_core.quality.scorers import Documents, Scores

Output = Literal["regression", "level", "probability"]
"""What a model's logits mean: one number; the levels of a score, of which the expected one counts; classes, of which one does."""

BATCH_TOKENS = {"cpu": 4096, "cuda": 65_536}
"""Tokens scored at once, padding counted."""


@dataclass(frozen=True, eq=False)
class SequenceClassifier:
    """A loaded model on its device: float32 on a CPU, bfloat16 (or float16 where the GPU lacks it) on a GPU.

    It reads the first `max_tokens` tokens of a text. `label` is the class whose probability counts, where one does. On the same
    device, equal batches of documents give equal bits; others differ by rounding.
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
        """The number that the model gives, cut off at low and high; the expected level; or the class's probability."""
        ids = self.tokenizer(documents.plain, truncation=True, max_length=self.max_tokens)["input_ids"]
        found = np.empty(len(ids), dtype=np.float32)
        with torch.inference_mode():
            for rows in _batches([len(each) for each in ids], BATCH_TOKENS[self.device]):
                read = self.tokenizer.pad({"input_ids": [ids[i] for i in rows]}, return_tensors="pt").to(self.device)
                found[rows] = self._meaning(self.model(**read).logits.float().cpu())
        return {"quality": found}

    def _meaning(self, logits: torch.Tensor) -> npt.NDArray[np.float32]:
        if self.output == "regression":
            return np.asarray(logits[:, 0].clamp(self.low, self.high).numpy())
        shares = logits.softmax(dim=1)
        if self.output == "level":
            return np.asarray((shares @ torch.arange(shares.shape[1], dtype=torch.float32)).numpy())
        return np.asarray(shares[:, self.label].numpy())


def _batches(lengths: Sequence[int], tokens: int) -> Iterator[npt.NDArray[np.int64]]:
    """Rows of like length together, at most so many tokens, or one row; the longest first, so that memory ends at once or never."""
    order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable")
    start = 0
    while start < order.size:
        count = max(1, tokens // max(1, lengths[order[start]]))
        yield order[start : start + count]
        start += count


@dataclass(frozen=True)
class ClassifierConfig:
    """What a model's own configuration says: its classes by number, and how many tokens it can read."""

    labels: dict[int, str]
    max_tokens: int
    problem: str | None


def read_classifier(directory: Path) -> ClassifierConfig:
    """The configuration of the model in a directory; raise ModelError if there is none, or none with weights as safetensors."""
    if not any(directory.glob("*.safetensors")):
        raise ModelError(
            f"{directory} has no weights in safetensors form.",
            "Other forms are not read, because they can run code when opened: convert the model with save_pretrained().",
        )
    try:
        config = AutoConfig.from_pretrained(str(directory), trust_remote_code=False, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{directory} is no model that can be read: {error}", "Give what save_pretrained() wrote.") from error
    return ClassifierConfig(
        labels={int(number): str(name) for number, name in config.id2label.items()},
        max_tokens=int(getattr(config, "max_position_embeddings", 512)),
        problem=config.problem_type,
    )


def load_classifier(directory: Path, device: str) -> tuple[Any, Any]:
    """A model and its tokenizer, on a device; raise ModelError if it can't be loaded. No code of its own is run."""
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
        raise ModelError(f"{directory} is no sequence-classification model that can be loaded: {error}") from error
    finally:
        if shows_progress:
            transformers_logging.enable_progress_bar()
    if report["missing_keys"]:
        raise ModelError(
            f"{directory} lacks weights of a sequence-classification model: {', '.join(sorted(report['missing_keys']))}.",
            "Give a model that was trained to classify; an encoder alone has no head.",
        )
    return model.eval().to(device), tokenizer
