"""Device, precisions to try and worker resources follow from the configuration and the hardware."""

from typing import Literal

import pytest

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.embedding.loading import Hardware, candidate_precisions, detect_hardware, resolve_device
from samplemix_core.errors import ConfigError

NATIVE = Hardware(has_cuda=False, cuda_bfloat16=False, cpu_bfloat16=True)
OLD = Hardware(has_cuda=False, cuda_bfloat16=False, cpu_bfloat16=False)
GPU = Hardware(has_cuda=True, cuda_bfloat16=True, cpu_bfloat16=False)
OLD_GPU = Hardware(has_cuda=True, cuda_bfloat16=False, cpu_bfloat16=True)


@pytest.mark.parametrize(
    ("device", "precision", "hardware", "expected"),
    [
        ("auto", "auto", NATIVE, ("cpu", "float32", "bfloat16")),
        ("auto", "auto", OLD, ("cpu", "float32")),
        ("auto", "auto", GPU, ("cuda", "float32", "bfloat16")),
        ("auto", "auto", OLD_GPU, ("cuda", "float32", "float16")),
        ("cpu", "auto", GPU, ("cpu", "float32")),
        ("cpu", "auto", OLD_GPU, ("cpu", "float32", "bfloat16")),
        ("cpu", "float32", NATIVE, ("cpu", "float32")),
        ("cpu", "bfloat16", OLD, ("cpu", "bfloat16")),
        ("cuda", "float32", GPU, ("cuda", "float32")),
        ("auto", "float16", GPU, ("cuda", "float16")),
    ],
)
def test_resolution(
    device: Literal["auto", "cpu", "cuda"],
    precision: Literal["auto", "float32", "bfloat16", "float16"],
    hardware: Hardware,
    expected: tuple[str, ...],
) -> None:
    config = EmbeddingConfig(device=device, precision=precision)
    resolved = resolve_device(config, hardware)
    assert (resolved, *candidate_precisions(config, resolved, hardware)) == expected


def test_a_missing_gpu_is_an_error_with_a_remedy() -> None:
    with pytest.raises(ConfigError, match="sees no GPU"):
        resolve_device(EmbeddingConfig(device="cuda"), NATIVE)


@pytest.mark.parametrize("hardware", [NATIVE, GPU])
def test_half_precision_that_cpus_lack_is_an_error_there(hardware: Hardware) -> None:
    with pytest.raises(ConfigError, match="'float16', which is for GPUs"):
        resolve_device(EmbeddingConfig(device="cpu", precision="float16"), hardware)


def test_detection_is_consistent() -> None:
    hardware = detect_hardware()
    assert hardware.has_cuda or not hardware.cuda_bfloat16


@pytest.mark.parametrize(("device", "resources"), [("auto", {}), ("cpu", {}), ("cuda", {"GPU": 1})])
def test_a_task_asks_for_a_gpu_only_if_the_configuration_insists(
    device: Literal["auto", "cpu", "cuda"], resources: dict[str, int]
) -> None:
    assert EmbeddingConfig(device=device).worker_resources == resources
