"""Where the encoder runs and in which precision."""

from dataclasses import dataclass
from typing import Literal

import torch

from samplemix_core.config import EmbeddingConfig
from samplemix_core.errors import ConfigError

DeviceName = Literal["cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Hardware:
    """What this process can compute on. bfloat16 counts as native where it is faster than float32, not where it is emulated."""

    has_cuda: bool
    cuda_bfloat16: bool
    cpu_bfloat16: bool


def detect_hardware() -> Hardware:
    """Look at the processor and the GPU this process sees. A CPU's bfloat16 is native with AMX (amx_bf16)."""
    has_cuda = torch.cuda.is_available()
    return Hardware(
        has_cuda=has_cuda,
        cuda_bfloat16=has_cuda and torch.cuda.is_bf16_supported(including_emulation=False),
        cpu_bfloat16=bool(torch.cpu.get_capabilities().get("amx_bf16", False)),
    )


def resolve_device(config: EmbeddingConfig, hardware: Hardware) -> DeviceName:
    """The device to run on; raise ConfigError if a GPU is asked for and there is none."""
    if config.device == "cuda" and not hardware.has_cuda:
        raise ConfigError(
            "embedding.device = 'cuda', but this worker sees no GPU.",
            "Start the worker on a GPU node with the resource GPU=1, or set embedding.device to 'auto'.",
        )
    if config.device == "auto":
        return "cuda" if hardware.has_cuda else "cpu"
    return config.device


def resolve_precision(config: EmbeddingConfig, device: DeviceName, hardware: Hardware) -> Precision:
    """The precision of weights and activations: as configured, or bfloat16 where it is native and float32 elsewhere."""
    if config.precision == "auto":
        native = hardware.cuda_bfloat16 if device == "cuda" else hardware.cpu_bfloat16
        return "bfloat16" if native else "float32"
    return config.precision
