"""Plan mixtures over the scores of a published one: solved in full and described side by side. Nothing is written."""

import threading
from collections.abc import Iterator, Mapping, Sequence
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
from samplemix_core.pipeline.handoff import ClusterModelRef, Registered
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
class Known:
    """What a version or a draft was made from."""

    corpus_id: int
    model: QualityModel
    encoder_id: int
    cluster_model_id: int
    snapshot_ids: tuple[int, ...]
    last_shard_id: int = 2**31 - 1

    @classmethod
    def of_run(cls, cursor: Cursor, registered: Registered, cluster_model: ClusterModelRef) -> "Known":
        """Of a run's draft."""
        model_id = registered.quality_model_id
        model = quality_models(cursor, ids=[model_id])[model_id]
        of = (registered.encoder_id, cluster_model.cluster_model_id, registered.snapshot_ids, registered.last_shard_id)
        return cls(registered.corpus_id, model, *of)

    @classmethod
    def of_version(cls, cursor: Cursor, version: Version) -> "Known":
        """Of a version. Raises ManifestError if Postgres doesn't know it."""
        manifest = version.manifest
        cursor.execute(
            "SELECT corpus_id, quality_model_id, encoder_id, cluster_model_id,"
            " ARRAY(SELECT snapshot_id FROM mixture_snapshot AS held WHERE held.mixture_id = mixture.mixture_id ORDER BY 1)"
            " AS found FROM mixture WHERE name = %s AND version = %s",
            (manifest.name, manifest.version),
        )
        found = next(iter(rows_as(cursor, Named)), None)
        if found is None:
            raise _unknown(version)
        model_id = found["quality_model_id"]
        model = quality_models(cursor, ids=[model_id])[model_id]
        return cls(found["corpus_id"], model, found["encoder_id"], found["cluster_model_id"], tuple(found["found"]))

    def scope(self, model: QualityModel) -> Scope:
        """Its snapshots as a quality model scored them."""
        return Scope(self.snapshot_ids, ScoreVersion(self.encoder_id, model.quality_model_id), self.last_shard_id)


def plan(deployment: Deployment, version: Version, own: RunConfig, configs: Mapping[str, RunConfig]) -> Iterator[Outcome]:
    """Yield the version as it is, as CURRENT, and then each configuration as a mixture of the same snapshots.

    `own` is the version's configuration. Scores are read once for all configurations with the same first scorer, seed and selection
    of documents. Raises ManifestError if Postgres doesn't know the version.
    """
    with deployment.scratch() as directory:
        with deployment.transaction() as cursor:
            known = Known.of_version(cursor, version)
        kept_out = [f"{each.name}@{each.key}" for each in version.manifest.decontaminated if each.name.startswith(PREFIX)]
        scored = Scored(deployment, known, own, directory, kept_out)
        for number, (name, config) in enumerate({CURRENT: own, **configs}.items()):
            try:
                source, scale = scored.source(config, solving=number > 0)
                current = source.copies_in(version.rows()), version.manifest.realised_tokens
                if number == 0:
                    yield Outcome(CURRENT, planned(source, current[0], version.manifest.budget_tokens, *current))
                else:
                    yield Outcome(name, _solved(source, scale, config, *current))
                del source, scale
            except SampleMixError as error:
                yield Outcome(name, None, str(error))


class Scored:
    """The scores that a version or a draft was made from, as the source of other mixtures over its snapshots.

    They are read again only for configurations with another first scorer, seed or selection of documents. `own` is its
    configuration. `held_out` are benchmarks that are kept out besides a configuration's own. The directory takes the columns of a
    large source.
    """

    def __init__(
        self,
        deployment: Deployment,
        known: Known,
        own: RunConfig,
        directory: Path,
        held_out: Sequence[str],
        cancelled: threading.Event | None = None,
    ) -> None:
        """Nothing is read yet."""
        self._deployment, self._known, self._own, self._directory = deployment, known, own, directory
        self._cancelled = cancelled or threading.Event()
        self._held_out = held_out
        self._read: tuple[object, Source, Scale] | None = None

    @property
    def scope(self) -> Scope:
        """The snapshots and models."""
        return self._known.scope(self._known.model)

    @property
    def corpus_id(self) -> int:
        """The corpus."""
        return self._known.corpus_id

    def source(self, config: RunConfig, *, solving: bool = True) -> tuple[Source, Scale]:
        """The source of a mixture, and how its scores become 0..1. The last one's is given up, or the same one again.

        It has all that the policy reads if the mixture is to be solved.

        Raises ConfigError for settings that need other scores than the version's.
        """
        _require_same(self._own, config)
        key = (
            config.scorers[0],
            config.seed,
            config.constraints.exclude,
            config.constraints.include,
            config.normalise,
            config.decontaminate,
            config.near_duplicates,
        )
        if self._read is None or self._read[0] != key:
            # One at a time: a source takes as much memory as the mixture of it.
            self._read = None
            own = (self._known, self._own, config, self._held_out, self._directory, self._cancelled)
            self._read = (key, *_read(self._deployment, *own))
        _, source, scale = self._read
        if solving and source.closest is None and any(policy.reads_closest for policy in config.policies):
            _compare_meanings(self._deployment, self._known, source, self._directory, self._cancelled)
        return source, scale


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


def _compare_meanings(deployment: Deployment, known: Known, source: Source, directory: Path, cancelled: threading.Event) -> None:
    with deployment.transaction() as cursor:
        cursor.execute("SELECT encoder_key FROM encoder WHERE encoder_id = %s", (known.encoder_id,))
        encoder_key = str(scalar(cursor))
        scope = known.scope(known.model)
        embeddings = files_by_path(cursor, scope.version, ledger.shard_states(cursor, scope))
    compare_meanings(deployment, "plan", source, encoder_key, embeddings, directory, cancelled, lambda done, parts: None)


def _read(
    deployment: Deployment,
    known: Known,
    own: RunConfig,
    config: RunConfig,
    held_out: Sequence[str],
    directory: Path,
    cancelled: threading.Event,
) -> tuple[Source, Scale]:
    with deployment.transaction() as cursor:
        repeatable_read(cursor)
        name = config.scorers[0]
        model = known.model if name == own.scorers[0] else find_quality_model(cursor, name)
        scope = known.scope(model)
        states = ledger.shard_states(cursor, scope)
        labels = {*COLUMNS, *config.columns}
        found = read_source(
            cursor, deployment, config, scope, known.cluster_model_id, states, labels, held_out, cancelled, directory
        )
        scale = read_scale(cursor, config, known.corpus_id, model, known.cluster_model_id, found)
    return found.source, scale
