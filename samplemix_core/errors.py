"""Every exception of SampleMix. Each message says what was wrong, where, and what the user can do about it."""

from typing import ClassVar


class SampleMixError(Exception):
    """Base of all errors a user can meet: `what` went wrong, and the `remedy`.

    `may_pass`: the same call may succeed a little later, so it is worth retrying automatically.
    """

    may_pass: ClassVar[bool] = False

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what} {remedy}".strip())
        self.what = what
        self.remedy = remedy

    def __reduce__(self) -> tuple[type["SampleMixError"], tuple[str, str]]:
        return type(self), (self.what, self.remedy)


class ConfigError(SampleMixError):
    """A setting is missing, malformed, or contradicts another or what is already stored."""


class MissingPackageError(SampleMixError):
    """A package of one of SampleMix's extras is not installed."""


class ServiceError(SampleMixError):
    """An embedded or external service did not start, does not answer, or refused us."""

    may_pass = True


class UnstorableError(SampleMixError):
    """A value that Postgres can't hold: too long for one of its limits, or not text in its encoding. The same value fails again."""


class CorpusError(SampleMixError):
    """The corpus as a whole can't be used: nothing there, or a registered shard changed or vanished."""


class ShardRefusedError(SampleMixError):
    """A shard is refused as a whole, because no row of it can be trusted (a truncated archive, a broken Parquet file).

    Not transient: the same bytes give the same error. The run goes on without the shard, and says so.
    """


class PoisonShardError(SampleMixError):
    """A shard killed the worker that ran it, and did so again when it ran alone."""


class ModelError(SampleMixError):
    """An encoder or quality model can't be loaded or is not the one it claims to be."""


class DiversityHealthError(SampleMixError):
    """Clusters are degenerate: the message says which gate failed and which setting to move."""


class BudgetError(SampleMixError):
    """No copies can meet the token budget; the message states the largest feasible one."""


class CostError(SampleMixError):
    """Asking a language model has reached the limit of cost."""


class ManifestError(SampleMixError):
    """A manifest is missing, malformed, or disagrees with its parts or with the corpus."""


class NewerFormatError(ManifestError):
    """A manifest's format is newer than this SampleMix. Other versions may be fine; this one can't be read here."""


class ObjectStoreError(SampleMixError):
    """An object can't be read or written."""

    may_pass = True


class ObjectAccessError(ObjectStoreError):
    """An object, its bucket, or the right to it is missing."""

    may_pass = False


class PreconditionFailedError(ObjectStoreError):
    """A conditional write lost: the object exists already (if_none_match) or has changed (if_match)."""

    may_pass = False


class QueryError(SampleMixError):
    """An analyst's SQL is wrong, is not allowed, or takes too long."""


class LossError(SampleMixError):
    """More documents were set aside than the run's configuration allows; the message lists the reasons."""


class QualityAuditError(SampleMixError):
    """The quality model for a mixture measures sources, lengths or nothing, by the run's limits."""


class GateError(SampleMixError):
    """A draft that a model learns worse from than is allowed."""


class AccountingError(SampleMixError):
    """Counts do not add up: input documents != scored + quarantined (+ duplicates). Always a defect; nothing is published."""


class CancelledRunError(SampleMixError):
    """The run was cancelled; finished work is kept, and running it again continues from there."""
