import pytest

from samplemix_core.corpus.records import Document, Reason, RejectedRecordError, check_document


@pytest.mark.parametrize(
    ("doc_id", "kept"),
    [
        ("x-1", "x-1"),
        (7, "7"),
        (-3, "-3"),
        (2**70, str(2**70)),
        (1.5, "1.5"),
        (None, None),
        (True, None),
        ([1], None),
        ({}, None),
        ("", ""),
    ],
)
def test_an_id_is_a_string_or_a_number_or_nothing(doc_id: object, kept: str | None) -> None:
    assert check_document("text", doc_id, "web") == Document(kept, "web", "text")


@pytest.mark.parametrize(
    ("text", "doc_id", "domain", "reason"),
    [
        (None, None, "web", Reason.MISSING_TEXT),
        (3, None, "web", Reason.TEXT_NOT_STRING),
        (True, None, "web", Reason.TEXT_NOT_STRING),
        (["a"], None, "web", Reason.TEXT_NOT_STRING),
        ({"a": 1}, None, "web", Reason.TEXT_NOT_STRING),
        ("", None, "web", Reason.EMPTY_TEXT),
        (" \n\t\u3000\u00a0", None, "web", Reason.EMPTY_TEXT),
        ("\u200b\u200b\ufeff", None, "web", Reason.NO_TEXT),
        ("\0\x01 \x07", None, "web", Reason.NO_TEXT),
        ("\ufffd" * 50, None, "web", Reason.NO_TEXT),
        ("\u0301\u0302\u0303", None, "web", Reason.NO_TEXT),
        ("\u3164 \u115f\u2800\u00ad", None, "web", Reason.NO_TEXT),
        ("\ue000\ufffe\U0001ffff\ufdd0\U000e0041", None, "web", Reason.NO_TEXT),
        ("\ufffc \U000e0fff", None, "web", Reason.NO_TEXT),
        ("text", None, "\u200b", Reason.MISSING_DOMAIN),
        ("text", None, "\u3164", Reason.MISSING_DOMAIN),
        ("text", None, None, Reason.MISSING_DOMAIN),
        ("text", None, "  ", Reason.MISSING_DOMAIN),
        ("text", None, 4, Reason.DOMAIN_NOT_STRING),
        ("text", None, "we\0b", Reason.NUL_CHARACTER),
        ("text", "a\0", "web", Reason.NUL_CHARACTER),
        ("text", None, "d" * 513, Reason.DOMAIN_TOO_LONG),
        ("text", None, "\u00fc" * 257, Reason.DOMAIN_TOO_LONG),
        ("text", "i" * 4097, "web", Reason.ID_TOO_LONG),
        pytest.param("text", 10**5000, "web", Reason.ID_TOO_LONG, id="a number"),
    ],
)
def test_what_is_no_document_says_why(text: object, doc_id: object, domain: object, reason: Reason) -> None:
    with pytest.raises(RejectedRecordError) as rejected:
        check_document(text, doc_id, domain)
    assert rejected.value.reason is reason
    assert rejected.value.detail


def test_nul_inside_a_text_is_kept() -> None:
    assert check_document("a\0b", None, "web").text == "a\0b"


@pytest.mark.parametrize("text", ["a", "\u0e01", "...", "=", "\U0001f600", "\u200b3", "h\u0301", "\u6771", "_", "\ufffd\ufffd!"])
def test_what_can_be_read_is_a_text(text: str) -> None:
    assert check_document(text, None, "web").text == text
