"""A mixture seen from afar: its source and its copies by domain, quality and diversity, counted in the database."""

from dataclasses import dataclass

from samplemix_core.store.postgres import Cursor


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
