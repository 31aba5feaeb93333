"""Documents chosen from a scored corpus by counts alone, and read again."""

import logging
from collections.abc import Generator, Sequence
from itertools import groupby
from typing import Literal

from samplemix_core.corpus.reader import ShardReader
from samplemix_core.corpus.shards import parse_shard_path
from samplemix_core.database.annotations import ChosenSample, Document, ScoredShard, chosen_samples
from samplemix_core.database.connection import Cursor
from samplemix_core.deployment import Deployment
from samplemix_core.diversity.sampling import EVENLY, ShardCount, nested_positions
from samplemix_core.errors import CorpusError, ObjectAccessError, ShardRefusedError
from samplemix_core.identity import content_hash
from samplemix_core.logs import event

log = logging.getLogger(__name__)

Strata = Literal["snapshot and domain", "domain", "none"]
Chosen = list[tuple[ScoredShard, list[ChosenSample]]]
"""Samples by shard, in the order of rows."""


def choose(
    cursor: Cursor,
    corpus: str,
    shards: Sequence[ScoredShard],
    documents: int,
    seed: int,
    *,
    strata: Strata,
    evenly: float = EVENLY,
) -> Chosen:
    """Choose documents of a corpus's scored shards, by strata: see nested_positions.

    Raises CorpusError if there is no shard.
    """
    if not shards:
        raise CorpusError(
            f"No shard of {corpus} is scored in the snapshots asked for.",
            "Score it first: 'samplemix run', or DAG samplemix_score_crawl.",
        )
    counts = [_count(shard, strata) for shard in shards]
    positions = nested_positions(counts, documents, seed, evenly)
    return [(shard, chosen_samples(cursor, shard, positions[shard.path])) for shard in shards if shard.path in positions]


def _count(shard: ScoredShard, strata: Strata) -> ShardCount:
    domain = "" if strata == "none" else parse_shard_path(shard.path, shard.reader)[1] or ""
    return ShardCount(shard.snapshot if strata == "snapshot and domain" else "", shard.path, domain, shard.samples)


def read_chosen(chosen: Chosen, deployment: Deployment) -> Generator[Document | None]:
    """Yield chosen documents, shard by shard; None in place of one that is no longer there as it was scored."""
    for shard, samples in chosen:
        left = {sample.row: sample for sample in samples}
        try:
            with deployment.store(shard.uri).open(shard.path) as stream:
                reader = ShardReader(stream, shard.path, shard.reader)
                for block, _ in groupby(samples, key=lambda sample: sample.block):
                    for batch in reader.read(block):
                        for item in batch.documents.to_pylist():
                            sample = left.get(item["row"])
                            if sample and content_hash(item["text"]) == sample.content_hash:
                                del left[item["row"]]
                                yield Document(sample.content_hash, item["text"], item["doc_id"], item["domain"])
        except (ShardRefusedError, ObjectAccessError) as error:
            event(log, "shard can't be read", shard=shard.path, error=error.what)
        yield from [None] * len(left)
