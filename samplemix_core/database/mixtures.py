"""Published mixtures: their figures, their domains, the copies of every sample they hold, and a coarse profile of each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from psycopg2 import sql
from psycopg2.extras import Json, execute_values

from samplemix_core.database.benchmarks import save_kept_out
from samplemix_core.database.clusters import diversity_ranks
from samplemix_core.database.connection import HOLD, Cursor, Named, attach, create_detached, one, rows_as, scalar
from samplemix_core.database.copy import copy_in
from samplemix_core.database.quality_models import quality_ranks
from samplemix_core.database.registration import domain_ids
from samplemix_core.database.rollups import add_mixture
from samplemix_core.database.scope import Shard
from samplemix_core.database.selection import LeftOut
from samplemix_core.errors import ManifestError
from samplemix_core.manifest.format import Manifest
from samplemix_core.mixing.rollup import QUALITY_BANDS, MixtureRollup
from samplemix_core.policies.policy import Scale

_OF_MANIFEST = {
    *("name", "version", "parent_version", "content_digest", "seed"),
    *("budget_tokens", "realised_tokens", "samples", "copies"),
}
_OF_COUNTS = {"documents", "scored", "quarantined", "duplicates", "eligible"}
_OF_PHASE = {"name", "budget_tokens", "realised_tokens", "samples", "copies", "held_back"}
_OF_DOMAIN = (
    *("domain", "source_samples", "source_tokens", "source_share"),
    *("mixture_tokens", "mixture_share", "mean_copies"),
)
"""Fields of a manifest's records that are columns of the tables, under the same names."""


@dataclass(frozen=True)
class Provenance:
    """What a recorded version was made from, by database ids, and its manifest's URI and SHA-256."""

    corpus_id: int
    snapshot_ids: tuple[int, ...]
    quality_model_id: int
    encoder_id: int
    cluster_model_id: int
    manifest_uri: str
    manifest_sha256: str
    other_quality_model_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class MixtureRows:
    """A shard's n samples in a mixture: copies (at least 1), and the values they were mixed by, one entry a sample.

    phase_copies: int32 (n, phases), the copies in each phase; None without phases.
    """

    shard: Shard
    row: npt.NDArray[np.int64]
    copies: npt.NDArray[np.int32]
    weight: npt.NDArray[np.float64]
    domain: Sequence[str]
    n_tokens: npt.NDArray[np.int32]
    quality: npt.NDArray[np.float32]
    diversity: npt.NDArray[np.float32]
    cluster: npt.NDArray[np.int32]
    phase_copies: npt.NDArray[np.int32] | None = None


def save_mixture(
    cursor: Cursor,
    manifest: Manifest,
    provenance: Provenance,
    config: dict[str, Any],
    rows: Iterable[MixtureRows],
    rollup: MixtureRollup,
    left_out: Sequence[LeftOut] = (),
    near_duplicates: pa.Table | None = None,
) -> int:
    """Record a published version, in the cursor's transaction; returns its id.

    If it is recorded already, only new other_quality_model_ids and a missing manifest_sha256 are added. The samples are loaded into
    a fresh table that gets its key and is attached at the end. Raises ManifestError if this version is recorded with different
    content or the number of rows isn't the mixture's, and AccountingError if the roll-up does not add up to it.
    """
    cursor.execute(HOLD, (f"mixture/{manifest.name}",))
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
        cursor.execute(
            "UPDATE mixture SET other_quality_model_ids = ARRAY(SELECT DISTINCT unnest(other_quality_model_ids || %s) ORDER BY 1),"
            " manifest_sha256 = coalesce(manifest_sha256, %s) WHERE mixture_id = %s",
            (list(provenance.other_quality_model_ids), provenance.manifest_sha256, found["mixture_id"]),
        )
        return int(found["mixture_id"])
    mixture_id = _insert_version(cursor, manifest, provenance, config)
    domains = domain_ids(cursor, [*(item.domain for item in manifest.domains), *(item.domain for item in left_out)])
    if left_out:
        execute_values(
            cursor,
            "INSERT INTO mixture_left_out (mixture_id, domain_id, rule, documents) VALUES %s",
            [(mixture_id, domains[item.domain], item.rule, item.documents) for item in left_out],
        )
    save_kept_out(cursor, mixture_id, [benchmark.key for benchmark in manifest.decontaminated])
    if near_duplicates is not None:
        numbers = pa.array(np.full(near_duplicates.num_rows, mixture_id, dtype=np.int32))
        copy_in(cursor, "mixture_near_duplicate", near_duplicates.append_column("mixture_id", numbers))
    _load_rows(cursor, manifest, mixture_id, rows, domains)
    # Last, because ANALYZE of the roll-ups' tables blocks that of any other mixture until this transaction ends.
    _load_rollup(cursor, manifest, mixture_id, rollup, domains)
    return mixture_id


def _insert_version(cursor: Cursor, manifest: Manifest, provenance: Provenance, config: dict[str, Any]) -> int:
    """Enter a version, its snapshots and its domains; returns its id."""
    cursor.execute("SELECT tokenizer FROM corpus WHERE corpus_id = %s", (provenance.corpus_id,))
    tokenizer = scalar(cursor)
    values = {
        **manifest.model_dump(include=_OF_MANIFEST),
        **manifest.counts.model_dump(include=_OF_COUNTS),
        **{name: item for name, item in asdict(provenance).items() if name != "snapshot_ids"},
        "other_quality_model_ids": list(provenance.other_quality_model_ids),
        "policy": manifest.policy.name,
        "tokenizer": tokenizer,
        "airflow_run_id": manifest.lineage.airflow_run_id,
        "config": Json(config),
    }
    _insert(cursor, "mixture", values)
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
    for phase in phase_figures(manifest):
        _insert(cursor, "mixture_phase", {**phase, "mixture_id": mixture_id, "parameters": Json(phase["parameters"])})
    return mixture_id


def phase_figures(manifest: Manifest) -> list[dict[str, Any]]:
    """What mixture_phase has of each phase."""
    return [
        {
            "phase": number,
            **phase.model_dump(include=_OF_PHASE),
            "policy": phase.policy.name,
            "parameters": phase.policy.parameters,
            "max_copies": phase.solver.max_copies,
            "kappa": phase.solver.kappa,
        }
        for number, phase in enumerate(manifest.phases, start=1)
    ]


def _insert(cursor: Cursor, table: str, values: Mapping[str, Any]) -> None:
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING mixture_id")
    names, places = (sql.SQL(", ").join(map(kind, values)) for kind in (sql.Identifier, sql.Placeholder))
    cursor.execute(statement.format(sql.Identifier(table), names, places), values)


def recorded_figures(cursor: Cursor, name: str, version: int) -> dict[str, Any]:
    """Return a version's recorded figures under the names of its manifest's fields, its manifest_sha256, and under phases what
    phase_figures() gives.

    manifest_sha256 is None if an earlier release recorded the version.
    """
    columns = sql.SQL(", ").join(map(sql.Identifier, ["mixture_id", *sorted(_OF_MANIFEST | {"manifest_sha256"})]))
    cursor.execute(sql.SQL("SELECT {} FROM mixture WHERE name = %s AND version = %s").format(columns), (name, version))
    found: dict[str, Any] = one(cursor, Named)
    cursor.execute("SELECT * FROM mixture_phase WHERE mixture_id = %s ORDER BY phase", (found.pop("mixture_id"),))
    phases = rows_as(cursor, Named)
    return {**found, "phases": [{name: value for name, value in phase.items() if name != "mixture_id"} for phase in phases]}


def _load_rollup(cursor: Cursor, manifest: Manifest, mixture_id: int, rollup: MixtureRollup, domains: Mapping[str, int]) -> None:
    cursor.execute(
        "SELECT name, snapshot_id FROM mixture_snapshot JOIN snapshot USING (snapshot_id) WHERE mixture_id = %s", (mixture_id,)
    )
    ids = {"domain": domains, "snapshot": dict(cursor.fetchall())}

    def numbered(table: pa.Table) -> pa.Table:
        for name in ids.keys() & set(table.column_names):
            numbers = pa.array([ids[name][value] for value in table[name].to_pylist()], pa.int32())
            table = table.drop_columns(name).append_column(f"{name}_id", numbers)
        return table

    add_mixture(cursor, mixture_id, manifest, numbered(rollup.cells), numbered(rollup.copy_counts))


def _load_rows(
    cursor: Cursor, manifest: Manifest, mixture_id: int, rows: Iterable[MixtureRows], domains: Mapping[str, int]
) -> None:
    name = f"mixture_sample_m{mixture_id}"
    table = sql.Identifier(name)
    create_detached(cursor, "mixture_sample", name)
    loaded = copy_in(cursor, name, _tables(mixture_id, rows, domains))
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


def _tables(mixture_id: int, rows: Iterable[MixtureRows], domains: Mapping[str, int]) -> Iterator[pa.Table]:
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
                "domain_id": pa.array([domains[name] for name in item.domain], pa.int32()),
                "n_tokens": item.n_tokens,
                "quality": item.quality,
                "diversity": item.diversity,
                "cluster": item.cluster,
                **({} if item.phase_copies is None else {"phase_copies": _lists(item.phase_copies)}),
            }
        )


def _lists(rows: npt.NDArray[np.int32]) -> pa.Array:
    """The rows of an array (n, m) as lists."""
    n, m = rows.shape
    return pa.ListArray.from_arrays(np.arange(0, n * m + 1, m, dtype=np.int32), rows.ravel())


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


def mixture_profile(cursor: Cursor, name: str, version: int, *, quality_bins: int, diversity_bins: int) -> list[ProfileCell]:
    """Return a recorded version's cells, sorted, from its roll-up: over the documents it chose from, without exact duplicates.

    Bins have equal width over the range of quality and over diversity 0..1; quality_bins must divide QUALITY_BANDS.
    """
    cursor.execute(
        """
        SELECT domain, quality_band * %(qbins)s / %(bands)s AS quality_bin,
               least(%(dbins)s - 1, floor(diversity * %(dbins)s))::int AS diversity_bin, sum(documents)::bigint AS documents,
               sum(tokens)::bigint AS source_tokens, sum(mixture_tokens)::bigint AS mixture_tokens,
               sum(quality_sum) AS quality_sum, sum(diversity * documents) AS diversity_sum
        FROM mixture_rollups
        WHERE mixture = %(name)s AND version = %(version)s
        GROUP BY 1, 2, 3
        ORDER BY 1, 2, 3
        """,
        {"name": name, "version": version, "bands": QUALITY_BANDS, "qbins": quality_bins, "dbins": diversity_bins},
    )
    return rows_as(cursor, ProfileCell)


def quality_range(cursor: Cursor, name: str, version: int) -> tuple[float, float]:
    """Return the range of the quality model that a recorded version was made with; 0 to 10 if the version is not recorded."""
    cursor.execute(
        "SELECT q_low, q_high FROM mixture JOIN quality_model USING (quality_model_id) WHERE mixture.name = %s AND version = %s",
        (name, version),
    )
    return next(((float(low), float(high)) for low, high in cursor.fetchall()), (0.0, 10.0))


def diversity_bounds(cursor: Cursor, mixture_id: int) -> tuple[float, float]:
    """The raw diversities, compactness * separation, that a mixture's diversity was scaled with."""
    cursor.execute(
        "SELECT diversity_low, diversity_high FROM mixture JOIN cluster_model USING (cluster_model_id) WHERE mixture_id = %s",
        (mixture_id,),
    )
    ((low, high),) = cursor.fetchall()
    return low, high


def cluster_diversity(cursor: Cursor, mixture_id: int) -> dict[int, float]:
    """Diversity of the clusters of a mixture's model by themselves, as its first fit has them."""
    cursor.execute(
        "SELECT cluster, diversity FROM cluster JOIN mixture USING (cluster_model_id) WHERE mixture_id = %s", (mixture_id,)
    )
    return dict(cursor.fetchall())


def mixture_scale(cursor: Cursor, mixture_id: int) -> Scale:
    """How quality and diversity became 0..1 in a mixture."""
    cursor.execute(
        "SELECT q_low, q_high, corpus_id, quality_model_id, cluster_model_id, config ->> 'normalise'"
        " FROM mixture JOIN quality_model USING (quality_model_id) WHERE mixture_id = %s",
        (mixture_id,),
    )
    ((low, high, corpus_id, quality_model_id, cluster_model_id, normalise),) = cursor.fetchall()
    if normalise != "ranks":
        return Scale(low, high)
    quality = quality_ranks(cursor, corpus_id, quality_model_id)
    return Scale(low, high, quality, diversity_ranks(cursor, cluster_model_id))
