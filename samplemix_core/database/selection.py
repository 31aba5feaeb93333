"""Which documents constraints leave out, by what is stored of them: one rule after another, by a role that can only read."""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pyarrow as pa

from samplemix_core.config.constraints import ConstraintsConfig, SelectionConfig
from samplemix_core.database.columns import in_reads
from samplemix_core.database.connection import Cursor
from samplemix_core.database.copy import copy_in, copy_out
from samplemix_core.database.query import READ_LIMIT_SECONDS, stream_query
from samplemix_core.database.scope import ScoreVersion, ShardState
from samplemix_core.errors import ConfigError, QueryError
from samplemix_core.mixing.shard_samples import RowSet

LEFT_OUT = "left_out"
"""The temporary table of shard_id, row and rule, for the transaction that asked for it."""

_ROWS = 100_000
_DOCUMENTS_AT_ONCE = 1_000_000
"""Documents that one statement looks at: readers have only so long."""

_DOCUMENTS = """
    SELECT sample.shard_id, sample.row, snapshot.name AS snapshot, path AS shard, doc_id, domain.name AS domain, n_tokens, n_bytes,
           content_hash, content_type, language, url, host, license, quality, cluster, distance, is_noise
    FROM sample
    JOIN snapshot USING (snapshot_id)
    JOIN shard ON shard.shard_id = sample.shard_id
    JOIN domain USING (domain_id)
    LEFT JOIN quality_score ON quality_score.snapshot_id = sample.snapshot_id AND quality_model_id = %(quality)s
        AND quality_score.shard_id = sample.shard_id AND quality_score.row = sample.row
    LEFT JOIN diversity_score ON diversity_score.snapshot_id = sample.snapshot_id AND cluster_model_id = %(cluster)s
        AND diversity_score.shard_id = sample.shard_id AND diversity_score.row = sample.row
    WHERE sample.snapshot_id = %(snapshot)s AND sample.shard_id = ANY(%(shards)s)
        AND (%(row)s::bigint IS NULL OR sample.row = %(row)s)
"""


class LeftOut(NamedTuple):
    """Documents that a rule, such as exclude.hosts, leaves out of a domain."""

    rule: str
    domain: str
    documents: int


class _Rule(NamedTuple):
    name: str
    selection: SelectionConfig
    field: str
    leaves_out: bool


def _rules(constraints: ConstraintsConfig) -> list[_Rule]:
    """The rules in their order."""
    pairs = ("exclude", constraints.exclude), ("include", constraints.include)
    return [
        _Rule(f"{title}.{field}", selection, field, title == "exclude")
        for title, selection in pairs
        for field in SelectionConfig.model_fields
        if getattr(selection, field)
    ]


def open_left_out(cursor: Cursor) -> None:
    """Make the temporary table LEFT_OUT. A document counts for the first rule that leaves it out."""
    cursor.execute(f"CREATE TEMP TABLE {LEFT_OUT} (shard_id int NOT NULL, row bigint NOT NULL, rule int NOT NULL) ON COMMIT DROP")


def leave_out(
    cursor: Cursor,
    reader_url: str,
    version: ScoreVersion,
    cluster_model_id: int,
    states: Sequence[ShardState],
    constraints: ConstraintsConfig,
) -> list[str]:
    """Put what constraints leave out of the scored shards into LEFT_OUT; returns the rules, whose places are their numbers.

    Raises ConfigError for a condition that Postgres refuses.
    """
    rules = _rules(constraints)
    _require_plain(cursor, reader_url, rules)
    query, parameters = _query(cursor, rules, sorted({item.shard.snapshot_id for item in states}))
    parameters |= {"quality": version.quality_model_id, "cluster": cluster_model_id, "row": None}
    for part in in_reads(states, _DOCUMENTS_AT_ONCE):
        where = {"snapshot": part[0].shard.snapshot_id, "shards": [item.shard.shard_id for item in part]}
        for found in _tables(_judged(reader_url, query, {**parameters, **where})):
            copy_in(cursor, LEFT_OUT, found)
    return [rule.name for rule in rules]


def count_left_out(cursor: Cursor, rules: Sequence[str], states: Sequence[ShardState]) -> list[LeftOut]:
    """How many documents LEFT_OUT has by rule, by these names, and domain."""
    cursor.execute(f"ANALYZE {LEFT_OUT}")
    cursor.execute(
        f"SELECT rule, domain.name, count(*) FROM {LEFT_OUT} JOIN sample USING (shard_id, row) JOIN domain USING (domain_id)"  # noqa: S608 a constant
        " WHERE snapshot_id = ANY(%s) GROUP BY 1, 2 ORDER BY 1, 2",
        (sorted({item.shard.snapshot_id for item in states}),),
    )
    return [LeftOut(rules[rule], domain, documents) for rule, domain, documents in cursor.fetchall()]


def left_out_rows(cursor: Cursor) -> dict[int, RowSet]:
    """The rows of LEFT_OUT by shard."""
    kinds = {"shard_id": "int32", "row": "int64"}
    found = copy_out(cursor, f"SELECT shard_id, row FROM {LEFT_OUT} ORDER BY shard_id, row", {}, kinds)  # noqa: S608 a constant
    shards, starts = np.unique(found["shard_id"], return_index=True)
    parts = np.split(found["row"], starts[1:]) if shards.size else []
    return {shard: RowSet.of(rows) for shard, rows in zip(shards.tolist(), parts, strict=True)}


def rule_of(cursor: Cursor, reader_url: str, mixture_id: int, shard: str, row: int, constraints: ConstraintsConfig) -> str | None:
    """The rule by which a mixture leaves out a document; None if none does, or there is no such document."""
    rules = _rules(constraints)
    if not rules:
        return None
    cursor.execute(
        "SELECT snapshot_id, ARRAY[shard_id], quality_model_id, cluster_model_id FROM mixture"
        " JOIN mixture_snapshot USING (mixture_id) JOIN shard USING (snapshot_id)"
        " WHERE mixture_id = %s AND path = %s AND superseded_at IS NULL",
        (mixture_id, shard),
    )
    for found in cursor.fetchall():
        query, parameters = _query(cursor, rules, found[:1])
        parameters |= dict(zip(("snapshot", "shards", "quality", "cluster"), found, strict=True))
        return next((rules[item["rule"]].name for item in _judged(reader_url, query, {**parameters, "row": row})), None)
    return None


_NOTHING = {"quality": 0, "cluster": 0, "snapshot": 0, "shards": [], "row": None}

_CALLED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)\s*\(")
_OF_NOW = re.compile(r"\b(?:current_(?:date|time|timestamp)|localtime(?:stamp)?|now)\b", re.IGNORECASE)
_LITERAL = re.compile(r"'(?:[^']|'')*'")
_MOMENT = r"'\s*(?:now|today|tomorrow|yesterday)\s*'"
_LITERAL_NOW = re.compile(rf"{_MOMENT}\s*::|\b(?:date|time|timestamp|timestamptz)\s+{_MOMENT}", re.IGNORECASE)


def _require_plain(cursor: Cursor, reader_url: str, rules: Sequence[_Rule]) -> None:
    """Raise ConfigError for a condition that isn't one by itself, or whose answer isn't the same each time it is asked."""
    for rule in rules:
        if rule.field != "where":
            continue
        condition = str(rule.selection.where)
        # After WHERE, Postgres allows neither window functions nor aggregates, which depend on what else is read.
        alone = f"SELECT FROM ({_DOCUMENTS}) AS document WHERE (\n{condition.replace('%', '%%')}\n) AND false"
        list(_judged(reader_url, alone, dict(_NOTHING)))
        # What stands in quotes is called by nobody, unless it is a time.
        outside = _LITERAL.sub("''", condition)
        names = sorted({name.lower() for name in _CALLED.findall(outside)})
        cursor.execute("SELECT DISTINCT proname FROM pg_proc WHERE provolatile = 'v' AND proname = ANY(%s) ORDER BY 1", (names,))
        changing = [name for (name,) in cursor.fetchall()] + _OF_NOW.findall(outside) + _LITERAL_NOW.findall(condition)
        if changing:
            raise ConfigError(
                f"The condition {rule.name} asks for {', '.join(changing)}, which isn't the same each time.",
                "Write a condition on what is stored of a document.",
            )


def _judged(reader_url: str, query: str, parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The rows of a statement with a condition in it. Raises ConfigError if Postgres refuses it."""
    try:
        yield from stream_query(reader_url, query, parameters, timeout_seconds=READ_LIMIT_SECONDS)
    except QueryError as error:
        raise ConfigError(
            f"The documents to leave out can't be told. {error.what}",
            "Correct the condition in constraints.exclude.where or constraints.include.where.",
        ) from error


def _query(cursor: Cursor, rules: Sequence[_Rule], snapshot_ids: Sequence[int]) -> tuple[str, dict[str, Any]]:
    """The statement that names the rule for each document that one leaves out, and the values in it."""
    parameters: dict[str, Any] = {}
    cases = []
    for number, rule in enumerate(rules):
        condition = _condition(cursor, f"rule_{number}", rule, snapshot_ids, parameters)
        cases.append(f"WHEN (\n{condition}\n) IS {'' if rule.leaves_out else 'NOT '}TRUE THEN {number}")
    judged = f"SELECT shard_id, row, CASE {' '.join(cases)} END AS rule FROM ({_DOCUMENTS}) AS document"  # noqa: S608 see below
    # A condition is the user's own SQL: who runs it can read the scores, and nothing else.
    return f"SELECT shard_id, row, rule FROM ({judged}) AS judged WHERE rule IS NOT NULL", parameters  # noqa: S608 as above


def _condition(cursor: Cursor, name: str, rule: _Rule, snapshot_ids: Sequence[int], parameters: dict[str, Any]) -> str:
    """A rule as a condition of SQL; its values go into the parameters."""
    values = getattr(rule.selection, rule.field)
    match rule.field:
        case "where":
            # Percent signs are psycopg2's.
            return str(values).replace("%", "%%")
        case "ids":
            parameters[name] = list(values)
            return f"doc_id = ANY(%({name})s)"
        case "hashes":
            parameters[name] = [str(UUID(value)) for value in values]
            return f"content_hash = ANY(%({name})s::uuid[])"
        case "licenses":
            parameters[name] = _known_licenses(cursor, snapshot_ids, values, some=rule.leaves_out)
            return f"license = ANY(%({name})s::text[])"
    beginnings = [value for value in values if "/" in value]
    parameters[name] = _known_hosts(cursor, snapshot_ids, {value for value in values if "/" not in value})
    parameters[f"{name}_begins"] = beginnings
    address = r"host || coalesce(substring(url FROM '^(?:[a-zA-Z][a-zA-Z0-9+.-]*://)?[^/?#]*(/.*)$'), '/')"
    begins = f"EXISTS (SELECT FROM unnest(%({name}_begins)s::text[]) AS beginning WHERE starts_with({address}, beginning))"
    return f"host = ANY(%({name})s::text[])" + (f" OR {begins}" if beginnings else "")


def _known_hosts(cursor: Cursor, snapshot_ids: Sequence[int], wanted: set[str]) -> list[str]:
    """The hosts of the snapshots that are among these or below one of them."""
    if not wanted:
        return []
    cursor.execute("SELECT DISTINCT host FROM sample WHERE snapshot_id = ANY(%s) AND host IS NOT NULL", (list(snapshot_ids),))
    return sorted(host for (host,) in cursor.fetchall() if _is_below(host, wanted))


def _known_licenses(cursor: Cursor, snapshot_ids: Sequence[int], wanted: Iterable[str], *, some: bool) -> list[str]:
    """The licences of the snapshots that are wanted, in any case. Of a document with several, some suffice, or all have to be."""
    folded = {value.casefold() for value in wanted}
    cursor.execute("SELECT DISTINCT license FROM sample WHERE snapshot_id = ANY(%s) AND license IS NOT NULL", (list(snapshot_ids),))

    def is_wanted(license: str) -> bool:
        own = {license.casefold()} if license.casefold() in folded else {part.casefold() for part in license.split(", ")}
        return bool(own & folded) if some else own <= folded

    return sorted(license for (license,) in cursor.fetchall() if is_wanted(license))


def _is_below(host: str, wanted: set[str]) -> bool:
    labels = host.split(".")
    return any(".".join(labels[start:]) in wanted for start in range(len(labels)))


def _tables(rows: Iterable[dict[str, Any]]) -> Iterator[pa.Table]:
    kinds = {"shard_id": pa.int32(), "row": pa.int64(), "rule": pa.int32()}
    part: list[dict[str, Any]] = []
    for row in rows:
        part.append(row)
        if len(part) == _ROWS:
            yield pa.Table.from_pylist(part, pa.schema(kinds))
            part = []
    if part:
        yield pa.Table.from_pylist(part, pa.schema(kinds))
