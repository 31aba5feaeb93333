"""Which documents go through the encoder together: sorted by length, as many as the token budget holds."""

import numpy as np
import numpy.typing as npt


def length_sorted_batches(lengths: npt.NDArray[np.integer], batch_tokens: int) -> list[npt.NDArray[np.int64]]:
    """Split documents into batches whose tokens, padding included, fit `batch_tokens`.

    Longest first, ties by index, so neighbours in a batch need little padding and the largest batch shows at once whether
    memory suffices. A document longer than the budget is a batch of its own.

    Args:
        lengths: tokens of each document, shape (n,), each at least 1.
        batch_tokens: most tokens in a batch: documents in it times the longest of them.

    Returns:
        Arrays of indices into `lengths`; together they hold each index once.

    Raises:
        ValueError: a length or the budget is below 1.
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
