"""Text to unit vectors, with a sentence-transformers model computed in the fastest way that is true to it."""

import time
from collections.abc import Callable, Sequence
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
    Precision,
    candidate_precisions,
    detect_hardware,
    locate_model,
    require_shipped_weights,
    resolve_device,
    weights_sha256,
)
from samplemix_core.embedding.packing import Network
from samplemix_core.embedding.tokens import DocumentTokenizer, Tokenized
from samplemix_core.errors import ModelError
from samplemix_core.identity import fingerprint

_DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True, eq=False)
class Encoder:
    """A loaded encoder on its device. Transformer weights are in the resolved precision, pooling and what follows in float32.

    A document's vector does not depend, to the bit, on what else is embedded with it. spec: what decides it on a given kind of
    processor, as canonical JSON values: the device and precision that were chosen, not "auto".
    """

    spec: dict[str, Any]
    encoder_id: str
    dim: int
    max_seq: int
    device: str
    precision: str
    _tokenizer: DocumentTokenizer
    _network: Network

    @property
    def tokenizer_id(self) -> str:
        """Identity of the tokenizer: what a token count means."""
        return self._tokenizer.tokenizer_id

    def tokenize(self, texts: list[str]) -> Tokenized:
        """Tokenise whole texts once: their counts, and the ids that encode() reads."""
        return self._tokenizer.tokenize(texts)

    def encode(self, tokenized: Tokenized) -> npt.NDArray[np.float32]:
        """Embed documents; float32 (n, dim) unit vectors in the order given.

        What reads the same (equal ids) is embedded once and gets equal bytes. A document of several sequences gets the mean of
        their vectors, each weighing as many tokens as it has.

        Raises ModelError if the model yields a vector that is not finite or has no direction.
        """
        representative, inverse = _distinct(tokenized)
        if not representative.size:
            return np.empty((0, self.dim), dtype=np.float32)
        vectors = self._network([tokenized.ids[tokenized.offsets[i] : tokenized.offsets[i + 1]] for i in representative])
        if not np.all(np.abs(np.linalg.norm(vectors, axis=1) - 1) < 1e-3):
            raise ModelError(
                f"The encoder {self.spec['name']!r} in {self.precision} gave a vector that is not finite or has no direction.",
                "Set embedding.precision to 'float32'; if that does not help, choose another encoder.",
            )
        return _means(vectors[inverse], np.diff(tokenized.offsets), tokenized.first)


def _means(
    vectors: npt.NDArray[np.float32], lengths: npt.NDArray[np.int64], first: npt.NDArray[np.int64]
) -> npt.NDArray[np.float32]:
    """Unit vectors of documents (n, dim) from those of their sequences (m, dim)."""
    several = np.flatnonzero(np.diff(first) > 1)
    means = vectors[first[:-1]]
    for i in several.tolist():
        own = slice(first[i], first[i + 1])
        mean = lengths[own].astype(np.float32) @ vectors[own]
        means[i] = mean / np.maximum(np.linalg.norm(mean), np.finfo(np.float32).tiny)
    return means


def _distinct(tokenized: Tokenized) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """First index of each distinct sequence of ids, and for each sequence the position of its own in that list."""
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


_loaded: dict[EmbeddingConfig, Encoder] = {}
_MOST_LOADED = 4


def load_encoder(config: EmbeddingConfig) -> Encoder:
    """Load the configured encoder; the same object for the same configuration within a process, "auto" or what it came to.

    Threads are torch's own setting: give a worker OMP_NUM_THREADS=1 and run one worker a core.

    Raises ModelError if the model is not there, not what it claims to be, or of a kind that is not supported; ConfigError if a GPU
    is asked for and there is none.
    """
    if config not in _loaded:
        encoder = _load(config)
        resolved = config.model_copy(update={"device": encoder.device, "precision": encoder.precision})
        while len(_loaded) >= _MOST_LOADED:
            _loaded.pop(next(iter(_loaded)))
        # What was loaded last is dropped last, by either name.
        _loaded[config] = _loaded[resolved] = _loaded.pop(resolved, encoder)
    return _loaded[config]


def _load(config: EmbeddingConfig) -> Encoder:
    hardware = detect_hardware()
    device = resolve_device(config, hardware)
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
    tokenizer = DocumentTokenizer(transformer.tokenizer.backend_tokenizer, max_seq, pad_id, config.windows)

    def build(precision: Precision, packed: bool) -> Network:
        return Network(
            transformer,
            head,
            device=device,
            dtype=_DTYPES[precision],
            packed=packed,
            batch_tokens=config.batch_tokens,
            pad_id=pad_id,
        )

    precision, network = choose_network(build, candidate_precisions(config, device, hardware), tokenizer.tokenize(list(PROBE)))
    spec = {
        "name": config.encoder if not Path(config.encoder).is_dir() else Path(config.encoder).name,
        "weights_sha256": digest,
        "tokenizer": tokenizer.tokenizer_id,
        "modules": [_describe(module) for module in head],
        "dim": model.get_embedding_dimension(),
        "max_seq": max_seq,
        "windows": config.windows,
        "device": device,
        "precision": precision,
        "packed": network.packed,
    }
    return Encoder(
        spec=spec,
        encoder_id=fingerprint(spec),
        dim=spec["dim"],
        max_seq=max_seq,
        device=device,
        precision=precision,
        _tokenizer=tokenizer,
        _network=network,
    )


PROBE = (
    "The lighthouse keeper climbed the stairs every evening at dusk, lit the lamp, and wrote the weather into a book.",
    "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)\n\nprint(mean([1.0, 2.5, 4.0]))",
    "Die Verordnung gilt für alle Anlagen, die nach dem 1. Januar in Betrieb genommen worden sind; Ausnahmen regelt Absatz 3.",
    "Le chat dort sur le canapé pendant que la pluie tombe sur les toits de la vieille ville.",
    "Photosynthesis converts light energy into chemical energy that is stored in glucose; chlorophyll absorbs red and blue light.",
    "Let $f: X \\to Y$ be continuous and $X$ compact. Then $f(X)$ is compact, and $f$ attains its maximum if $Y = \\mathbb{R}$.",
    "東京は日本の首都であり、人口が最も多い都市です。",
    "BUY NOW!!! Cheap watches, 90 % off, free shipping, click here, click here, click here!",
    "No.",
    "1,024 2,048 4,096 8,192 16,384",
)
"""Short texts of several kinds, on which a model's ways to compute are tried when it is loaded."""

PACKED_COSINE, PRECISION_COSINE = 0.9999, 0.999
"""How near the probe's vectors must be to those of one document after the other in float32."""

LEAST_GAIN = 1.2
"""bfloat16 must be this much faster. Native, it is 1.9 times and more; emulated, far slower: no load on the machine tips that."""

_ROUNDS = 5


def choose_network(
    build: Callable[[Precision, bool], Network], candidates: Sequence[Precision], probe: Tokenized
) -> tuple[Precision, Network]:
    """Build the network that is fastest among those true to the model: packed where the model can be, in one of the precisions.

    A single candidate is taken as it is; of several, one that is less exact than the first must be faster, and near it.
    """
    sequences = np.split(probe.ids, probe.offsets[1:-1])
    reference = build("float32", False)(sequences)

    def cosine(network: Network) -> float:
        return float(np.einsum("ij,ij->i", network(sequences), reference).min())

    try:
        exact = build("float32", True)
        packed = cosine(exact) >= PACKED_COSINE
    except (AttributeError, ImportError, NotImplementedError, RuntimeError, TypeError, ValueError):
        # A model of another kind: its code can't be called so.
        packed = False
    networks = {precision: exact if packed and precision == "float32" else build(precision, packed) for precision in candidates}
    chosen, *others = networks
    for precision in others:
        if cosine(networks[precision]) >= PRECISION_COSINE:
            rounds = [(_seconds(networks[chosen], sequences), _seconds(networks[precision], sequences)) for _ in range(_ROUNDS)]
            slow, fast = map(min, zip(*rounds, strict=True))
            if slow >= LEAST_GAIN * fast:
                chosen = precision
    return chosen, networks[chosen]


def _seconds(network: Network, sequences: list[npt.NDArray[np.int32]]) -> float:
    start = time.perf_counter()
    network(sequences)
    return time.perf_counter() - start


def _load_model(directory: Path) -> SentenceTransformer:
    shows_progress = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        model = SentenceTransformer(
            str(directory),
            device="cpu",
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": torch.float32},
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
