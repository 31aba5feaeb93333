"""Static encoders: each token has a vector of its own, and a document's is the mean of its tokens'.

No forward pass: tokenising is the cost. The format is that of sentence-transformers' StaticEmbedding and of model2vec.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from samplemix_core.embedding.packing import Ids

Floats = npt.NDArray[np.float32]


def mean_vectors(vectors: torch.Tensor, ids: Ids, offsets: npt.NDArray[np.int64]) -> Floats:
    """Means of tokens' vectors (V, dim) over the sequences ids[offsets[j]:offsets[j + 1]], float32 (m, dim).

    Each is added up by itself, in its order, so no other sequence changes a bit of it.
    """
    with torch.inference_mode():
        means = torch.nn.functional.embedding_bag(
            torch.from_numpy(ids.astype(np.int64)), vectors, torch.from_numpy(offsets), mode="mean", include_last_offset=True
        )
    return np.asarray(means.numpy())


class StaticNetwork:
    """In place of a transformer: sequences of token ids in, unit vectors out. Tokens' vectors are float32 (V, dim), on the CPU."""

    packed = False

    def __init__(self, vectors: torch.Tensor) -> None:
        self._vectors = vectors.detach().float().contiguous()

    def __call__(self, sequences: Sequence[Ids]) -> Floats:
        """Embed sequences, none empty: float32 (n, dim), of length 1 unless not finite.

        One whose mean is zero, because the encoder knows none of its tokens, gets a direction that is the same for all such.
        """
        means = mean_vectors(self._vectors, np.concatenate(sequences), np.cumsum([0, *(ids.size for ids in sequences)]))
        means[~means.any(axis=1)] = 1.0
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))
