"""Compare two encoders on the same documents: how far their clusters agree, and how fast each is."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.config.run import DiversityConfig, EmbeddingConfig
from samplemix_core.corpus.reader import ShardReader
from samplemix_core.deployment import Deployment
from samplemix_core.diversity.agreement import Agreement, agreement
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.embedding.loading import locate_model
from samplemix_core.embedding.static import MADE_FROM
from samplemix_core.errors import CorpusError, ShardRefusedError
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.worker.jobs import CompareTask

Vectors = npt.NDArray[np.float32]

TEXTS_AT_ONCE = 128


@dataclass(frozen=True)
class Comparison:
    """An encoder's clusters against a reference's, and the documents per second of each, tokenising included, in this process.

    seconds: how long the comparison took.
    """

    encoder: str
    reference: str
    agreement: Agreement
    documents_per_second: float
    reference_documents_per_second: float
    seconds: float

    def __str__(self) -> str:
        found = self.agreement
        return (
            f"beside {self.reference} on {found.documents:,} documents: {found.clusters} clusters against"
            f" {found.reference_clusters}, adjusted mutual information {found.mutual_information:.2f}"
            f" ({found.own_mutual_information:.2f} with itself under another seed), Spearman of d {found.diversity_rank:.2f}"
            f" ({found.own_diversity_rank:.2f})"
        )


MOST_SHARDS = 64


def sample_texts(store: ObjectStore, paths: Sequence[str], config: ReaderConfig, documents: int) -> list[str]:
    """Return at most this many texts: the first ones of at most 64 shards, spread evenly over the paths, equally many of each.

    If a shard has fewer, later ones give more. A refused shard gives none.
    """
    count = min(MOST_SHARDS, len(paths))
    texts: list[str] = []
    for i in range(count):
        wanted = -(-(documents - len(texts)) // (count - i))
        texts += _first_texts(store, paths[i * len(paths) // count], config, wanted)
    return texts


def _first_texts(store: ObjectStore, path: str, config: ReaderConfig, wanted: int) -> list[str]:
    found: list[str] = []
    try:
        with store.open(path) as stream:
            for batch in ShardReader(stream, path, config).read():
                found += batch.documents["text"].to_pylist()
                if len(found) >= wanted:
                    break
    except ShardRefusedError:
        return []
    return found[:wanted]


def embed(encoder: Encoder, texts: Sequence[str], on_progress: Callable[[int], None]) -> Vectors:
    """Return vectors of texts, (n, dim), reporting progress after every 128."""
    parts = [np.empty((0, encoder.dim), dtype=np.float32)]
    for start in range(0, len(texts), TEXTS_AT_ONCE):
        parts.append(encoder.encode(encoder.tokenize(list(texts[start : start + TEXTS_AT_ONCE]))))
        on_progress(min(start + TEXTS_AT_ONCE, len(texts)))
    return np.concatenate(parts)


def compare_texts(
    texts: Sequence[str], encoder: Encoder, reference: Encoder, diversity: DiversityConfig, on_progress: Callable[[int], None]
) -> Comparison:
    """Embed texts with both, cluster the vectors of each, and compare; reports progress while the reference embeds."""
    began = time.perf_counter()
    # One-time work is not counted.
    for each in (encoder, reference):
        each.encode(each.tokenize(list(texts[:1])))
    started = time.perf_counter()
    own = embed(encoder, texts, lambda _: None)
    between = time.perf_counter()
    theirs = embed(reference, texts, on_progress)
    ended = time.perf_counter()
    found = agreement(own, theirs, diversity)
    return Comparison(
        encoder=encoder.spec["name"],
        reference=reference.spec["name"],
        agreement=found,
        documents_per_second=len(texts) / (between - started),
        reference_documents_per_second=len(texts) / (ended - between),
        seconds=time.perf_counter() - began,
    )


def compare(task: CompareTask, on_progress: Callable[[int], None] = lambda _: None) -> Comparison | None:
    """Compare the task's encoder with its reference, else with the encoder it was distilled from; None if there is neither."""
    name = task.reference or _distilled_from(task.embedding)
    if name is None:
        return None
    deployment = Deployment.load()
    texts = sample_texts(deployment.store(task.corpus_uri), task.paths, task.reader, task.documents)
    if not texts:
        raise CorpusError(f"{task.corpus_uri} has no document to compare encoders on.", "See 'samplemix quarantine'.")
    other = EmbeddingConfig(encoder=name, max_seq_tokens=task.embedding.max_seq_tokens, windows=task.embedding.windows)
    return compare_texts(texts, load_encoder(task.embedding), load_encoder(other), task.diversity, on_progress)


def _distilled_from(embedding: EmbeddingConfig) -> str | None:
    path = locate_model(embedding) / MADE_FROM
    return str(json.loads(path.read_text())["encoder"]) if path.is_file() else None
