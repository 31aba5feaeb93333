"""Constraints on a mixture, whatever the policy: shares that are held or limited, caps on copies, a least number of documents, and
which documents may have copies at all.

Groups of samples are written column=name, such as domain=web or language=de; bands of quality as quality<2.5 or quality>=8, on the
scale of the run's first scorer.
"""

import re
import struct
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from samplemix_core.frozen import FrozenModel, IdentifiedModel

COLUMNS = ("domain", "cluster", "language", "content_type")
"""By which samples are grouped."""

_BAND = re.compile(r"quality\s*(<|>=)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)")


class Group(NamedTuple):
    """Samples that have a name in a column."""

    column: str
    name: str


class Band(NamedTuple):
    """Samples whose quality is below a value, or not."""

    below: bool
    quality: float


def group_of(text: str) -> Group:
    """Read column=name. Raises ValueError if it isn't that."""
    column, equals, name = (part.strip() for part in text.partition("="))
    if column not in COLUMNS or not equals or not name:
        raise ValueError(f"{text!r} is no group: write one as {', '.join(f'{known}=...' for known in COLUMNS)}")
    return Group(column, name)


def _single(value: float) -> float:
    """A number in single precision, as scores are stored."""
    return float(struct.unpack("f", struct.pack("f", value))[0])


def group_or_band_of(text: str) -> Group | Band:
    """Read a group or a band of quality. Raises ValueError if it is neither."""
    band = _BAND.fullmatch(text.strip())
    if band is not None:
        return Band(band[1] == "<", _single(float(band[2])))
    if text.strip().startswith("quality"):
        raise ValueError(f"{text!r} is no band of quality: write quality<2.5, or quality>=8")
    return group_of(text)


class ShareLimit(FrozenModel):
    """The least and the most of the mixture's tokens that a group may have."""

    least: float = Field(0.0, ge=0, le=1)
    most: float = Field(1.0, ge=0, le=1)

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.least > self.most:
            raise ValueError(f"the least share, {self.least:g}, is more than the most, {self.most:g}")
        return self


def _exactly(value: Any) -> Any:
    return {"least": value, "most": value} if isinstance(value, int | float) and not isinstance(value, bool) else value


def _all_groups(values: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for text, value in values.items():
        name = "=".join(group_of(text))
        if name in found:
            raise ValueError(f"{name!r} is there twice")
        found[name] = value
    return found


def _all_groups_or_bands(values: dict[str, Any]) -> dict[str, Any]:
    for text in values:
        group_or_band_of(text)
    return values


def _hashes(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not re.fullmatch(r"[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", value):
            raise ValueError(f"{value[:80]!r} is no content hash: 32 hex digits, as in sample_scores.content_hash")
    return tuple(sorted({value.replace("-", "").lower() for value in values}))


def _hosts(values: tuple[str, ...]) -> tuple[str, ...]:
    """Hosts, and hosts with the beginning of a path, as host_of() gives them: without scheme and port, in small letters."""
    found = set()
    for value in values:
        host, slash, path = re.sub(r"^([a-zA-Z][a-zA-Z0-9+.-]*:)?//", "", value.strip()).partition("/")
        host = re.sub(r":\d*$", "", host).removeprefix("*.").strip(".").lower()
        if not re.fullmatch(r"[^\s/@?#*:]+|\[[0-9a-f:.]+\]", host):
            raise ValueError(f"{value[:200]!r} is neither a host (example.org) nor the beginning of a URL (example.org/blog/)")
        found.add(ascii_host(host) + (slash + path if path else ""))
    return tuple(sorted(found))


def ascii_host(host: str) -> str:
    """A host in the letters that the Internet knows; as it is, if it has none such."""
    try:
        return host if host.isascii() else host.encode("idna").decode()
    except UnicodeError:
        return host


def _texts(values: tuple[str, ...]) -> tuple[str, ...]:
    if any(not value.strip() or "\0" in value for value in values):
        raise ValueError("an empty value is no name")
    return tuple(sorted({value.strip() for value in values}))


class SelectionConfig(IdentifiedModel):
    """Documents, by what is stored of them."""

    FIRST_FIELDS = frozenset({"where", "ids", "hashes", "hosts", "licenses"})

    where: str | None = Field(
        None,
        min_length=1,
        max_length=10_000,
        pattern=r"\S",
        description="A condition in SQL, such as: language = 'de' AND quality < 3. It may use snapshot, shard, row, doc_id, domain,"
        " n_tokens, n_bytes, content_hash, content_type, language, url, host, license, quality, cluster, distance and is_noise. A"
        " role that can only read evaluates it",
    )
    ids: Annotated[tuple[str, ...], AfterValidator(_texts)] = Field((), description="Documents' own ids")
    hashes: Annotated[tuple[str, ...], AfterValidator(_hashes)] = Field((), description="Content hashes, 32 hex digits")
    hosts: Annotated[tuple[str, ...], AfterValidator(_hosts)] = Field(
        (),
        description="Hosts, with all that are below them (example.org, also for www.example.org), or beginnings of URLs"
        " (example.org/blog/). The reader's url_field says where URLs are",
    )
    licenses: Annotated[tuple[str, ...], AfterValidator(_texts)] = Field(
        (), description="Licences as documents say them, in any case. The reader's license_field says where they are"
    )

    @property
    def is_empty(self) -> bool:
        """Whether it names nothing."""
        return self == SelectionConfig()


class ConstraintsConfig(IdentifiedModel):
    """What must hold of a mixture, and of each of its phases, over any weights."""

    FIRST_FIELDS = frozenset({"hold", "shares", "copies", "documents"})

    hold: tuple[Literal["domain", "language", "content_type"], ...] = Field(
        (),
        description="Columns whose groups keep the share of tokens that they have in the source, while weights act inside: domain,"
        " language, content_type. With several, each combination keeps its own",
    )
    shares: Annotated[
        dict[str, Annotated[ShareLimit, BeforeValidator(_exactly, json_schema_input_type=ShareLimit | float)]],
        AfterValidator(_all_groups),
    ] = Field(
        {},
        description="Limits on the share of tokens of a group: language=de: {least: 0.1, most: 0.2}; or a number, for just that."
        f" Groups are of {', '.join(COLUMNS)}",
    )
    copies: Annotated[dict[str, Annotated[int, Field(ge=0, le=1000)]], AfterValidator(_all_groups_or_bands)] = Field(
        {},
        description="Most copies of a sample in a group, or in a band of quality: domain=books: 8, quality<2: 0. The lowest that"
        " applies counts, and max_copies holds for all",
    )
    documents: int = Field(
        0, ge=0, description="Least number of distinct documents: max_copies is lowered as far as that takes, to 1 at least"
    )

    exclude: SelectionConfig = Field(SelectionConfig(), description="Documents that get no copy: those that any of these is about")
    include: SelectionConfig = Field(
        SelectionConfig(), description="If given, documents get copies only if each of these is about them"
    )

    @property
    def selects(self) -> bool:
        """Whether it leaves documents out, or takes only some."""
        return not (self.exclude.is_empty and self.include.is_empty)

    @property
    def selection(self) -> "ConstraintsConfig":
        """The same documents, with nothing else asked of a mixture of them."""
        return ConstraintsConfig(exclude=self.exclude, include=self.include)

    def columns(self) -> tuple[str, ...]:
        """The columns that it needs, in the order of COLUMNS."""
        named = [group_of(text).column for text in self.shares]
        capped = [found.column for found in map(group_or_band_of, self.copies) if isinstance(found, Group)]
        used = {*self.hold, *named, *capped}
        return tuple(column for column in COLUMNS if column in used)

    def cap(self, facts: Mapping[str, Any], max_copies: int) -> int:
        """Most copies of a sample with these facts: its quality, and its name in each column."""
        for text, most in self.copies.items():
            found = group_or_band_of(text)
            if isinstance(found, Band):
                applies = (_single(facts["quality"]) < found.quality) == found.below
            else:
                applies = str(facts[found.column]) == found.name
            max_copies = min(max_copies, most) if applies else max_copies
        return max_copies


class NearDuplicatesConfig(IdentifiedModel):
    """Which of the documents with nearly the same text stay."""

    FIRST_FIELDS = frozenset({"drop", "similarity", "keep"})

    drop: bool = Field(True, description="Leave out documents that have nearly the same text as another one that stays")
    similarity: float = Field(
        0.8,
        ge=0.75,
        le=1,
        description="How alike: the Jaccard similarity of the sets of runs of five words, without case and punctuation",
    )
    keep: Literal["earliest", "quality", "longest"] = Field(
        "earliest",
        description="Which one stays: that of the earliest crawl, file and row, so that new crawls change nothing; that of the best"
        " quality; or the longest",
    )
