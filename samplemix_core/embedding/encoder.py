"""Embed text as unit vectors with a sentence-transformers model, in the fastest way that stays true to it."""

import gc
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling, StaticEmbedding, Transformer

from samplemix_core.config.run import E5_MODEL, EmbeddingConfig
from samplemix_core.embedding.e5 import TRANSLATIONS
from samplemix_core.embedding.loading import (
    TIMED_TOKENS,
    DeviceName,
    Precision,
    candidate_precisions,
    choose_network,
    detect_hardware,
    load_sentence_transformer,
    locate_model,
    require_shipped_weights,
    resolve_device,
    weights_sha256,
)
from samplemix_core.embedding.network import CPU_BATCH_TOKENS, Network
from samplemix_core.embedding.static import StaticNetwork
from samplemix_core.embedding.tokens import PROBE, DocumentTokenizer, Tokenized
from samplemix_core.errors import ConfigError, ModelError
from samplemix_core.identity import fingerprint
from samplemix_core.settings import is_directory

_DTYPES: dict[Precision, torch.dtype] = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True, eq=False)
class Encoder:
    """A loaded encoder on its device. Transformer weights are in the resolved precision, pooling and later modules in float32.
    A static encoder (see static.py) is in float32 on the CPU.

    A document's vector doesn't depend on what it is embedded with: bit for bit on a CPU, up to rounding on a GPU.

    spec: everything that determines the encoder, as canonical JSON values, with the chosen device and precision, not "auto". On a
    CPU, whose instructions decide how sums are rounded, it includes a digest of the vectors of some texts.
    """

    spec: dict[str, Any]
    encoder_id: str
    dim: int
    max_seq: int
    device: str
    precision: str
    tokenizer: DocumentTokenizer
    _network: Network | StaticNetwork

    @property
    def family(self) -> dict[str, Any]:
        """The spec without device and precision: models trained on the encoder's vectors hold for the whole family."""
        return family_of(self.spec)

    @property
    def is_static(self) -> bool:
        """Whether each token has a vector of its own, and there is no forward pass."""
        return isinstance(self._network, StaticNetwork)

    @property
    def batch_tokens(self) -> int:
        """Tokens embedded at once."""
        return self._network.batch_tokens

    @property
    def tokenizer_id(self) -> str:
        """Identity of the tokenizer, which defines what a token count means."""
        return self.tokenizer.tokenizer_id

    def tokenize(self, texts: list[str]) -> Tokenized:
        """Tokenise whole texts once: their counts, and the ids that encode() reads."""
        return self.tokenizer.tokenize(texts)

    def encode(self, tokenized: Tokenized) -> npt.NDArray[np.float32]:
        """Embed documents; float32 (n, dim) unit vectors in the order given.

        Sequences with equal ids are embedded once and get equal bytes. A document of several sequences gets the mean of their
        vectors, weighted by their tokens.

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


def family_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return an encoder's spec without the device and precision it runs in."""
    return {name: value for name, value in spec.items() if name not in ("device", "precision", "packed", "vectors")}


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
    """First index of each distinct sequence of ids, and for each sequence its position in that list."""
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


_DIGITS = 16
_loaded: dict[EmbeddingConfig, Encoder] = {}
_MOST_LOADED = 4


def load_encoder(config: EmbeddingConfig) -> Encoder:
    """Load the configured encoder, cached within the process under both the given configuration and its resolved form.

    Threads are left to torch: give a worker OMP_NUM_THREADS=1 and run one worker per core.

    Raises ModelError if the model is missing, isn't what it claims to be, or is of an unsupported kind; ConfigError if a GPU is
    asked for and there is none, or if a setting doesn't apply to a static encoder.
    """
    if config not in _loaded:
        encoder = _load(config)
        # A freshly loaded model has reference cycles: hundreds of megabytes that nothing else frees soon.
        gc.collect()
        chosen = {"device": encoder.device, "precision": encoder.precision, "batch_tokens": encoder.batch_tokens}
        resolved = config.model_copy(update=chosen)
        while len(_loaded) >= _MOST_LOADED:
            _loaded.pop(next(iter(_loaded)))
        # The last one loaded is dropped last, under either key.
        _loaded[config] = _loaded[resolved] = _loaded.pop(resolved, encoder)
    return _loaded[config]


def load_known_encoder(config: EmbeddingConfig, known: Sequence[Mapping[str, Any]]) -> Encoder:
    """Load the configured encoder in the precision of the first known spec it can match; measure precisions only if none matches.

    So timing, which any load on the machine disturbs, decides once and not again for each run.
    """
    if config.precision == "auto":
        hardware = detect_hardware()
        device = resolve_device(config, hardware)
        possible = candidate_precisions(config, device, hardware)
        for spec in known:
            if (spec["name"], spec["device"]) == (_name(config), device) and spec["precision"] in possible:
                encoder = load_encoder(config.model_copy(update={"precision": spec["precision"]}))
                if encoder.spec == spec:
                    return encoder
    return load_encoder(config)


def _name(config: EmbeddingConfig) -> str:
    return Path(config.encoder).name if is_directory(config.encoder) else config.encoder


def _load(config: EmbeddingConfig) -> Encoder:
    directory = locate_model(config)
    digest = weights_sha256(directory)
    require_shipped_weights(config.encoder, directory, digest)
    model = load_sentence_transformer(directory)
    first, *head = model
    _require_supported(first, head, config.encoder)
    prompt = config.prompt
    if prompt is None:
        prompt = model.prompts.get(model.default_prompt_name or "", "")
    max_seq = min(config.max_seq_tokens, model.max_seq_length or config.max_seq_tokens)
    prepare = _prepare_static if isinstance(first, StaticEmbedding) else _prepare_transformer
    device, precision, tokenizer, network = prepare(config, first, head, max_seq, prompt)
    spec = {
        "name": _name(config),
        "weights_sha256": digest,
        "tokenizer": tokenizer.tokenizer_id,
        "modules": [_describe(module) for module in head],
        "dim": model.get_embedding_dimension(),
        "max_seq": max_seq,
        "device": device,
        "precision": precision,
        "packed": network.packed,
        **({"prompt": prompt} if prompt else {}),
        **{name: value for name, value in config.identity().items() if name not in EmbeddingConfig.RESOLVED},
    }
    encoder = Encoder(
        spec=spec,
        encoder_id="",
        dim=spec["dim"],
        max_seq=max_seq,
        device=device,
        precision=precision,
        tokenizer=tokenizer,
        _network=network,
    )
    if device == "cpu":
        vectors = encoder.encode(tokenizer.tokenize(list(PROBE))).astype(np.float16)
        spec["vectors"] = hashlib.sha256(vectors.tobytes()).hexdigest()[:_DIGITS]
    encoder = replace(encoder, encoder_id=fingerprint(spec))
    if config.encoder == E5_MODEL:
        _require_translations(encoder)
    return encoder


def _require_translations(encoder: Encoder) -> None:
    """Raise ModelError unless each sentence of TRANSLATIONS is nearest to its own translation."""
    one, other = (encoder.encode(encoder.tokenize(list(side))) for side in zip(*TRANSLATIONS, strict=True))
    if not np.array_equal(np.argmax(one @ other.T, axis=1), np.arange(len(TRANSLATIONS))):
        raise ModelError(
            f"The encoder {encoder.spec['name']} puts translations far apart: it was loaded wrongly, or it is another model.",
            "Report it with the versions of torch, transformers and sentence-transformers.",
        )


Prepared = tuple[DeviceName, Precision, DocumentTokenizer, Network | StaticNetwork]


def _prepare_transformer(
    config: EmbeddingConfig, transformer: Any, head: list[torch.nn.Module], max_seq: int, prompt: str
) -> Prepared:
    if prompt and not getattr(head[0], "include_prompt", True):
        raise ModelError(
            f"The encoder {config.encoder!r} leaves its prompt out when it pools, which is not supported.", "Choose another."
        )
    hardware = detect_hardware()
    device = resolve_device(config, hardware)
    pad_id = transformer.tokenizer.pad_token_id or 0
    backend = transformer.tokenizer.backend_tokenizer
    try:
        tokenizer = DocumentTokenizer(backend, _name(config), max_seq, pad_id, config.windows, prompt=prompt)
    except ValueError as error:
        raise ModelError(
            f"The encoder {config.encoder!r} can't be used so: {error}.",
            "Set another embedding.prompt, '' for none, or a larger embedding.max_seq_tokens.",
        ) from error

    def build(precision: Precision, packed: bool) -> Network:
        return Network(
            transformer,
            head,
            device=device,
            dtype=_DTYPES[precision],
            packed=packed,
            batch_tokens=config.batch_tokens or CPU_BATCH_TOKENS,
            pad_id=pad_id,
        )

    probe = tokenizer.tokenize(list(PROBE))
    precision, network = choose_network(build, candidate_precisions(config, device, hardware), probe, TIMED_TOKENS[device])
    if device == "cuda" and config.batch_tokens is None:
        network.fit_batches()
    return device, precision, tokenizer, network


def _prepare_static(config: EmbeddingConfig, static: Any, _head: list[torch.nn.Module], max_seq: int, prompt: str) -> Prepared:
    if prompt:
        raise ConfigError(
            f"The encoder {config.encoder!r} is static: it has no use for the prompt {prompt!r}.", "Set no embedding.prompt."
        )
    if config.device == "cuda" or config.precision in ("bfloat16", "float16"):
        raise ConfigError(
            f"The encoder {config.encoder!r} is static: it adds up vectors of tokens, on the CPU and in float32.",
            "Leave embedding.device and embedding.precision at 'auto'.",
        )
    pad_id = static.tokenizer.token_to_id("[PAD]") or 0
    tokenizer = DocumentTokenizer(static.tokenizer, _name(config), max_seq, pad_id, config.windows, special_tokens=False)
    return "cpu", "float32", tokenizer, StaticNetwork(static.embedding.weight)


def _require_supported(first: Any, head: list[Any], name: str) -> None:
    """Raise ModelError unless the modules are Transformer, Pooling, then any Dense or Normalize; or StaticEmbedding, Normalize."""
    if isinstance(first, StaticEmbedding):
        supported = all(isinstance(module, Normalize) for module in head)
    else:
        pooled = isinstance(first, Transformer) and bool(head) and isinstance(head[0], Pooling)
        supported = pooled and all(isinstance(module, Dense | Normalize) for module in head[1:])
    if not supported:
        kinds = [type(module).__name__ for module in (first, *head)]
        raise ModelError(
            f"The encoder {name!r} is made of {' + '.join(kinds)}; supported are Transformer + Pooling, then Dense or Normalize,"
            " and StaticEmbedding, then Normalize.",
            "Choose another sentence-transformers model.",
        )


def _describe(module: Any) -> dict[str, Any]:
    return {"kind": type(module).__name__, **module.get_config_dict()}
