"""Scorers that are made of examples of a target: what training should be good for."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from safetensors.numpy import save_file

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.corpus.shards import READ_SUFFIXES, format_of
from samplemix_core.database.annotations import scored_shards
from samplemix_core.deployment import Deployment, model_file
from samplemix_core.embedding.encoder import load_encoder
from samplemix_core.errors import ConfigError, CorpusError
from samplemix_core.models.add_scorer import AddedScorer, enter_scorer, range_of
from samplemix_core.progress import Progress, Report
from samplemix_core.quality.importance import count_buckets, log_ratios, mean_ratios
from samplemix_core.scorers.importance import RATIOS, ImportanceSpec
from samplemix_core.scorers.similarity import VECTORS, SimilaritySpec
from samplemix_core.worker.artifacts import store_files
from samplemix_core.worker.compare import embed, sample_texts

MAX_RECORD_BYTES = 64 * 2**20
MOST_EXAMPLES = 100_000

CORPUS_TEXTS = 20_000
"""Texts of a corpus that its words are counted in."""

_LEAST_SHARE, _MOST_SHARE = 0.001, 0.999
"""Quantiles of the corpus's own scores that become the ends of the range."""


def records_in(place: str, what: str, deployment: Deployment) -> Iterator[Any]:
    """Yield the records of a file as they are; one that can't be read as a RejectedRecordError.

    Raises ConfigError for a file of an unknown format, which is not a file of `what`.
    """
    directory, _, name = place.rpartition("/")
    known = format_of(name)
    if known is None:
        raise ConfigError(f"{place} is not a file of {what}.", f"Its name has to end in {READ_SUFFIXES}.")
    with deployment.store(directory or "/").open(name) as stream:
        yield from known.kind.rows(stream, name, MAX_RECORD_BYTES)


def examples(places: Sequence[str], fields: Sequence[str], deployment: Deployment) -> list[str]:
    """Return the texts of examples in files, each once: the fields' texts, joined by line ends.

    Raises ConfigError for a file of an unknown format or more than MOST_EXAMPLES, CorpusError for a record with none of the fields.
    """
    texts: dict[str, None] = {}
    for place in places:
        for number, record in enumerate(records_in(place, "examples", deployment), start=1):
            found = [record.get(field) for field in fields] if isinstance(record, dict) else []
            text = "\n".join(value.strip() for value in found if isinstance(value, str) and value.strip())
            if not text:
                raise CorpusError(
                    f"Record {number} of {place} has no text in {' or '.join(fields)}.", "Name the fields with text: --text."
                )
            texts[text] = None
    if not texts or len(texts) > MOST_EXAMPLES:
        raise ConfigError(f"There are {len(texts):,} different examples, not 1 to {MOST_EXAMPLES:,}.", "Give other files.")
    return list(texts)


def add_similarity(
    name: str,
    places: Sequence[str],
    deployment: Deployment,
    report: Report = lambda _: None,
    *,
    fields: Sequence[str] = ("text",),
    embedding: EmbeddingConfig | None = None,
) -> AddedScorer:
    """Enter similarity to examples, whose vectors are made here, as the corpus's are. Raises as examples() does."""
    texts = examples(places, fields, deployment)
    encoder = load_encoder(embedding or EmbeddingConfig())
    vectors = embed(encoder, texts, lambda done: report(Progress("add", done, len(texts), documents=done, unit="examples")))
    with deployment.scratch() as scratch:
        save_file({"vectors": np.ascontiguousarray(vectors, dtype=np.float32)}, scratch / VECTORS)
        (digest,) = store_files(scratch, deployment.state).values()
    spec = SimilaritySpec(range=(0.0, 1.0), encoder=encoder.family, vectors_sha256=digest)
    return enter_scorer(name, spec, 0.0, 1.0, deployment, (model_file(digest), digest), examples=len(texts))


def add_importance(
    name: str,
    places: Sequence[str],
    corpus: str,
    deployment: Deployment,
    report: Report = lambda _: None,
    *,
    fields: Sequence[str] = ("text",),
) -> AddedScorer:
    """Enter importance for a target, against the words of a scored corpus, by its name or URI. Raises as examples() does."""
    texts = examples(places, fields, deployment)
    with deployment.transaction() as cursor:
        shards = scored_shards(cursor, corpus, ())
    if not shards:
        raise CorpusError(f"No shard of {corpus} is scored.", "Score it first: 'samplemix run', or DAG samplemix_score_crawl.")
    first, paths = shards[0], [shard.path for shard in shards]
    report(Progress("add", 0, len(texts), message="reading texts of the corpus", unit="examples"))
    own = pa.chunked_array(list(_chunks(sample_texts(deployment.store(first.uri), paths, first.reader, CORPUS_TEXTS))))
    if not len(own):
        raise CorpusError(f"No text of {corpus} can be read.", "See 'samplemix check'.")
    ratios = log_ratios(count_buckets(pa.chunked_array(list(_chunks(texts)))), count_buckets(own))
    scores = mean_ratios(own, ratios)
    low, high = range_of(*(float(np.quantile(scores, share)) for share in (_LEAST_SHARE, _MOST_SHARE)))
    with deployment.scratch() as scratch:
        save_file({"ratios": ratios}, scratch / RATIOS)
        (digest,) = store_files(scratch, deployment.state).values()
    spec = ImportanceSpec(range=(low, high), ratios_sha256=digest)
    counts = {"examples": len(texts), "texts of the corpus": len(own)}
    return enter_scorer(name, spec, low, high, deployment, (model_file(digest), digest), **counts)


def _chunks(texts: Sequence[str]) -> Iterator[pa.Array]:
    for start in range(0, max(1, len(texts)), 1_000):
        yield pa.array(texts[start : start + 1_000], pa.large_string())
