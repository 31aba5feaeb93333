"""Show samples: find them, explain a sample's copies, read its text from its shard, and search a shard for words."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.reader import ShardReader
from samplemix_core.corpus.records import Block
from samplemix_core.database.connection import transaction
from samplemix_core.database.samples import PAGE_ROWS, SampleFilter, SamplePage, SamplePlace, find_samples, sample_place
from samplemix_core.deployment import Deployment
from samplemix_core.errors import CorpusError, QueryError, SampleMixError
from samplemix_core.frozen import FrozenModel, load_config
from samplemix_core.identity import content_hash
from samplemix_core.manifest.format import SolverRecord
from samplemix_core.pages.views import ask
from samplemix_core.policies.policy import Columns
from samplemix_core.policies.registry import recorded
from samplemix_core.reading.versions import open_version
from samplemix_core.sample_key import sample_keys, uniforms

MAX_SHOWN = 200_000
"""Characters of a text that a page shows."""

SEARCH_SECONDS = 5.0
"""A search that takes longer returns what it has found and where to go on."""

_AROUND = 90


def find(reader_url: str, name: str, version: int, wanted: SampleFilter) -> SamplePage:
    """A page of samples of a version; raise QueryError as find_samples does."""
    (found,) = ask(reader_url, "mixture_version", mixture=name, version=version)
    return find_samples(reader_url, found["mixture_id"], wanted)


class Chance(FrozenModel):
    """How a sample came to its copies: min(max_copies, floor(kappa * weight + u)), where u is the sample's own number in [0, 1).

    `note` says why it has fewer, if it does.
    """

    weight: float
    kappa: float
    u: float
    wanted: float
    max_copies: int
    note: str = ""


class Why(FrozenModel):
    """A document and what decided its copies.

    `became` says it in a word. `twins` are all places of its text, of which the first is mixed. `qualities` are each quality
    model's scores. `chance` is None for a duplicate, which has no chance of its own, for a document that is not assigned to a
    cluster, and if the manifest can't be read: then `trouble` says why.
    """

    document: dict[str, Any]
    became: str
    chance: Chance | None
    trouble: str
    twins: list[dict[str, Any]]
    qualities: list[dict[str, Any]]
    corpus_id: int


def why(deployment: Deployment, reader_url: str, name: str, version: int, shard: str, row: int) -> Why:
    """Explain a document's copies in a version; raise QueryError if it isn't one of the version's documents."""
    (mixture,) = ask(reader_url, "mixture_version", mixture=name, version=version)
    found = ask(reader_url, "sample_why", mixture=name, version=mixture["version"], shard=shard, row=row)
    if not found:
        raise QueryError(
            f"{shard[:200]!r} has no document in row {row} that this version was made from.",
            "Its shard may have been replaced since, or the record was set aside: see the corpus's page.",
        )
    (document,) = found
    among = set(mixture["snapshots"])
    twins = [
        item for item in ask(reader_url, "same_text", corpus=mixture["corpus"], shard=shard, row=row) if item["snapshot"] in among
    ]
    if document["copies"]:
        became = "taken"
    elif twins and (twins[0]["shard"], twins[0]["row"]) != (shard, row):
        became = "duplicate"
    else:
        became = "not taken"
    chance, trouble = None, ""
    if became != "duplicate" and document["diversity"] is not None:
        try:
            chance = _chance(deployment, mixture, document)
        except SampleMixError as error:
            trouble = str(error)
    return Why(
        document=document,
        became=became,
        chance=chance,
        trouble=trouble,
        twins=twins,
        qualities=ask(reader_url, "sample_qualities", corpus=mixture["corpus"], shard=shard, row=row),
        corpus_id=mixture["corpus_id"],
    )


def _chance(deployment: Deployment, mixture: dict[str, Any], document: dict[str, Any]) -> Chance:
    manifest = open_version(deployment, mixture["mixture"], mixture["version"]).manifest
    columns = Columns(np.array([document["quality"]], dtype=np.float32), np.array([document["diversity"]], dtype=np.float32))
    weight = float(recorded(manifest.policy.name, manifest.policy.parameters)(columns)[0])
    rows = np.array([document["row"]], dtype=np.int64)
    u = float(uniforms(manifest.seed, sample_keys(document["snapshot"], document["shard"], rows))[0])
    solver = manifest.solver
    wanted = solver.kappa * weight
    note = why_fewer(solver, manifest.budget_tokens, wanted + u, document["copies"], document["n_tokens"])
    return Chance(weight=weight, kappa=solver.kappa, u=u, wanted=wanted, max_copies=solver.max_copies, note=note)


def why_fewer(solver: SolverRecord, budget_tokens: int, wanted: float, copies: int, n_tokens: int) -> str:
    """Why a sample has fewer copies than the whole part of `wanted`; empty if it has as many."""
    if copies >= min(solver.max_copies, int(wanted)):
        return ""
    if (copies + 1) * n_tokens > int(solver.max_share * budget_tokens):
        return f"Another copy would exceed {solver.max_share:.2%} of the budget, the most for one document."
    return "Another copy is longer than what was left of the budget, so it was skipped." if solver.passed_over else ""


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
