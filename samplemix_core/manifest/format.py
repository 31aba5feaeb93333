"""The manifest's format, versions 1 and 2: its records, its columns, its JSON schema (docs/manifest.schema.json).

A version of a mixture with phases has format version 2, which an earlier SampleMix refuses: it would read all phases as one.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

import pyarrow as pa
from pydantic import AfterValidator, AwareDatetime, Field, PlainSerializer, ValidationError

import samplemix_core
from samplemix_core.config.constraints import ConstraintsConfig, NearDuplicatesConfig
from samplemix_core.config.reader import ReaderConfig
from samplemix_core.errors import ManifestError, NewerFormatError
from samplemix_core.frozen import FrozenModel, split_unknown
from samplemix_core.identity import canonical_json

FORMAT_VERSION = 2
"""The newest that is read and written."""

SHA256 = r"^[0-9a-f]{64}$"

ShardEntry = tuple[str, str, int]
"""A shard as listed: path relative to the corpus root, etag, size in bytes."""


class Column(NamedTuple):
    """A column of a mixture's parts: its types in Arrow and in Croissant, its meaning, and whether its values repeat much."""

    name: str
    type: pa.DataType
    croissant: str
    meaning: str
    repeats: bool


_NAME = pa.dictionary(pa.int32(), pa.string())

COLUMNS = (
    Column("snapshot", _NAME, "sc:Text", "snapshot (crawl) of the corpus", True),
    Column("shard", _NAME, "sc:Text", "path of the shard below the corpus root, snapshot included", True),
    Column(
        "row",
        pa.int64(),
        "sc:Integer",
        "0-based index of the record in its shard: the line of JSON lines, the row of Parquet",
        False,
    ),
    Column(
        "sample_key",
        pa.binary(16),
        "sc:Text",
        "128-bit hash of snapshot, shard and row: the sample's identity everywhere",
        False,
    ),
    Column("domain", _NAME, "sc:Text", "domain of the sample", True),
    Column("n_tokens", pa.int32(), "sc:Integer", "tokens of the whole text, by the manifest's tokenizer", True),
    Column("copies", pa.int32(), "sc:Integer", "how often the sample is to be seen; at least 1", True),
    Column("weight", pa.float64(), "sc:Float", "what the policy gave it", False),
    Column("quality", pa.float32(), "sc:Float", "quality, on the scale of the lineage's quality model", False),
    Column("diversity", pa.float32(), "sc:Float", "diversity, 0 to 1", True),
    Column("cluster", pa.int32(), "sc:Integer", "cluster of the lineage's cluster model", True),
)
"""Every column, in order: the Arrow schema, the Parquet encoding, Croissant and the table in docs/manifest.md are made from it."""


PHASE_PREFIX = "copies_"


def copies_in(phase: str) -> str:
    """The name of the column with a sample's copies in a phase."""
    return PHASE_PREFIX + phase


def _phase_column(phase: str) -> Column:
    """The column with a sample's copies in a phase; those of all phases add up to `copies`."""
    return Column(copies_in(phase), pa.int32(), "sc:Integer", f"how often the sample is to be seen in the phase {phase}", True)


def columns(phases: Iterable[str] = ()) -> tuple[Column, ...]:
    """The columns of a mixture with these phases, in order."""
    return (*COLUMNS, *map(_phase_column, phases))


def part_schema(phases: Iterable[str] = ()) -> pa.Schema:
    """The rows of a mixture with these phases: MIXTURE_PART, and a column for each."""
    return pa.schema([pa.field(column.name, column.type, nullable=False) for column in columns(phases)])


MIXTURE_PART = part_schema()
"""pipeline -> manifest -> training jobs: the rows of a mixture. Sorted by shard, row; copies >= 1."""


def columns_table() -> str:
    """The columns as a table in Markdown, as in docs/manifest.md."""
    words = {_NAME: "string, dictionary", pa.binary(16): "16 bytes"}
    wire = {pa.float32(): "float32", pa.float64(): "float64"}
    rows = [f"| `{item.name}` | {words.get(item.type) or wire.get(item.type) or item.type} | {item.meaning} |" for item in COLUMNS]
    return "\n".join(["| column | type | meaning |", "|---|---|---|", *rows]) + "\n"


class ReplacedFile(FrozenModel):
    """An earlier file of a shard, which the mixture's file has replaced."""

    path: str
    etag: str
    size_bytes: int = Field(ge=0)


class SnapshotLineage(FrozenModel):
    """One snapshot of the corpus, as it was listed."""

    name: str
    shards: int = Field(ge=0, description="Shards of the snapshot")
    shards_digest: str = Field(pattern=SHA256, description="SHA-256 of the lines 'path etag size' of its shards, sorted by path")
    replaced: tuple[ReplacedFile, ...] = Field(
        (), description="Files that corrected ones of the same name replaced before this version"
    )


class GainRecord(FrozenModel):
    """How many times fewer tokens a model needs of the mixture than of every document alike, for the same loss on a target."""

    target: str
    view: str = Field(description="How the target's groups are weighed: all, like the source, or their mean")
    steps: float = Field(gt=0, description="Above 1, it learns faster")
    error: float | None = Field(description="Standard error over draws; null with one draw")


class EvaluationRecord(FrozenModel):
    """An evaluation that a mixture had to pass."""

    key: str = Field(description="Identity: of the method, the vocabulary, the targets, the tokens and the mixture's content")
    method: str
    tokens: int = Field(ge=1, description="Read of the mixture in each draw, at most")
    draws: int = Field(ge=1)
    most_worse: float = Field(ge=0, lt=1, description="Most that it might be worse on any target, as a share of the steps")
    gains: tuple[GainRecord, ...]


def _is_absent(value: object) -> bool:
    return value is None


class Lineage(FrozenModel):
    """Everything that decided the mixture's content, by identity."""

    corpus: str = Field(description="Identity of the corpus: its URI, reader settings and tokenizer")
    snapshots: tuple[SnapshotLineage, ...]
    quality_model: str
    encoder: str
    cluster_model: str
    code_version: str = Field(description="Version of SampleMix")
    config_fingerprint: str = Field(description="Identity of the run's configuration")
    airflow_run_id: str | None = Field(None, description="Airflow run that published it; null from the command line")
    evaluation: EvaluationRecord | None = Field(
        None, exclude_if=_is_absent, description="What it had to show before it was published; absent where nothing was required"
    )


def shards_digest(shards: Iterable[ShardEntry]) -> str:
    """SHA-256 (hex) of the UTF-8 lines 'path etag size', each ended by a newline, sorted by path: any order gives the same."""
    digest = hashlib.sha256()
    for path, etag, size in sorted(shards):
        digest.update(f"{path} {etag} {size}\n".encode())
    return digest.hexdigest()


class DomainShare(FrozenModel):
    """One domain's part of the source and of the mixture. Shares are of tokens and add up to 1 over the domains."""

    domain: str
    source_samples: int = Field(ge=0, description="Eligible samples of the domain")
    source_tokens: int = Field(ge=0, description="Their tokens, each sample once")
    source_share: float = Field(ge=0, le=1, description="Of all eligible tokens")
    samples: int = Field(ge=0, description="Samples in the mixture: those with a copy or more")
    copies: int = Field(ge=0, description="Their copies")
    mixture_tokens: int = Field(ge=0, description="Tokens of all copies")
    mixture_share: float = Field(ge=0, le=1, description="Of the mixture's tokens")
    mean_copies: float = Field(ge=0, description="Copies over eligible samples")


def domain_shares(
    names: Sequence[str],
    *,
    source_samples: Sequence[int],
    source_tokens: Sequence[int],
    samples: Sequence[int],
    copies: Sequence[int],
    mixture_tokens: Sequence[int],
) -> tuple[DomainShare, ...]:
    """Return the domains' records from their sums, each with one entry per domain; sorted by name, without empty domains."""
    source_total, mixture_total = max(1, sum(source_tokens)), max(1, sum(mixture_tokens))
    rows = zip(names, source_samples, source_tokens, samples, copies, mixture_tokens, strict=True)
    return tuple(
        DomainShare(
            domain=name,
            source_samples=documents,
            source_tokens=before,
            source_share=before / source_total,
            samples=chosen,
            copies=copied,
            mixture_tokens=after,
            mixture_share=after / mixture_total,
            mean_copies=copied / documents,
        )
        for name, documents, before, chosen, copied, after in sorted(rows)
        if documents
    )


class TokenizerRecord(FrozenModel):
    """The tokenizer that counts tokens: its name, and the identity that is part of the corpus's identity."""

    name: str
    id: str


class PolicyRecord(FrozenModel):
    """The policy that gave the weights."""

    name: str
    parameters: dict[str, Any]

    def __str__(self) -> str:
        ranks = [name for name in ("q_ranks", "d_ranks") if name in self.parameters]
        own = {name: value for name, value in self.parameters.items() if name not in ranks}
        return f"{self.name} {own}{', by ranks' if ranks else ''}"


def _is_empty(value: tuple[Any, ...]) -> bool:
    return not value


class CellRecord(FrozenModel):
    """Samples that stand in one line, where shares must hold: their own kappa, and the tokens they were to have and have."""

    of: dict[str, str] = Field(description="What they have in common, by column, such as their domain")
    kappa: float = Field(ge=0)
    target_tokens: int = Field(ge=0)
    realised_tokens: int = Field(ge=0)


class SolverRecord(FrozenModel):
    """How the copies met the budget: copies = min(max_copies, floor(kappa * weight + u)), unless a sample was passed over.

    u is the sample's own number in [0, 1); it is 0 for policies that take samples in the order of their weights.
    """

    max_copies: int = Field(ge=1)
    max_share: float = Field(
        1.0,
        gt=0,
        le=1,
        exclude_if=lambda share: share == 1,
        description="Most of the budget that the copies of one sample may come to, as a share; 1 sets no limit",
    )
    kappa: float = Field(gt=0)
    next_tokens: int = Field(
        ge=0, description="Tokens of the next copy in line, which did not fit: the budget is missed by less; 0 if there is none"
    )
    passed_over: int = Field(
        0,
        ge=0,
        exclude_if=lambda samples: samples == 0,
        description="Samples with fewer copies than kappa gives, as one more was longer than what was left of the budget",
    )
    cells: tuple[CellRecord, ...] = Field(
        (), exclude_if=_is_empty, description="Where shares must hold, each group's own kappa; that of all is then 1"
    )


class PhaseRecord(FrozenModel):
    """A phase of a mixture: what gave its copies, and what they come to. The column copies_<name> has them for each sample."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    policy: PolicyRecord
    solver: SolverRecord
    held_back: int = Field(ge=0, description="Samples with fewer copies than it wants, because earlier phases had spent them")
    budget_tokens: int = Field(ge=1, description="Its share of the budget, and what earlier phases left of theirs")
    realised_tokens: int = Field(ge=1)
    samples: int = Field(ge=1, description="Samples with a copy or more in it")
    copies: int = Field(ge=1)


class Counts(FrozenModel):
    """Where every document went: documents = scored + quarantined + duplicates, scored = eligible + left_out."""

    documents: int = Field(ge=0, description="Documents read")
    scored: int = Field(ge=0, description="Documents with scores, duplicates apart")
    quarantined: int = Field(ge=0, description="Records that could not be read as documents")
    duplicates: int = Field(ge=0, description="Exact duplicates of a document that is kept")
    eligible: int = Field(ge=0, description="Scored documents that the policy could choose from")
    left_out: dict[str, Annotated[int, Field(ge=0)]] = Field(
        default_factory=dict,
        exclude_if=lambda rules: not rules,
        description="Scored documents that were left out, by the first rule that did, such as exclude.hosts or near_duplicates;"
        " absent if there are none",
    )
    refused_shards: int = Field(0, ge=0, description="Shards left out as a whole, whose documents nobody could count")


class BenchmarkRecord(FrozenModel):
    """A benchmark that was kept out: documents that hold something of it were left out."""

    name: str
    key: str = Field(description="Identity: of its texts, and of how they were looked for")
    parts: int = Field(ge=1, description="Questions, answers and passages that were looked for")


class PartFile(FrozenModel):
    """One Parquet file of the mixture."""

    path: str = Field(pattern=r"^part-\d{5,}\.parquet$", description="Name, relative to the manifest's directory")
    rows: int = Field(ge=1)
    tokens: int = Field(ge=0, description="Tokens of all copies of its rows: sum of copies * n_tokens")
    sha256: str = Field(pattern=SHA256)


SOURCES: Literal["sources.parquet"] = "sources.parquet"


class SourcesFile(FrozenModel):
    """The file that says which shards the corpus had: every shard of the snapshots, with its etag and size."""

    path: Literal["sources.parquet"] = SOURCES
    rows: int = Field(ge=1, description="Shards")
    sha256: str = Field(pattern=SHA256)


class ManifestDraft(FrozenModel):
    """A mixture's facts before it has a version."""

    name: str = Field(min_length=1, pattern=r"^[^/]+$")
    corpus_root: str = Field(description="URI below which the shards' paths lie")
    seed: int = Field(ge=0)
    policy: PolicyRecord
    solver: SolverRecord
    tokenizer: TokenizerRecord | None = Field(
        None, description="Whose tokens all counts are in; null where the version is older than the field: then the encoder's"
    )
    reader: Annotated[ReaderConfig, PlainSerializer(ReaderConfig.canonical)] | None = Field(
        None,
        exclude_if=_is_absent,
        description="How a shard's records are read as documents; absent where the version is older than the field",
    )
    sources: SourcesFile | None = Field(
        None, exclude_if=_is_absent, description="The corpus's shards; absent where the version is older than the field"
    )
    licenses: tuple[str, ...] = Field(
        (), exclude_if=_is_empty, description="Licences of the data, as the corpus's configuration names them; absent if it doesn't"
    )
    phases: tuple[PhaseRecord, ...] = Field(
        (),
        exclude_if=_is_empty,
        description="Phases in the order in which they are read; absent where all is one. The mixture's own weights are then the"
        " copies that all phases want of a sample, and its solver says what holds for all",
    )
    constraints: Annotated[ConstraintsConfig, PlainSerializer(ConstraintsConfig.canonical)] = Field(
        ConstraintsConfig(),
        exclude_if=lambda constraints: constraints == ConstraintsConfig(),
        description="What had to hold, whatever the weights; absent if nothing had to",
    )
    decontaminated: tuple[BenchmarkRecord, ...] = Field(
        (), exclude_if=_is_empty, description="Benchmarks whose texts were kept out; absent where none were"
    )
    near_duplicates: Annotated[NearDuplicatesConfig, PlainSerializer(NearDuplicatesConfig.canonical)] | None = Field(
        None,
        exclude_if=_is_absent,
        description="By which rule documents went for others of nearly the same text; absent where none had to",
    )
    budget_tokens: int = Field(ge=1)
    realised_tokens: int = Field(ge=1)
    samples: int = Field(ge=1, description="Rows of all parts")
    copies: int = Field(ge=1, description="Copies of all rows")
    counts: Counts
    domains: tuple[DomainShare, ...]
    lineage: Lineage

    @property
    def phase_names(self) -> tuple[str, ...]:
        """The names of its phases, in order; none if it has no phases."""
        return tuple(phase.name for phase in self.phases)

    def phase(self, name: str) -> PhaseRecord:
        """The phase of that name. Raises ManifestError if there is none."""
        found = next((phase for phase in self.phases if phase.name == name), None)
        if found is None:
            known = f"Name one of {', '.join(self.phase_names)}." if self.phases else "Leave the phase out."
            raise ManifestError(f"The mixture {self.name} has no phase {name!r}.", known)
        return found

    def version_identity(self, digest: str) -> str:
        """Return the identity of a version whose parts have this content digest, as hex; it depends on where its documents are too.

        The same rows of another corpus, or of one whose files have changed, are a different version.
        """
        snapshots = [[item.name, item.shards, item.shards_digest] for item in self.lineage.snapshots]
        return hashlib.sha256(canonical_json([digest, self.corpus_root, snapshots])).hexdigest()


class Manifest(ManifestDraft):
    """A published version of a mixture."""

    format_version: Literal[1, 2] = Field(1, description="2 where there are phases")
    version: int = Field(ge=1)
    parent_version: int | None = Field(
        ge=1, description="The newest version that was published when this one was begun; null for the first"
    )
    created_at: Annotated[AwareDatetime, AfterValidator(lambda moment: moment.astimezone(UTC))]
    content_digest: str = Field(pattern=SHA256, description="SHA-256 of the parts' hex SHA-256, in order, joined by newlines")
    parts: tuple[PartFile, ...] = Field(min_length=1)

    @property
    def files(self) -> dict[str, str]:
        """SHA-256 of the files that hold its rows and its sources, by name."""
        return files_of(self, self.parts)


def files_of(draft: ManifestDraft, parts: Iterable[PartFile]) -> dict[str, str]:
    """SHA-256 of a draft's parts and of its sources, by name."""
    return {file.path: file.sha256 for file in (*parts, draft.sources) if file is not None}


UNMET = 0.01
"""Share of a budget that may be left unmet without a warning."""


def unmet_share(budget_tokens: int, realised_tokens: int) -> float:
    """Return the share of the budget that is not met if that is more than UNMET, else 0."""
    short = budget_tokens - realised_tokens
    return short / budget_tokens if short > UNMET * budget_tokens else 0.0


def unmet(manifest: ManifestDraft) -> list[str]:
    """Return a warning for people if more than UNMET of the budget is not met."""
    share = unmet_share(manifest.budget_tokens, manifest.realised_tokens)
    if not share:
        return []
    return [
        f"{share:.1%} of the budget is not met, {manifest.budget_tokens - manifest.realised_tokens:,} tokens: every further copy is"
        f" longer, the next has {manifest.solver.next_tokens:,}; a larger budget is met more closely"
    ]


HELD_BACK = 0.01
"""Share of a phase's samples that earlier phases may have held back without a warning."""


def held_back(manifest: ManifestDraft) -> list[str]:
    """Return a warning for people for each phase that earlier phases left too little for."""
    return [
        f"phase {phase.name} wanted more copies of {phase.held_back:,} samples ({phase.held_back / phase.samples:.1%} of those it"
        " has), which earlier phases had spent; it has others in their place. Give those a smaller max_copies to leave more"
        for phase in manifest.phases
        if phase.held_back > HELD_BACK * phase.samples
    ]


def content_digest(parts: Iterable[PartFile]) -> str:
    """Identity of a mixture's content: SHA-256 (hex) of the parts' hex SHA-256, in order, joined by newlines."""
    return hashlib.sha256("\n".join(part.sha256 for part in parts).encode()).hexdigest()


def publishable(draft: ManifestDraft, version: int, parent: int | None, parts: tuple[PartFile, ...], now: datetime) -> Manifest:
    """Return the draft as a version."""
    return Manifest(
        **dict(draft),
        format_version=2 if draft.phases else 1,
        version=version,
        parent_version=parent,
        created_at=now,
        content_digest=content_digest(parts),
        parts=parts,
    )


def manifest_bytes(manifest: Manifest) -> bytes:
    """The text of manifest.json, validated once more as a reader would. Raises ManifestError if it does not read back."""
    fields = manifest.model_dump(mode="json")
    first = {key: fields[key] for key in ("format_version", "name", "version", "parent_version", "created_at", "content_digest")}
    data = json.dumps({**first, **fields}, indent=2, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    parse_manifest(data, f"{manifest.name} version {manifest.version}")
    return data


def parse_manifest(data: bytes, place: str) -> tuple[Manifest, dict[str, Any]]:
    """Read a manifest.json found at `place`; also returns its fields that this version doesn't know, by dotted name.

    Raises NewerFormatError if its format is newer than this version's, ManifestError if it is not a manifest.
    """
    fields = parse_json(data, place)
    version = _number(fields.get("format_version"))
    if version > FORMAT_VERSION:
        raise NewerFormatError(
            f"{place} has format version {fields['format_version']}; SampleMix {samplemix_core.__version__} reads up to"
            f" {FORMAT_VERSION}.",
            f"Upgrade SampleMix{_writer_of(fields)}, here and wherever the mixture is read or published.",
        )
    known, unknown = split_unknown(Manifest, fields)
    try:
        return Manifest.model_validate(known), unknown
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ManifestError(
            f"{place} is not a valid manifest: {problems}.", "Restore the object; published ones never change."
        ) from None


def _number(version: Any) -> float:
    """A format version, which later ones may write as 2.0 or "v2.0.1"; 0 for anything else."""
    found = re.match(r"[\sv+]{0,3}(\d{1,9}(\.\d+)?)", str(version))
    return float(found[1]) if found else 0.0


def _writer_of(fields: Mapping[str, Any]) -> str:
    lineage = fields.get("lineage")
    writer = lineage.get("code_version") if isinstance(lineage, Mapping) else None
    return f" to {writer:.40} or later" if isinstance(writer, str) and writer != samplemix_core.__version__ else ""


def unknown_columns(schema: pa.Schema, phases: Sequence[str]) -> list[str]:
    """Return the columns of a part, of a mixture with these phases, that this version doesn't know."""
    return [name for name in schema.names if name not in part_schema(phases).names]


def parse_json(data: bytes, place: str) -> dict[str, Any]:
    """Return the JSON object found at `place`; raise ManifestError if it is not one."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError(f"{place} is not JSON: {error}.", "Restore the object; published ones never change.") from None
    if not isinstance(value, dict):
        raise ManifestError(f"{place} is not a JSON object.", "Restore the object; published ones never change.")
    return value


def schema_json() -> str:
    """The JSON schema of manifest.json, as in docs/manifest.schema.json. Like a reader, it allows fields it doesn't know."""
    fields = Manifest.model_json_schema(mode="serialization")
    for model in (fields, *fields["$defs"].values()):
        del model["additionalProperties"]
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", **fields}, indent=2) + "\n"
