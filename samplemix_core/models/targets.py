"""Targets: held-out documents of a corpus, or texts of users' files, entered to evaluate mixtures on."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from samplemix_core.corpus.records import RejectedRecordError
from samplemix_core.database.annotations import scored_shards
from samplemix_core.database.copy import without_nul
from samplemix_core.database.rollups import bytes_by_domain
from samplemix_core.database.targets import PREFIX, Target, find_targets, require_free, save_target
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, CorpusError
from samplemix_core.models.add_examples import records_in
from samplemix_core.models.benchmarks import MOST_ITEMS, PARTS, enter_benchmark
from samplemix_core.models.chosen import choose, read_chosen
from samplemix_core.overlap.contamination import index_parts
from samplemix_core.overlap.recipe import LEAST_PART_WORDS
from samplemix_core.progress import Progress, Report
from samplemix_core.quality.labels import encodable

DOCUMENTS = 2_000

MOST_CHARACTERS = 20_000
"""Of a longer text, so many are in the target: some books would outweigh all else."""

MOST_SHARE = 10
"""At most one in so many of a corpus's documents is drawn."""

MOST_GROUPS = 200
"""Groups that are told apart in a target: of more, the smallest are one, OTHERS."""

OTHERS = "(others)"
_GROUP_CHARACTERS = 200

_EVENLY = 0.5
"""Half of the documents are dealt out evenly over the domains, for the mean over domains; the rest as the domains are large."""

TEXTS = PARTS.append(pa.field("group", pa.string()))
"""The file of a target: a benchmark's, where the item is the text's number, with the group of each text."""


def draw_target(
    name: str,
    corpus: str,
    deployment: Deployment,
    report: Report = lambda _: None,
    *,
    documents: int = DOCUMENTS,
    seed: int = 0,
    snapshots: Sequence[str] = (),
) -> Target:
    """Draw documents of a scored corpus, by its name or URI, which none of its mixtures holds from now on. Domains are groups.

    The same corpus and seed give the same documents. Raises CorpusError if nothing is scored, or all documents are too short.
    """
    with deployment.transaction() as cursor:
        shards = scored_shards(cursor, corpus, snapshots)
        require_free(cursor, name, shards[0].uri if shards else None)
        there = sum(shard.samples for shard in shards)
        wanted = min(documents, max(1, there // MOST_SHARE))
        chosen = choose(cursor, corpus, shards, wanted, seed, strata="domain", evenly=_EVENLY)
        shares = bytes_by_domain(cursor, [shard.snapshot_id for shard in shards])
    found: dict[str, str] = {}
    unread, met = 0, 0
    for document in read_chosen(chosen, deployment):
        met += 1
        unread += document is None
        if document is not None:
            found.setdefault(document.text[:MOST_CHARACTERS], document.source)
        if met % 100 == 0:
            report(Progress("draw", met, wanted, documents=met, unit="documents"))
    counts = {"asked_for": documents, "drawn": met, "unread": unread, "twice": met - unread - len(found)}
    return _enter(name, list(found.items()), counts, deployment, shards[0].uri, shares)


def add_target(
    name: str, places: Sequence[str], deployment: Deployment, *, fields: Sequence[str] = ("text",), group: str | None = None
) -> Target:
    """Enter a target from the records of files: their fields' texts, joined by line ends, in groups that a field names.

    Raises ConfigError for a file of an unknown format, CorpusError for a record that can't be read, or has none of the fields.
    """
    with deployment.transaction() as cursor:
        require_free(cursor, name, None)
    found: dict[str, str] = {}
    records = 0
    for place in places:
        for number, record in enumerate(records_in(place, "texts", deployment), start=1):
            records += 1
            texts = list(_texts(record, fields))
            whole = "\n".join(texts)
            if isinstance(record, RejectedRecordError) or whole != encodable(whole):
                said = record.detail if isinstance(record, RejectedRecordError) else "a text has half a surrogate pair"
                raise CorpusError(f"Record {number} of {place} can't be read: {said}.", "Correct it, or leave it out.")
            if not texts:
                raise CorpusError(
                    f"Record {number} of {place} has no text in {' or '.join(fields)}.", "Name the fields with text: --text FIELD."
                )
            own = _at(record, group) if group else ""
            if isinstance(own, bool) or not isinstance(own, str | int) or len(str(own)) > _GROUP_CHARACTERS:
                raise CorpusError(
                    f"Record {number} of {place} has no group of at most {_GROUP_CHARACTERS} characters in {group}.",
                    "Name another field, or none.",
                )
            found.setdefault(whole[:MOST_CHARACTERS], without_nul(encodable(str(own))))
            if records > MOST_ITEMS:
                raise ConfigError(f"There are more than {MOST_ITEMS:,} records.", "Give other files.")
    if not records:
        raise ConfigError("The files have no record.", "Give other files.")
    return _enter(name, list(found.items()), {"records": records, "twice": records - len(found)}, deployment)


def _texts(record: Any, fields: Sequence[str]) -> Iterator[str]:
    for field in fields:
        value = _at(record, field)
        if isinstance(value, str) and value.strip():
            # As it is: code begins with its own blanks.
            yield value


def _at(record: Any, path: str) -> Any:
    for name in path.split("."):
        record = record.get(name) if isinstance(record, dict) else None
    return record


def _enter(
    name: str,
    texts: Sequence[tuple[str, str]],
    counts: dict[str, int],
    deployment: Deployment,
    corpus_uri: str | None = None,
    shares: dict[str, int] | None = None,
) -> Target:
    """Enter texts with their groups, without those that are too short to be looked for in documents."""
    sought = index_parts(pa.array([text for text, _ in texts], pa.large_string())).is_sought
    kept = [one for one, is_sought in zip(texts, sought.tolist(), strict=True) if is_sought]
    if not kept:
        raise CorpusError(
            f"None of the {len(texts):,} texts has {LEAST_PART_WORDS} words: shorter ones are in many documents by chance.",
            "Give longer texts.",
        )
    kept, shares = merge_groups(kept, shares or {})
    columns = [np.arange(len(kept)), ["text"] * len(kept), [text for text, _ in kept], [group for _, group in kept]]
    benchmark = enter_benchmark(f"{PREFIX}{name}", pa.table(columns, schema=TEXTS), len(kept), deployment)
    n_texts, n_bytes = Counter(group for _, group in kept), Counter[str]()
    for text, group in kept:
        n_bytes[group] += len(text.encode())
    total = sum(shares.values())
    groups = {
        group: {"texts": n_texts[group], "bytes": n_bytes[group], **({"share": shares.get(group, 0) / total} if total else {})}
        for group in sorted(n_texts)
    }
    without = sorted(set(shares) - set(groups))
    found = {**counts, "too_short": len(texts) - len(kept), "groups": groups, "without": without}
    with deployment.transaction() as cursor:
        save_target(cursor, name, benchmark, corpus_uri, sum(n_bytes.values()), found)
        return find_targets(cursor, [name])[0]


def merge_groups(texts: Sequence[tuple[str, str]], shares: dict[str, int]) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """Texts and shares with the smallest groups as one, where there are too many: by shares, or else by their texts."""
    sizes = Counter[str](shares)
    if not shares:
        for text, group in texts:
            sizes[group] += len(text)
    if len(sizes) <= MOST_GROUPS:
        return list(texts), shares
    own = sorted(sizes, key=lambda group: (-sizes[group], group))[: MOST_GROUPS - 1]
    merged = {group: shares[group] for group in own if group in shares}
    if shares:
        merged[OTHERS] = sum(shares.values()) - sum(merged.values())
    known = set(own)
    return [(text, group if group in known else OTHERS) for text, group in texts], merged
