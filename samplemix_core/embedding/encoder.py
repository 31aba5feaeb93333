"""Text to unit vectors, with a sentence-transformers model and batches of our own."""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, Transformer
from transformers.utils import logging as transformers_logging

from samplemix_core.config import EmbeddingConfig
from samplemix_core.embedding.model import (
    SHIPPED_MODEL,
    detect_hardware,
    locate_model,
    require_shipped_weights,
    resolve_device,
    resolve_precision,
    weights_sha256,
)
from samplemix_core.embedding.tokens import DocumentTokenizer, Tokenized
from samplemix_core.errors import ModelError
from samplemix_core.identity import fingerprint


def length_sorted_batches(lengths: npt.NDArray[np.integer], batch_tokens: int) -> list[npt.NDArray[np.int64]]:
    """Split documents into batches whose tokens, padding included, fit `batch_tokens`.

    Longest first, ties by index, so neighbours in a batch need little padding and the largest batch shows at once whether
    memory suffices. A document longer than the budget is a batch of its own.

    `lengths` are the tokens of each document, (n,), each at least 1; a batch's tokens are its documents times the longest of them.
    Returns arrays of indices into `lengths`, which together hold each index once.

    Raises ValueError if a length or the budget is below 1.
    """
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens = {batch_tokens} must be at least 1")
    if lengths.size and int(lengths.min()) < 1:
        raise ValueError(f"lengths[{int(lengths.argmin())}] = {int(lengths.min())} must be at least 1")
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    batches = []
    start = 0
    while start < order.size:
        rows = max(1, batch_tokens // int(lengths[order[start]]))
        batches.append(order[start : start + rows])
        start += rows
    return batches


_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class Encoder:
    """A loaded encoder on its device. Transformer weights are in the resolved precision, pooling and what follows in float32.

    spec: what decides an embedding on a given kind of processor, as canonical JSON values: the device and precision that were
    chosen, not "auto". batch_tokens is part of it because the shape of a batch can change the last bits of a vector.
    """

    spec: dict[str, Any]
    encoder_id: str
    dim: int
    max_seq: int
    device: str
    precision: str
    _tokenizer: DocumentTokenizer
    _transformer: torch.nn.Module
    _head: tuple[torch.nn.Module, ...]
    _batch_tokens: int
    _pad_id: int

    @property
    def tokenizer_id(self) -> str:
        """Identity of the tokenizer: what a token count means."""
        return self._tokenizer.tokenizer_id

    def tokenize(self, texts: list[str]) -> Tokenized:
        """Tokenise whole texts once: their counts, and the ids that encode() reads."""
        return self._tokenizer.tokenize(texts)

    def encode(self, tokenized: Tokenized) -> npt.NDArray[np.float32]:
        """Embed documents; float32 (n, dim) unit vectors in the order given.

        Documents that read the same (equal ids after the cut to max_seq) are embedded once and get equal bytes.

        Raises ModelError if the model yields a vector that is not finite or has no direction.
        """
        representative, inverse = _distinct(tokenized)
        starts = tokenized.offsets[:-1][representative]
        lengths = np.diff(tokenized.offsets)[representative]
        vectors = np.empty((representative.size, self.dim), dtype=np.float32)
        with torch.inference_mode():
            for batch in length_sorted_batches(lengths, self._batch_tokens):
                vectors[batch] = self._forward(tokenized.ids, starts[batch], lengths[batch])
        norms = np.linalg.norm(vectors, axis=1)
        if not np.all(np.abs(norms - 1) < 1e-3):
            raise ModelError(
                f"The encoder {self.spec['name']!r} in {self.precision} gave a vector that is not finite or has no direction.",
                "Set embedding.precision to 'float32'; if that does not help, choose another encoder.",
            )
        return vectors[inverse]

    def _forward(
        self, ids: npt.NDArray[np.int32], starts: npt.NDArray[np.int64], lengths: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.float32]:
        columns = np.arange(lengths.max())
        inside = columns < lengths[:, None]
        padded = np.where(inside, ids[np.minimum(starts[:, None] + columns, ids.size - 1)], self._pad_id)
        features: dict[str, Any] = {
            "input_ids": torch.from_numpy(padded.astype(np.int64)).to(self.device),
            "attention_mask": torch.from_numpy(inside.astype(np.int64)).to(self.device),
        }
        features = self._transformer(features)
        features["token_embeddings"] = features["token_embeddings"].float()
        for module in self._head:
            features = module(features)
        unit: torch.Tensor = torch.nn.functional.normalize(features["sentence_embedding"], dim=-1)
        return np.asarray(unit.cpu().numpy(), dtype=np.float32)


def _distinct(tokenized: Tokenized) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First index of each distinct sequence of ids, and for each document the position of its own in that list."""
    first: dict[bytes, int] = {}
    representative: list[int] = []
    inverse = np.empty(tokenized.offsets.size - 1, dtype=np.int64)
    for i in range(inverse.size):
        read = tokenized.ids[tokenized.offsets[i] : tokenized.offsets[i + 1]].tobytes()
        position = first.setdefault(read, len(representative))
        if position == len(representative):
            representative.append(i)
        inverse[i] = position
    return np.array(representative, dtype=np.int64), inverse


@functools.lru_cache(maxsize=2)
def load_encoder(config: EmbeddingConfig) -> Encoder:
    """Load the configured encoder; the same object for the same configuration within a process.

    Threads are torch's own setting: give a worker OMP_NUM_THREADS=1 and run one worker a core.

    Raises ModelError if the model is not there, not what it claims to be, or of a kind that is not supported; ConfigError if a GPU
    is asked for and there is none.
    """
    hardware = detect_hardware()
    device = resolve_device(config, hardware)
    precision = resolve_precision(config, device, hardware)
    directory = locate_model(config)
    digest = weights_sha256(directory)
    if config.encoder == SHIPPED_MODEL:
        require_shipped_weights(directory, digest)
    model = _load_model(directory)
    transformer, head = _split(model, config.encoder)
    if model.default_prompt_name is not None and model.prompts.get(model.default_prompt_name):
        raise ModelError(
            f"The encoder {config.encoder!r} puts the prompt {model.prompts[model.default_prompt_name]!r} before every text,"
            " which is not supported.",
            "Choose an encoder without a default prompt.",
        )
    max_seq = min(config.max_seq_tokens, model.max_seq_length or config.max_seq_tokens)
    pad_id = transformer.tokenizer.pad_token_id or 0
    tokenizer = DocumentTokenizer(transformer.tokenizer.backend_tokenizer, max_seq, pad_id)
    spec = {
        "name": config.encoder if not Path(config.encoder).is_dir() else Path(config.encoder).name,
        "weights_sha256": digest,
        "tokenizer": tokenizer.tokenizer_id,
        "modules": [_describe(module) for module in head],
        "dim": model.get_embedding_dimension(),
        "max_seq": max_seq,
        "device": device,
        "precision": precision,
        "batch_tokens": config.batch_tokens,
    }
    return Encoder(
        spec=spec,
        encoder_id=fingerprint(spec),
        dim=spec["dim"],
        max_seq=max_seq,
        device=device,
        precision=precision,
        _tokenizer=tokenizer,
        _transformer=transformer.to(device=device, dtype=_DTYPES[precision]),
        _head=tuple(module.to(device=device, dtype=torch.float32) for module in head),
        _batch_tokens=config.batch_tokens,
        _pad_id=pad_id,
    )


def _load_model(directory: Path) -> SentenceTransformer:
    shows_progress = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model = SentenceTransformer(
            str(directory),
            device="cpu",
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "attn_implementation": "sdpa", "dtype": torch.float32},
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ModelError(
            f"The encoder at {directory} can't be loaded: {error}", "Check that it is a complete sentence-transformers model."
        ) from error
    finally:
        if shows_progress:
            transformers_logging.enable_progress_bar()
    return model.eval()


def _split(model: SentenceTransformer, name: str) -> tuple[Any, list[torch.nn.Module]]:
    """The transformer, and what follows it: Pooling, then any of Dense and Normalize."""
    transformer, *head = model
    kinds = [type(module).__name__ for module in model]
    supported = isinstance(transformer, Transformer) and head and isinstance(head[0], Pooling)
    if not supported or not all(isinstance(module, Dense | Normalize) for module in head[1:]):
        raise ModelError(
            f"The encoder {name!r} is made of {' + '.join(kinds)}; supported are Transformer + Pooling, then Dense or Normalize.",
            "Choose another sentence-transformers model.",
        )
    return transformer, head


def _describe(module: Any) -> dict[str, Any]:
    return {"kind": type(module).__name__, **module.get_config_dict()}
