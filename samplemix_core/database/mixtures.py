"""Published mixtures: their figures, their domains, the copies of every sample they hold, and how they look from afar."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from psycopg2 import sql
from psycopg2.extras import Json, execute_values

from samplemix_core.database.connection import Cursor, attach, create_detached
from samplemix_core.database.copy import copy_in
from samplemix_core.database.ledger import Shard
from samplemix_core.errors import ManifestError


@dataclass(frozen=True)
class Mixture:
    """A published version. documents = scored + quarantined + duplicates; samples <= eligible <= scored."""

    name: str
    version: int
    corpus_id: int
    manifest_uri: str
    content_digest: str
    config: dict[str, Any]
    policy: str
    seed: int
    budget_tokens: int
    realised_tokens: int
    samples: int
    copies: int
    documents: int
    scored: int
    quarantined: int
    duplicates: int
    eligible: int
    quality_model_id: int
    encoder_id: int
    cluster_model_id: int
    parent_version: int | None = None
    airflow_run_id: str | None = None


@dataclass(frozen=True)
class MixtureDomain:
    """One domain before and after: shares are of tokens, in 0..1; mean_copies is over the eligible samples."""

    domain: str
    source_samples: int
    source_tokens: int
    source_share: float
    mixture_tokens: int
    mixture_share: float
    mean_copies: float


@dataclass(frozen=True)
class MixtureRows:
    """The samples of one shard that a mixture holds: row, copies (at least 1) and weight, one entry a sample."""

    shard: Shard
    row: npt.NDArray[np.int64]
    copies: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float64]


def save_mixture(
    cursor: Cursor,
    mixture: Mixture,
    *,
    snapshots: Sequence[int],
    domains: Sequence[MixtureDomain],
    rows: Iterable[MixtureRows],
) -> int:
    """Record a published version, in the cursor's transaction; returns its id. Doing it again changes nothing.

    The samples are loaded into a fresh table that gets its key and is attached at the end. Raises ManifestError if this
    version is recorded with another content, and if the rows are not as many as the mixture says.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"mixture/{mixture.name}",))
    cursor.execute(
        "SELECT mixture_id, content_digest FROM mixture WHERE name = %s AND version = %s", (mixture.name, mixture.version)
    )
    if found := cursor.fetchone():
        if found[1] != mixture.content_digest:
            raise ManifestError(
                f"Version {mixture.version} of mixture {mixture.name!r} is recorded with another digest, {found[1]}.",
                "A published version never changes: publish this content as a new version.",
            )
        return int(found[0])
    values = asdict(mixture) | {"config": Json(mixture.config)}
    cursor.execute(
        sql.SQL("INSERT INTO mixture ({}) VALUES ({}) RETURNING mixture_id").format(
            sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(map(sql.Placeholder, values))
        ),
        values,
    )
    (mixture_id,) = cursor.fetchone()
    execute_values(
        cursor,
        "INSERT INTO mixture_snapshot (mixture_id, snapshot_id) VALUES %s",
        [(mixture_id, item) for item in sorted(set(snapshots))],
    )
    execute_values(
        cursor,
        "INSERT INTO mixture_domain (mixture_id, domain, source_samples, source_tokens, source_share, mixture_tokens,"
        " mixture_share, mean_copies) VALUES %s",
        [(mixture_id, *asdict(item).values()) for item in domains],
    )
    _load_rows(cursor, mixture, mixture_id, rows)
    return int(mixture_id)


def _load_rows(cursor: Cursor, mixture: Mixture, mixture_id: int, rows: Iterable[MixtureRows]) -> None:
    name = f"mixture_sample_m{mixture_id}"
    table = sql.Identifier(name)
    create_detached(cursor, "mixture_sample", name)
    loaded = copy_in(cursor, name, _tables(mixture_id, rows))
    if loaded != mixture.samples:
        raise ManifestError(
            f"Mixture {mixture.name!r} version {mixture.version} has {mixture.samples} samples, {loaded} were given."
        )
    cursor.execute(sql.SQL("ALTER TABLE {} ADD PRIMARY KEY (mixture_id, snapshot_id, shard_id, row)").format(table))
    # The constraint, checked in one scan, spares ATTACH its own scan under a lock on the parent.
    check = sql.SQL("ALTER TABLE {} ADD CONSTRAINT partition_bound CHECK (mixture_id = {})")
    cursor.execute(check.format(table, sql.Literal(mixture_id)))
    attach(cursor, "mixture_sample", name, mixture_id)
    cursor.execute(sql.SQL("ALTER TABLE {} DROP CONSTRAINT partition_bound").format(table))
    cursor.execute(sql.SQL("ANALYZE {}").format(table))


def _tables(mixture_id: int, rows: Iterable[MixtureRows]) -> Iterator[pa.Table]:
    for item in rows:
        n = item.row.size
        yield pa.table(
            {
                "row": item.row,
                "weight": item.weight,
                "mixture_id": np.full(n, mixture_id, dtype=np.int32),
                "snapshot_id": np.full(n, item.shard.snapshot_id, dtype=np.int32),
                "shard_id": np.full(n, item.shard.shard_id, dtype=np.int32),
                "copies": item.copies.astype(np.int32, copy=False),
            }
        )


_MIXTURE_COLUMNS = ", ".join(field.name for field in fields(Mixture))


def list_mixtures(cursor: Cursor, name: str | None = None) -> list[Mixture]:
    """The recorded versions of one mixture, or of all, sorted by name and version."""
    cursor.execute(
        f"SELECT {_MIXTURE_COLUMNS} FROM mixture WHERE %(name)s::text IS NULL OR name = %(name)s ORDER BY name, version",  # noqa: S608
        {"name": name},
    )
    return [Mixture(*row) for row in cursor.fetchall()]


def load_mixture(cursor: Cursor, name: str, version: int | None = None) -> tuple[Mixture, list[MixtureDomain]]:
    """One recorded version with its domains sorted by name, the latest if no version is given; ManifestError if there is none."""
    versions = {mixture.version: mixture for mixture in list_mixtures(cursor, name)}
    chosen = versions.get(max(versions, default=0) if version is None else version)
    if chosen is None:
        raise ManifestError(
            f"Mixture {name!r} has no version {version or 'at all'} here.",
            f"Recorded are: {', '.join(map(str, versions)) or 'none'}.",
        )
    cursor.execute(
        """
        SELECT domain, source_samples, source_tokens, source_share, mixture_tokens, mixture_share, mean_copies
        FROM mixture_domain JOIN mixture USING (mixture_id) WHERE name = %s AND version = %s ORDER BY domain
        """,
        (name, chosen.version),
    )
    return chosen, [MixtureDomain(*row) for row in cursor.fetchall()]


@dataclass(frozen=True)
class ProfileCell:
    """The scored documents of one domain in one bin of quality and of diversity; sums are over documents."""

    domain: str
    quality_bin: int
    diversity_bin: int
    documents: int
    source_tokens: int
    mixture_tokens: int
    quality_sum: float
    diversity_sum: float


def mixture_profile(
    cursor: Cursor, name: str, version: int, *, quality_high: float, quality_bins: int, diversity_bins: int
) -> list[ProfileCell]:
    """The cells of a recorded version, sorted: one scan of its snapshots' scores, and as many rows as there are cells.

    Bins are of equal width over quality 0..quality_high and diversity 0..1.
    """
    cursor.execute(
        """
        SELECT
            domain.name,
            least(%(qbins)s - 1, floor(quality_score.quality / %(qhigh)s * %(qbins)s))::int AS quality_bin,
            least(%(dbins)s - 1, floor(cluster.diversity * %(dbins)s))::int AS diversity_bin,
            count(*),
            sum(sample.n_tokens)::bigint,
            coalesce(sum(sample.n_tokens::bigint * mixture_sample.copies), 0)::bigint,
            sum(quality_score.quality::double precision),
            sum(cluster.diversity)
        FROM mixture
        JOIN mixture_snapshot USING (mixture_id)
        JOIN sample ON sample.snapshot_id = mixture_snapshot.snapshot_id
        JOIN domain ON domain.domain_id = sample.domain_id
        JOIN quality_score
            ON quality_score.snapshot_id = sample.snapshot_id
            AND quality_score.quality_model_id = mixture.quality_model_id
            AND quality_score.shard_id = sample.shard_id
            AND quality_score.row = sample.row
        JOIN diversity_score
            ON diversity_score.cluster_model_id = mixture.cluster_model_id
            AND diversity_score.snapshot_id = sample.snapshot_id
            AND diversity_score.shard_id = sample.shard_id
            AND diversity_score.row = sample.row
        JOIN cluster
            ON cluster.cluster_model_id = diversity_score.cluster_model_id
            AND cluster.cluster = diversity_score.cluster
        LEFT JOIN mixture_sample
            ON mixture_sample.mixture_id = mixture.mixture_id
            AND mixture_sample.snapshot_id = sample.snapshot_id
            AND mixture_sample.shard_id = sample.shard_id
            AND mixture_sample.row = sample.row
        WHERE mixture.name = %(name)s AND mixture.version = %(version)s
        GROUP BY 1, 2, 3
        ORDER BY 1, 2, 3
        """,
        {"name": name, "version": version, "qhigh": quality_high, "qbins": quality_bins, "dbins": diversity_bins},
    )
    return [ProfileCell(*row) for row in cursor.fetchall()]
