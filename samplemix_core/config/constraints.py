"""Constraints on a mixture, whatever the policy: shares that are held or limited, caps on copies, and a least number of documents.

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


def group_or_band_of(text: str) -> Group | Band:
    """Read a group or a band of quality. Raises ValueError if it is neither."""
    band = _BAND.fullmatch(text.strip())
    if band is not None:
        # Scores are stored in single precision.
        return Band(band[1] == "<", struct.unpack("f", struct.pack("f", float(band[2])))[0])
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
    return {"=".join(group_of(text)): value for text, value in values.items()}


def _all_groups_or_bands(values: dict[str, Any]) -> dict[str, Any]:
    for text in values:
        group_or_band_of(text)
    return values


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
                applies = (facts["quality"] < found.quality) == found.below
            else:
                applies = str(facts[found.column]) == found.name
            max_copies = min(max_copies, most) if applies else max_copies
        return max_copies
