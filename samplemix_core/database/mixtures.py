"""Published mixtures: their figures, their domains, the copies of every sample they hold, and how they look from afar."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from psycopg2 import sql
from psycopg2.extras import Json, execute_values

from samplemix_core.database.connection import Cursor, Named, attach, create_detached, rows_as, scalar
from samplemix_core.database.copy import copy_in
from samplemix_core.database.scope import Shard
from samplemix_core.errors import ManifestError
from samplemix_core.manifest.format import Manifest

_OF_MANIFEST = {
    *("name", "version", "parent_version", "content_digest", "seed"),
    *("budget_tokens", "realised_tokens", "samples", "copies"),
}
_OF_COUNTS = {"documents", "scored", "quarantined", "duplicates", "eligible"}
_OF_DOMAIN = (
    *("domain", "source_samples", "source_tokens", "source_share"),
    *("mixture_tokens", "mixture_share", "mean_copies"),
)
"""Fields of a manifest's records that are columns of the tables, under the same names."""


@dataclass(frozen=True)
class Provenance:
    """What a recorded version came from, by the database's own ids, and where its manifest lies."""

    corpus_id: int
    snapshot_ids: tuple[int, ...]
    quality_model_id: int
    encoder_id: int
    cluster_model_id: int
    manifest_uri: str


@dataclass(frozen=True)
class MixtureRows:
    """The samples of one shard that a mixture holds: row, copies (at least 1) and weight, one entry a sample."""

    shard: Shard
    row: npt.NDArray[np.int64]
    copies: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float64]


def save_mixture(
    cursor: Cursor, manifest: Manifest, provenance: Provenance, config: dict[str, Any], rows: Iterable[MixtureRows]
) -> int:
    """Record a published version, in the cursor's transaction; returns its id. Doing it again changes nothing.

    The samples are loaded into a fresh table that gets its key and is attached at the end. Raises ManifestError if this
    version is recorded with another content, and if the rows are not as many as the mixture says.
    """
    cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"mixture/{manifest.name}",))
    cursor.execute(
        "SELECT mixture_id, content_digest FROM mixture WHERE name = %s AND version = %s", (manifest.name, manifest.version)
    )
    for found in rows_as(cursor, Named):
        if found["content_digest"] != manifest.content_digest:
            raise ManifestError(
                f"Version {manifest.version} of mixture {manifest.name!r} is recorded with another digest,"
                f" {found['content_digest']}.",
                "A published version never changes: publish this content as a new version.",
            )
        return int(found["mixture_id"])
    cursor.execute("SELECT tokenizer FROM corpus WHERE corpus_id = %s", (provenance.corpus_id,))
    tokenizer = scalar(cursor)
    values = {
        **manifest.model_dump(include=_OF_MANIFEST),
        **manifest.counts.model_dump(include=_OF_COUNTS),
        **{name: item for name, item in asdict(provenance).items() if name != "snapshot_ids"},
        "policy": manifest.policy.name,
        "tokenizer": tokenizer,
        "airflow_run_id": manifest.lineage.airflow_run_id,
        "config": Json(config),
    }
    cursor.execute(
        sql.SQL("INSERT INTO mixture ({}) VALUES ({}) RETURNING mixture_id").format(
            sql.SQL(", ").join(map(sql.Identifier, values)), sql.SQL(", ").join(map(sql.Placeholder, values))
        ),
        values,
    )
    mixture_id = int(scalar(cursor))
    execute_values(
        cursor,
        "INSERT INTO mixture_snapshot (mixture_id, snapshot_id) VALUES %s",
        [(mixture_id, item) for item in sorted(set(provenance.snapshot_ids))],
    )
    execute_values(
        cursor,
        sql.SQL("INSERT INTO mixture_domain (mixture_id, {}) VALUES %s").format(
            sql.SQL(", ").join(map(sql.Identifier, _OF_DOMAIN))
        ),
        [(mixture_id, *(getattr(item, name) for name in _OF_DOMAIN)) for item in manifest.domains],
    )
    _load_rows(cursor, manifest, mixture_id, rows)
    return mixture_id


def _load_rows(cursor: Cursor, manifest: Manifest, mixture_id: int, rows: Iterable[MixtureRows]) -> None:
    name = f"mixture_sample_m{mixture_id}"
    table = sql.Identifier(name)
    create_detached(cursor, "mixture_sample", name)
    loaded = copy_in(cursor, name, _tables(mixture_id, rows))
    if loaded != manifest.samples:
        raise ManifestError(
            f"Mixture {manifest.name!r} version {manifest.version} has {manifest.samples} samples, {loaded} were given."
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
            domain.name AS domain,
            least(%(qbins)s - 1, floor(quality_score.quality / %(qhigh)s * %(qbins)s))::int AS quality_bin,
            least(%(dbins)s - 1, floor(cluster.diversity * %(dbins)s))::int AS diversity_bin,
            count(*) AS documents,
            sum(sample.n_tokens)::bigint AS source_tokens,
            coalesce(sum(sample.n_tokens::bigint * mixture_sample.copies), 0)::bigint AS mixture_tokens,
            sum(quality_score.quality::double precision) AS quality_sum,
            sum(cluster.diversity) AS diversity_sum
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
    return rows_as(cursor, ProfileCell)
