"""A corpus of a test's own texts, scored and mixed by the real steps."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from samplemix_core.config.run import RunConfig
from samplemix_core.deployment import Deployment
from samplemix_core.frozen import load_config
from samplemix_core.manifest.format import Manifest
from samplemix_core.pipeline.assign import assign_clusters, measure_clusters
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.fit import fit_diversity
from samplemix_core.pipeline.handoff import DraftRef, Registered
from samplemix_core.pipeline.mix import mix
from samplemix_core.pipeline.publish import publish, verify
from samplemix_core.pipeline.register import register
from samplemix_core.pipeline.score import score
from samplemix_core.reading.versions import open_version

Place = tuple[str, int]
"""A shard's path and a row of it."""


def write(root: Path, shards: dict[str, list[str]]) -> None:
    for path, texts in shards.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        rows = [{"text": text, "id": f"{path}/{row}"} for row, text in enumerate(texts)]
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        if path.endswith(".parquet"):
            file = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=3)
            lines = file.getvalue()
        (root / path).write_bytes(gzip.compress(lines) if path.endswith(".gz") else lines)


class Made:
    """A corpus of planted near-duplicates, and mixtures of it."""

    def __init__(self, platform: Deployment, root: Path) -> None:
        self.platform, self.root = platform, root

    def run(self, **settings: Any) -> RunContext:
        values = {
            **{
                "corpus_uri": str(self.root),
                "mixture_name": f"alike-{self.root.parent.name}",
                "policy": "natural",
                "budget": "100%",
            },
            **{"embedding": {"max_seq_tokens": 16}, "diversity": {"gate_min_clusters": 1}, "max_loss": 1.0, **settings},
        }
        return RunContext(load_config(RunConfig, values), self.platform, lambda progress: None)

    def scored(self, **settings: Any) -> Registered:
        run = self.run(**settings)
        registered = register(run)
        score(run, registered)
        return registered

    def drafted(self, registered: Registered, **settings: Any) -> tuple[RunContext, DraftRef]:
        run = self.run(**settings)
        model = fit_diversity(run, registered)
        assign_clusters(run, registered, model)
        measure_clusters(run, registered, model)
        return run, mix(run, registered, model)

    def mixed(self, registered: Registered, **settings: Any) -> tuple[Manifest, dict[Place, Place]]:
        run, draft = self.drafted(registered, **settings)
        published = publish(run, draft)
        verify(run, published)
        found = open_version(self.platform, published.name, published.version)
        with self.platform.transaction() as cursor:
            cursor.execute(
                "SELECT gone.path, near.row, kept.path, kept_row FROM mixture_near_duplicate AS near"
                " JOIN mixture USING (mixture_id)"
                " JOIN shard AS gone ON gone.shard_id = near.shard_id JOIN shard AS kept ON kept.shard_id = kept_shard_id"
                " WHERE name = %s AND version = %s",
                (published.name, published.version),
            )
            gone = {(path, row): (kept, kept_row) for path, row, kept, kept_row in cursor.fetchall()}
        rows = (zip(table["shard"].to_pylist(), table["row"].to_pylist(), strict=True) for table in found.rows())
        taken = {place for part in rows for place in part}
        assert not taken & gone.keys()
        assert set(gone.values()) <= taken or run.config.policy.name != "natural"
        assert found.manifest.counts.left_out.get("near_duplicates", 0) == len(gone)
        return found.manifest, gone
