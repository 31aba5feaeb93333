"""Records of files of labels: what is taken, and why others are not."""

from typing import Any

import pytest

from samplemix_core.identity import content_hash
from samplemix_core.quality.labels import LabelFields, Reject, RejectedLabelError, read_label
from samplemix_core.quality.rubric import Dimension, Rubric

RUBRIC = Rubric(
    name="two", dimensions=(Dimension(name="depth", maximum=3, meaning="m"), Dimension(name="style", maximum=1, meaning="m"))
)
RECORD = {"id": 7, "text": "A text.", "language": "en", "scores": {"depth": 2, "style": 1}, "meta": {"site": "a.example"}}
FIELDS = LabelFields(scores={"depth": "scores.depth", "style": "scores.style"}, group="meta.site")


def test_fields_are_found_by_their_paths() -> None:
    label = read_label(RECORD, RUBRIC, FIELDS, "file")
    assert label.scores == (2, 1)
    assert (label.doc_id, label.source, label.language, label.split_group, label.rationale) == (
        "7",
        "file",
        "en",
        "a.example",
        None,
    )
    assert label.content_hash == content_hash("A text.")


def test_a_score_is_in_the_field_of_its_dimension_unless_another_is_named() -> None:
    assert read_label({"text": "t", "depth": 3.0, "style": 0}, RUBRIC, LabelFields(), "file").scores == (3, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"text": " \n"}, Reject.NO_TEXT),
        ({"text": 5}, Reject.NO_TEXT),
        ({"text": "a\0b"}, Reject.NO_TEXT),
        ({"scores": {"depth": 2}}, Reject.NO_SCORE),
        ({"scores": None}, Reject.NO_SCORE),
        ({"scores": {"depth": 2.5, "style": 1}}, Reject.SCORE_NOT_WHOLE),
        ({"scores": {"depth": 2, "style": True}}, Reject.SCORE_NOT_WHOLE),
        ({"scores": {"depth": "2", "style": 1}}, Reject.SCORE_NOT_WHOLE),
        ({"scores": {"depth": float("nan"), "style": 1}}, Reject.SCORE_NOT_WHOLE),
        ({"scores": {"depth": float("inf"), "style": 1}}, Reject.SCORE_NOT_WHOLE),
        ({"scores": {"depth": 4, "style": 1}}, Reject.SCORE_OUT_OF_RANGE),
        ({"scores": {"depth": -1, "style": 1}}, Reject.SCORE_OUT_OF_RANGE),
    ],
)
def test_what_is_no_label_is_rejected_with_its_reason(change: dict[str, Any], reason: Reject) -> None:
    with pytest.raises(RejectedLabelError) as raised:
        read_label(RECORD | change, RUBRIC, FIELDS, "file")
    assert raised.value.reason is reason


@pytest.mark.parametrize("record", [None, [], "text", 5])
def test_what_is_no_object_is_rejected(record: Any) -> None:
    with pytest.raises(RejectedLabelError):
        read_label(record, RUBRIC, FIELDS, "file")
