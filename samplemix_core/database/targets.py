"""Targets: sets of texts that mixtures are evaluated on. What was drawn from a corpus is kept out of all of its mixtures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2.extras import Json

from samplemix_core.database.benchmarks import Benchmark, find_benchmarks
from samplemix_core.database.connection import Cursor, Named, rows_as
from samplemix_core.errors import ConfigError

PREFIX = "target."
"""A target NAME is looked for in documents as the benchmark target.NAME."""


@dataclass(frozen=True)
class Target:
    """A target: the benchmark that has its texts, the corpus that it was drawn from if it was, its bytes, and its report."""

    name: str
    benchmark: Benchmark
    corpus_uri: str | None
    n_bytes: int
    report: dict[str, Any]


def save_target(
    cursor: Cursor, name: str, benchmark: Benchmark, corpus_uri: str | None, n_bytes: int, report: dict[str, Any]
) -> None:
    """Enter a target; the same one again is the newest of its name again, and no longer dropped."""
    cursor.execute(
        "INSERT INTO target (benchmark_id, name, corpus_uri, n_bytes, report) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT (benchmark_id, corpus_uri) DO UPDATE"
        " SET created_at = clock_timestamp(), dropped_at = NULL, report = EXCLUDED.report",
        (benchmark.benchmark_id, name, corpus_uri, n_bytes, Json(report)),
    )


def require_free(cursor: Cursor, name: str, corpus_uri: str | None) -> None:
    """Raise ConfigError if a name is that of a target from elsewhere: a corpus, or files where corpus_uri is None."""
    cursor.execute(
        "SELECT coalesce(corpus_uri, 'files') FROM target"
        " WHERE name = %s AND dropped_at IS NULL AND corpus_uri IS DISTINCT FROM %s LIMIT 1",
        (name, corpus_uri),
    )
    if found := cursor.fetchone():
        raise ConfigError(
            f"There is a target {name!r} from {found[0]}.",
            f"Choose another name, or give that one up: 'samplemix target drop {name}'.",
        )


def find_targets(cursor: Cursor, names: Sequence[str]) -> list[Target]:
    """Return the newest target of each name. Raises ConfigError if there is none of a name."""
    found = []
    for name in names:
        cursor.execute(
            "SELECT benchmark_key, corpus_uri, target.n_bytes, target.report FROM target JOIN benchmark USING (benchmark_id)"
            " WHERE target.name = %s AND dropped_at IS NULL ORDER BY target.created_at DESC LIMIT 1",
            (name,),
        )
        row = next(iter(rows_as(cursor, Named)), None)
        if row is None:
            raise ConfigError(
                f"There is no target {name!r}.",
                "'samplemix target list' lists them; 'samplemix target draw' and 'samplemix target add' make one.",
            )
        (benchmark,) = find_benchmarks(cursor, [f"{PREFIX}{name}@{row.pop('benchmark_key')}"])
        found.append(Target(name=name, benchmark=benchmark, **row))
    return found


def held_out(cursor: Cursor, corpus_uri: str) -> tuple[str, ...]:
    """The benchmarks, name@key, of the targets that were drawn from a corpus: the newest of each name, in the order of names."""
    cursor.execute(
        "SELECT DISTINCT ON (target.name) benchmark.name || '@' || benchmark_key FROM target JOIN benchmark USING (benchmark_id)"
        " WHERE corpus_uri = %s AND dropped_at IS NULL ORDER BY target.name, target.created_at DESC",
        (corpus_uri,),
    )
    return tuple(name for (name,) in cursor.fetchall())


def drop_target(cursor: Cursor, name: str) -> int:
    """Give up a target, in all of its versions; returns how many these were."""
    cursor.execute("UPDATE target SET dropped_at = clock_timestamp() WHERE name = %s AND dropped_at IS NULL", (name,))
    return cursor.rowcount
