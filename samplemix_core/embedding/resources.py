"""What an embedding task asks of the worker it runs on. Light: whoever submits tasks imports it, without torch."""

from samplemix_core.config import EmbeddingConfig


def task_resources(config: EmbeddingConfig) -> dict[str, int]:
    """Worker resources an embedding task asks the scheduler for: one GPU if the configuration insists on one."""
    return {"GPU": 1} if config.device == "cuda" else {}
