"""Static encoders: each token has its own vector, and a document's vector is the mean of its tokens'.

There is no forward pass: tokenising is the cost. The format is that of sentence-transformers' StaticEmbedding and of model2vec.

A transformer is distilled into one without training, as in model2vec: embed each token of the vocabulary by itself, reduce to
principal components, and weight each token by its rarity (Arora et al. 2017, "A simple but tough-to-beat baseline for sentence
embeddings"). If documents are given, rarity is counted in them, and one linear map moves the vectors to where the transformer
puts those documents.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding
from tokenizers import Tokenizer

from samplemix_core.embedding.network import CPU_BATCH_TOKENS, Ids
from samplemix_core.embedding.tokens import Tokenized

Floats = npt.NDArray[np.float32]


def mean_vectors(vectors: torch.Tensor, ids: Ids, offsets: npt.NDArray[np.int64]) -> Floats:
    """Means of tokens' vectors (V, dim) over the sequences ids[offsets[j]:offsets[j + 1]], float32 (m, dim).

    Each sequence is summed by itself, in order, so no other sequence changes a bit of its mean.
    """
    with torch.inference_mode():
        means = torch.nn.functional.embedding_bag(
            torch.from_numpy(ids.astype(np.int64)), vectors, torch.from_numpy(offsets), mode="mean", include_last_offset=True
        )
    return np.asarray(means.numpy())


class StaticNetwork:
    """Replaces a transformer: sequences of token ids in, unit vectors out. Tokens' vectors are float32 (V, dim), on the CPU."""

    packed = False
    batch_tokens = CPU_BATCH_TOKENS

    def __init__(self, vectors: torch.Tensor) -> None:
        self._vectors = vectors.detach().float().contiguous()

    def __call__(self, sequences: Sequence[Ids]) -> Floats:
        """Embed sequences, none empty: float32 (n, dim), of length 1 unless not finite.

        Sequences with a mean of zero, because the encoder knows none of their tokens, all get the same direction.
        """
        means = mean_vectors(self._vectors, np.concatenate(sequences), np.cumsum([0, *(ids.size for ids in sequences)]))
        means[~means.any(axis=1)] = 1.0
        return np.asarray(means / np.linalg.norm(means, axis=1, keepdims=True))


Shares = npt.NDArray[np.float64]

ZIPF_SMOOTHING, COUNTED_SMOOTHING = 1e-4, 1e-3
"""A token with a share p of all tokens weighs a / (a + p): a as in model2vec for guessed shares, by trial for counted ones."""

RIDGE = 1e-4
"""Ridge of the linear map, per document."""

MADE_FROM = "distilled.json"


def distill(of_tokens: Floats, dimensions: int) -> Floats:
    """Return a static encoder's vectors (V, dimensions) from the transformer's of single tokens (V, dim), in vocabulary order.

    A token's share of all tokens is guessed from its place, because vocabularies begin with frequent tokens.
    """
    inverse = 1 / np.arange(2, len(of_tokens) + 2)
    return _weighted(_principal(of_tokens, dimensions), inverse / inverse.sum(), ZIPF_SMOOTHING)


def distill_on(of_tokens: Floats, dimensions: int, documents: Tokenized, of_documents: Floats) -> Floats:
    """Return vectors as distill() does, fitted to documents.

    `documents` are tokens as a static encoder reads them, `of_documents` the transformer's vectors of them (n, dim), n at least
    `dimensions`. The map is fitted by least squares, with a ridge, from the documents' means, scaled to unit length, to the
    `dimensions` strongest directions of the transformer's vectors, which bring cosines between documents nearest to the
    transformer's.
    """
    counts = np.bincount(documents.ids, minlength=len(of_tokens)) + 1
    vectors = _weighted(_principal(of_tokens, dimensions), counts / counts.sum(), COUNTED_SMOOTHING)
    means = mean_vectors(torch.from_numpy(vectors), documents.ids, documents.offsets).astype(np.float64)
    unit = means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), np.finfo(np.float32).tiny)
    exact = of_documents.astype(np.float64)
    wanted = exact @ np.linalg.eigh(exact.T @ exact)[1][:, ::-1][:, : vectors.shape[1]]
    ridge = RIDGE * len(unit) * np.eye(unit.shape[1])
    return np.asarray(vectors @ np.linalg.solve(unit.T @ unit + ridge, unit.T @ wanted), dtype=np.float32)


def _principal(vectors: Floats, dimensions: int) -> Floats:
    """Vectors (n, dim) less their mean, in at most `dimensions` principal components."""
    centred = vectors - vectors.mean(axis=0)
    return np.asarray(centred @ np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :dimensions])


def _weighted(vectors: Floats, shares: Shares, smoothing: float) -> Floats:
    return np.asarray(vectors * (smoothing / (smoothing + shares))[:, None], dtype=np.float32)


def save_static(directory: Path, vectors: Floats, tokenizer: Tokenizer, made_from: dict[str, Any]) -> None:
    """Save a static encoder for sentence-transformers and model2vec to load, with what it was made from in distilled.json.

    The directory must not exist yet. It is made whole or not at all.
    """
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".distilled-") as partial:
        modules = [StaticEmbedding(tokenizer, embedding_weights=vectors), Normalize()]
        model = Path(partial) / "model"
        SentenceTransformer(modules=modules, device="cpu").save_pretrained(str(model), create_model_card=False)
        (model / MADE_FROM).write_text(json.dumps(made_from, indent=2) + "\n")
        # A worker may run as a different user.
        (model / "model.safetensors").chmod(0o644)
        model.rename(directory)
