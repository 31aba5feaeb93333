"""Benchmarks that mixtures keep out: their items, the shards that were searched for them, and the texts that hold them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
from psycopg2.extras import Json

from samplemix_core.database.connection import Cursor, rows_as, scalar
from samplemix_core.database.copy import copy_in
from samplemix_core.database.scope import Shard, ShardState
from samplemix_core.errors import ConfigError, CorpusError
from samplemix_core.overlap.recipe import CONTAMINATION

RULE = "contaminated"
"""The rules by which documents are left out are called contaminated.NAME, beside those of constraints."""


@dataclass(frozen=True)
class Benchmark:
    """A benchmark as it is stored: its file, below the state root, has the texts that are looked for."""

    benchmark_id: int
    benchmark_key: str
    name: str
    items: int
    parts: int
    artifact_key: str
    artifact_sha256: str
    report: dict[str, Any]

    @property
    def rule(self) -> str:
        """The rule by which documents are left out that hold something of it."""
        return f"{RULE}.{self.name}"


_COLUMNS = "benchmark_id, benchmark_key, name, items, parts, artifact_key, artifact_sha256, report"


def save_benchmark(cursor: Cursor, values: dict[str, Any]) -> Benchmark:
    """Enter a benchmark, or find it by its key: then it is the newest of its name again."""
    cursor.execute(
        "INSERT INTO benchmark (benchmark_key, name, items, parts, artifact_key, artifact_sha256, report)"
        " VALUES (%(benchmark_key)s, %(name)s, %(items)s, %(parts)s, %(artifact_key)s, %(artifact_sha256)s, %(report)s)"
        " ON CONFLICT (benchmark_key) DO UPDATE SET created_at = clock_timestamp()",
        {**values, "report": Json(values["report"])},
    )
    return find_benchmarks(cursor, [f"{values['name']}@{values['benchmark_key']}"])[0]


def find_benchmarks(cursor: Cursor, names: Sequence[str]) -> list[Benchmark]:
    """Return the benchmarks of these names, the newest of each, or name@key for an earlier one; one that is named twice, once.

    Raises ConfigError if there is none of a name.
    """
    found = []
    for wanted in names:
        name, _, key = wanted.partition("@")
        cursor.execute(
            f"SELECT {_COLUMNS} FROM benchmark WHERE name = %s AND starts_with(benchmark_key, %s) ORDER BY created_at DESC LIMIT 1",  # noqa: S608 constants
            (name, key),
        )
        if not (rows := rows_as(cursor, Benchmark)):
            raise ConfigError(
                f"There is no benchmark {wanted!r}.",
                "'samplemix decontaminate list' lists them; 'samplemix decontaminate add' adds one.",
            )
        if (method := rows[0].report.get("method")) != CONTAMINATION:
            raise ConfigError(f"Benchmark {wanted} was added to be looked for in another way, {method}.", "Add it again.")
        found += [row for row in rows if row not in found]
    return found


def unchecked(cursor: Cursor, benchmarks: Sequence[Benchmark], states: Sequence[ShardState]) -> dict[int, list[Benchmark]]:
    """Return, by shard id, the benchmarks that scored shards are still to be searched for."""
    cursor.execute(
        "SELECT shard_id, benchmark_id FROM benchmark_shard WHERE shard_id = ANY(%s) AND benchmark_id = ANY(%s)",
        ([item.shard.shard_id for item in states], [item.benchmark_id for item in benchmarks]),
    )
    done = set(cursor.fetchall())
    left = {
        item.shard.shard_id: [each for each in benchmarks if (item.shard.shard_id, each.benchmark_id) not in done]
        for item in states
        if item.is_scored
    }
    return {shard_id: found for shard_id, found in left.items() if found}


class Checked(NamedTuple):
    """A shard's search for one benchmark: how many texts it has, and those that hold something (columns of contamination)."""

    benchmark_id: int
    texts: int
    contaminated: pa.Table


def save_checked(cursor: Cursor, shard: Shard, found: Checked, run: str, seconds: float) -> None:
    """Enter what was found in a shard; a search that was entered before, or texts that other shards have too, stay."""
    cursor.execute("CREATE TEMP TABLE new_contamination (LIKE contamination) ON COMMIT DROP")
    copy_in(cursor, "new_contamination", found.contaminated)
    cursor.execute("INSERT INTO contamination SELECT * FROM new_contamination ORDER BY content_hash ON CONFLICT DO NOTHING")
    cursor.execute("DROP TABLE new_contamination")
    cursor.execute(
        "INSERT INTO benchmark_shard (benchmark_id, shard_id, texts, contaminated, run, seconds) VALUES (%s, %s, %s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (found.benchmark_id, shard.shard_id, found.texts, found.contaminated.num_rows, run, seconds),
    )


def leave_out_contaminated(
    cursor: Cursor, left_out: str, benchmarks: Sequence[Benchmark], states: Sequence[ShardState], first_rule: int
) -> list[str]:
    """Put documents that hold something of these benchmarks into the table `left_out`, unless they are there; returns the rules.

    Their numbers begin with first_rule. Raises CorpusError for shards that weren't searched.
    """
    if missing := unchecked(cursor, benchmarks, states):
        paths = [item.shard.path for item in states if item.shard.shard_id in missing]
        names = sorted({each.name for found in missing.values() for each in found})
        raise CorpusError(
            f"{len(paths)} of {len(states)} shards haven't been searched for {', '.join(names)}, the first is {paths[0]}.",
            "Run the step decontaminate.",
        )
    parameters = {
        "snapshots": sorted({item.shard.snapshot_id for item in states}),
        "shards": [item.shard.shard_id for item in states if item.is_scored],
    }
    for number, benchmark in enumerate(benchmarks, first_rule):
        cursor.execute(
            f"INSERT INTO {left_out} (shard_id, row, rule) SELECT shard_id, row, %(rule)s"  # noqa: S608 a constant
            " FROM contamination JOIN sample USING (content_hash)"
            " WHERE benchmark_id = %(benchmark)s AND snapshot_id = ANY(%(snapshots)s) AND shard_id = ANY(%(shards)s)"
            f" AND NOT EXISTS (SELECT FROM {left_out} AS o WHERE (o.shard_id, o.row) = (sample.shard_id, sample.row))",
            {**parameters, "rule": number, "benchmark": benchmark.benchmark_id},
        )
    return [benchmark.rule for benchmark in benchmarks]


def save_kept_out(cursor: Cursor, mixture_id: int, keys: Sequence[str]) -> None:
    """Enter which benchmarks a mixture keeps out, by their keys."""
    cursor.execute(
        "INSERT INTO mixture_benchmark (mixture_id, benchmark_id)"
        " SELECT %s, benchmark_id FROM benchmark WHERE benchmark_key = ANY(%s)",
        (mixture_id, list(keys)),
    )
    assert cursor.rowcount == len(set(keys))


def count_holding(cursor: Cursor, benchmark_id: int, shard_ids: Sequence[int]) -> int:
    """How many texts of some shards hold something of a benchmark; a text that is in two of them counts twice."""
    cursor.execute(
        "SELECT coalesce(sum(contaminated), 0)::bigint FROM benchmark_shard WHERE benchmark_id = %s AND shard_id = ANY(%s)",
        (benchmark_id, list(shard_ids)),
    )
    return int(scalar(cursor))
