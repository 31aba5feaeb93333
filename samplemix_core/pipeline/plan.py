"""Plan mixtures over the scores of a published one: solved in full and described side by side. Nothing is written."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplemix_core.config.run import RunConfig
from samplemix_core.database import ledger
from samplemix_core.database.connection import Cursor, Named, repeatable_read, rows_as, scalar
from samplemix_core.database.embeddings import files_by_path
from samplemix_core.database.quality_models import QualityModel, find_quality_model, quality_models
from samplemix_core.database.scope import Scope, ScoreVersion
from samplemix_core.database.targets import PREFIX
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, ManifestError, SampleMixError
from samplemix_core.frozen import split_unknown
from samplemix_core.manifest.catalogue import Version
from samplemix_core.mixing.plan import COLUMNS, Plan, planned
from samplemix_core.mixing.shard_samples import UInt16Array
from samplemix_core.mixing.source import Source
from samplemix_core.pipeline.read import read_scale, read_source
from samplemix_core.pipeline.semantic import compare_meanings
from samplemix_core.pipeline.solve import budget_tokens, solve
from samplemix_core.policies.policy import Scale

CURRENT = "current"
"""How the published version is called beside the plans."""


@dataclass(frozen=True)
class Outcome:
    """A plan by its name; or why there can't be such a mixture."""

    name: str
    plan: Plan | None
    error: str | None = None


@dataclass(frozen=True)
class _Known:
    """What a recorded version was made from."""

    corpus_id: int
    model: QualityModel
    encoder_id: int
    cluster_model_id: int
    snapshot_ids: tuple[int, ...]
    held_out: tuple[str, ...]


def plan(deployment: Deployment, version: Version, own: RunConfig, configs: Mapping[str, RunConfig]) -> Iterator[Outcome]:
    """Yield the version as it is, as CURRENT, and then each configuration as a mixture of the same snapshots.

    `own` is the version's configuration. Scores are read once for all configurations with the same first scorer, seed and selection
    of documents. Raises ManifestError if Postgres doesn't know the version.
    """
    with deployment.transaction() as cursor:
        known = _known(cursor, version)
    with deployment.scratch() as directory:
        kept: tuple[object, Source, Scale] | None = None
        for number, (name, config) in enumerate({CURRENT: own, **configs}.items()):
            try:
                _require_same(own, config)
                key = (
                    config.scorers[0],
                    config.seed,
                    config.constraints.exclude,
                    config.constraints.include,
                    config.normalise,
                    config.decontaminate,
                    config.near_duplicates,
                )
                if kept is None or kept[0] != key:
                    # One at a time: a source takes as much memory as the mixture of it.
                    kept = None
                    kept = (key, *_read(deployment, known, own, config, directory))
                _, source, scale = kept
                if number and source.closest is None and any(policy.reads_closest for policy in config.policies):
                    _compare_meanings(deployment, known, source, directory)
                current = source.copies_in(version.rows()), version.manifest.realised_tokens
                if number == 0:
                    yield Outcome(CURRENT, planned(source, current[0], version.manifest.budget_tokens, *current))
                else:
                    yield Outcome(name, _solved(source, scale, config, *current))
                del source, scale
            except SampleMixError as error:
                yield Outcome(name, None, str(error))


def _require_same(own: RunConfig, config: RunConfig) -> None:
    """Raise ConfigError for settings that need other scores than the version's."""
    names = ("corpus_uri", "snapshots", "tokenizer", "reader", "embedding", "diversity")
    if different := [name for name in names if getattr(own, name) != getattr(config, name)]:
        raise ConfigError(
            f"With other {', '.join(different)} than the version's, the scores would be others.",
            "Leave them out, or plan over a version that was made with them.",
        )


def recorded_config(deployment: Deployment, version: Version) -> dict[str, Any]:
    """The settings of a recorded version's run, as JSON values. Raises ManifestError if Postgres doesn't know it."""
    with deployment.transaction() as cursor:
        cursor.execute(
            "SELECT config FROM mixture WHERE name = %s AND version = %s", (version.manifest.name, version.manifest.version)
        )
        found = cursor.fetchone()
    if found is None:
        raise _unknown(version)
    known, _ = split_unknown(RunConfig, found[0])
    # Versions that are older than the setting have their near-duplicates.
    return {"near_duplicates": {"drop": False}, **known}


def _unknown(version: Version) -> ManifestError:
    return ManifestError(
        f"Postgres doesn't know {version.manifest.name} version {version.manifest.version}, so there are no scores to plan with.",
        "Plan where the version was made, or mix here first.",
    )


def _solved(source: Source, scale: Scale, config: RunConfig, current: UInt16Array, current_tokens: int) -> Plan:
    numbers = source.uniform.copy()
    try:
        budget = budget_tokens(config, source, scale)
        return planned(source, solve(config, source, scale, budget).copies, budget, current, current_tokens)
    finally:
        source.uniform[:] = numbers


def _known(cursor: Cursor, version: Version) -> _Known:
    manifest = version.manifest
    cursor.execute(
        "SELECT corpus_id, quality_model_id, encoder_id, cluster_model_id,"
        " ARRAY(SELECT snapshot_id FROM mixture_snapshot AS held WHERE held.mixture_id = mixture.mixture_id ORDER BY 1) AS found"
        " FROM mixture WHERE name = %s AND version = %s",
        (manifest.name, manifest.version),
    )
    found = next(iter(rows_as(cursor, Named)), None)
    if found is None:
        raise _unknown(version)
    model_id = found["quality_model_id"]
    return _Known(
        found["corpus_id"],
        quality_models(cursor, ids=[model_id])[model_id],
        found["encoder_id"],
        found["cluster_model_id"],
        tuple(found["found"]),
        tuple(f"{each.name}@{each.key}" for each in manifest.decontaminated if each.name.startswith(PREFIX)),
    )


def _compare_meanings(deployment: Deployment, known: _Known, source: Source, directory: Path) -> None:
    with deployment.transaction() as cursor:
        cursor.execute("SELECT encoder_key FROM encoder WHERE encoder_id = %s", (known.encoder_id,))
        encoder_key = str(scalar(cursor))
        version = ScoreVersion(known.encoder_id, known.model.quality_model_id)
        states = ledger.shard_states(cursor, Scope(known.snapshot_ids, version, 2**31 - 1))
        embeddings = files_by_path(cursor, version, states)
    silent = threading.Event()
    compare_meanings(deployment, "plan", source, encoder_key, embeddings, directory, silent, lambda done, parts: None)


def _read(deployment: Deployment, known: _Known, own: RunConfig, config: RunConfig, directory: Path) -> tuple[Source, Scale]:
    with deployment.transaction() as cursor:
        repeatable_read(cursor)
        name = config.scorers[0]
        model = known.model if name == own.scorers[0] else find_quality_model(cursor, name)
        scope = Scope(known.snapshot_ids, ScoreVersion(known.encoder_id, model.quality_model_id), 2**31 - 1)
        states = ledger.shard_states(cursor, scope)
        labels = {*COLUMNS, *config.columns}
        out, silent = known.held_out, threading.Event()
        found = read_source(cursor, deployment, config, scope, known.cluster_model_id, states, labels, out, silent, directory)
        scale = read_scale(cursor, config, known.corpus_id, model, known.cluster_model_id, found)
    return found.source, scale
