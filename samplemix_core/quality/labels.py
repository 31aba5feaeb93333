"""Records of label files: a document, its source, and its scores by a rubric, validated."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pydantic import Field

from samplemix_core.frozen import FrozenModel
from samplemix_core.identity import content_hash
from samplemix_core.quality.rubric import RATIONALE, Rubric


class LabelFields(FrozenModel):
    """Which field of a record holds what; dots reach into nested objects. A score not listed is in the field with its own name."""

    text: str = "text"
    doc_id: str = "id"
    source: str = Field("source", description="Where the document is from; a record without one is from the file")
    language: str = "language"
    group: str = Field("group", description="Records of one group are never divided between training and testing")
    rationale: str = RATIONALE
    scores: dict[str, str] = Field({}, description="Dimension -> field")


class Reject(StrEnum):
    """Why a record, or a question to an annotator, gave no label."""

    UNREADABLE = "unreadable"
    NO_TEXT = "no_text"
    NO_SCORE = "no_score"
    SCORE_NOT_WHOLE = "score_not_whole"
    SCORE_OUT_OF_RANGE = "score_out_of_range"
    CONTRADICTS = "contradicts_another"
    NO_ANSWER = "no_answer"
    DECLINED = "declined"
    REQUEST_REFUSED = "request_refused"


MALFORMED = frozenset((Reject.UNREADABLE, Reject.NO_SCORE, Reject.SCORE_NOT_WHOLE, Reject.SCORE_OUT_OF_RANGE))
"""Reasons for an answer that arrived but can't be used, which is the model's fault and not the document's."""


class RejectedLabelError(Exception):
    """A record that holds no label, and why."""

    def __init__(self, reason: Reject, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail = reason, detail


@dataclass(frozen=True)
class Label:
    """A document and its scores: the fields of schemas.LABELS."""

    content_hash: bytes
    text: str
    doc_id: str | None
    source: str
    language: str | None
    split_group: str | None
    scores: tuple[int, ...]
    rationale: str | None


def encodable(text: str) -> str:
    """Return the text with '?' for each half of a surrogate pair, which JSON's escapes can hold but no encoding can."""
    return text.encode(errors="replace").decode()


def whole_scores(values: Mapping[str, Any], rubric: Rubric) -> tuple[int, ...]:
    """The scores by dimension as whole numbers in range, in the rubric's order; raise RejectedLabelError if they are not."""
    scores = []
    for dimension in rubric.dimensions:
        value = values.get(dimension.name)
        if value is None:
            raise RejectedLabelError(Reject.NO_SCORE, f"{dimension.name} is missing")
        # True is an int in Python, but not a score.
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            raise RejectedLabelError(Reject.SCORE_NOT_WHOLE, f"{dimension.name} is {value!r:.60}, not a whole number")
        if not 0 <= value <= dimension.maximum:
            raise RejectedLabelError(
                Reject.SCORE_OUT_OF_RANGE, f"{dimension.name} is {value!r:.60}, not within 0 to {dimension.maximum}"
            )
        scores.append(int(value))
    return tuple(scores)


def read_label(record: Any, rubric: Rubric, fields: LabelFields, source: str) -> Label:
    """Return the label that a record holds, with `source` if it names none; raise RejectedLabelError if it holds no label."""
    text = _field(record, fields.text)
    if not isinstance(text, str) or not text.strip():
        raise RejectedLabelError(Reject.NO_TEXT, f"field {fields.text!r} holds no text")
    if "\0" in text:
        raise RejectedLabelError(Reject.NO_TEXT, f"field {fields.text!r} contains a NUL character")
    if text != encodable(text):
        raise RejectedLabelError(Reject.NO_TEXT, f"field {fields.text!r} contains half a surrogate pair")
    named = {dimension: _field(record, fields.scores.get(dimension, dimension)) for dimension in rubric.names}
    return Label(
        content_hash=content_hash(text),
        text=text,
        doc_id=_plain(_field(record, fields.doc_id)),
        source=_plain(_field(record, fields.source)) or source,
        language=_plain(_field(record, fields.language)),
        split_group=_plain(_field(record, fields.group)),
        scores=whole_scores(named, rubric),
        rationale=_plain(_field(record, fields.rationale)),
    )


def _field(record: Any, path: str) -> Any:
    for name in path.split("."):
        record = record.get(name) if isinstance(record, dict) else None
    return record


def _plain(value: Any) -> str | None:
    """Return a name or a sentence as text; None if it is empty or of another type."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return encodable(str(value)).replace("\0", "").strip() or None
