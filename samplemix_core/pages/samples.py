"""Show samples: find them, explain a sample's copies, read its text from its shard, and search a shard for words."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.reader import ShardReader
from samplemix_core.corpus.records import Block
from samplemix_core.database.connection import transaction
from samplemix_core.database.query import ask
from samplemix_core.database.samples import PAGE_ROWS, SampleFilter, SamplePage, SamplePlace, find_samples, sample_place
from samplemix_core.deployment import Deployment
from samplemix_core.errors import CorpusError, QueryError
from samplemix_core.frozen import FrozenModel, load_config
from samplemix_core.identity import content_hash

MAX_SHOWN = 200_000
"""Characters of a text that a page shows."""

SEARCH_SECONDS = 5.0
"""A search that takes longer returns what it has found and where to go on."""

_AROUND = 90


def find(reader_url: str, name: str, version: int, wanted: SampleFilter) -> SamplePage:
    """A page of samples of a version; raise QueryError as find_samples does."""
    (found,) = ask(reader_url, "mixture_version", mixture=name, version=version)
    return find_samples(reader_url, found["mixture_id"], wanted)


class Text(FrozenModel):
    """A document's text from its shard, at most MAX_SHOWN characters. `changed`: it differs from the text that was scored."""

    text: str
    characters: int
    domain: str
    doc_id: str | None
    changed: bool


def text_of(deployment: Deployment, reader_url: str, corpus_id: int, shard: str, row: int) -> Text:
    """The text of a document; raise CorpusError if the shard has no document in that row."""
    with _reading(deployment, reader_url, corpus_id, shard, row) as (place, reader):
        for batch in reader.read(place.block):
            for item in batch.documents.to_pylist():
                if item["row"] == row:
                    digest = content_hash(item["text"]).hex()
                    changed = place.content_hash is not None and place.content_hash.replace("-", "") != digest
                    text = item["text"]
                    known = {"domain": item["domain"], "doc_id": item["doc_id"], "changed": changed}
                    return Text(text=text[:MAX_SHOWN], characters=len(text), **known)
            if row in batch.quarantine["row"].to_pylist():
                break
    raise CorpusError(f"{shard[:200]!r} has no document in row {row}.", "The record was set aside, or the file has changed.")


class Match(FrozenModel):
    """A document with the words searched for: its row, the text around the longest word, and its sample in the version."""

    row: int
    excerpt: str
    sample: dict[str, Any] | None


class Matches(FrozenModel):
    """Results of a search in a shard, in order. `looked` documents were read. `more` is the row to go on from, None at the end."""

    matches: list[Match]
    looked: int
    more: int | None


def search(deployment: Deployment, reader_url: str, name: str, version: int, shard: str, words: str, row: int = 0) -> Matches:
    """Find documents of a shard, from a row on, whose text has all the words, in upper or lower case.

    Each comes with its sample in the version. Stops after PAGE_ROWS of them, or SEARCH_SECONDS.
    """
    wanted = words.casefold().split()
    if not wanted:
        raise QueryError("There is no word to search for.", "Give words=...")
    longest = max(wanted, key=len)
    (mixture,) = ask(reader_url, "mixture_version", mixture=name, version=version)
    deadline, looked, last, more = time.monotonic() + SEARCH_SECONDS, 0, row, None
    excerpts: dict[int, str] = {}
    with _reading(deployment, reader_url, mixture["corpus_id"], shard, row) as (place, reader):
        rest = Block(place.block.block, place.block.first_row, None, place.block.byte_offset, None)
        for batch in reader.read(rest):
            columns = (batch.documents["row"].to_pylist(), batch.documents["text"].to_pylist())
            for at, text in zip(*columns, strict=True):
                if at < row:
                    continue
                looked += 1
                folded = text.casefold()
                if all(word in folded for word in wanted):
                    excerpts[at] = _excerpt(text, folded.find(longest))
                if len(excerpts) == PAGE_ROWS:
                    more = at + 1
                    break
                last = at
            if more is None and looked and time.monotonic() > deadline:
                more = last + 1
            if more is not None:
                break
    known = {}
    if excerpts:
        among = SampleFilter(order="place", shard=shard)
        page = find_samples(reader_url, mixture["mixture_id"], among, rows=list(excerpts))
        known = {item["row"]: item for item in page.samples}
    matches = [Match(row=at, excerpt=excerpt, sample=known.get(at)) for at, excerpt in excerpts.items()]
    return Matches(matches=matches, looked=looked, more=more)


def _excerpt(text: str, at: int) -> str:
    start = max(0, at - _AROUND)
    excerpt = " ".join(text[start : at + 2 * _AROUND].split())
    return ("… " if start else "") + excerpt + (" …" if at + 2 * _AROUND < len(text) else "")


@contextmanager
def _reading(
    deployment: Deployment, reader_url: str, corpus_id: int, shard: str, row: int
) -> Iterator[tuple[SamplePlace, ShardReader]]:
    """The block that has a row, and its shard's reader."""
    with transaction(reader_url) as cursor:
        place = sample_place(cursor, corpus_id, shard, row)
    if place is None:
        raise CorpusError(f"The corpus has no shard {shard[:200]!r} with a row {row}.", "Copy its path from a sample.")
    with deployment.store(place.uri).open(place.path) as stream:
        yield place, ShardReader(stream, place.path, load_config(ReaderConfig, place.reader, "stored reader"))
