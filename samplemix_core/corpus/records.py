"""What makes a record a document: the rules that JSON lines and Parquet share, and the reasons for quarantine."""

from enum import StrEnum
from typing import NamedTuple


class Reason(StrEnum):
    """Why a record is in quarantine. Stable codes: they are stored and counted."""

    INVALID_UTF8 = "invalid_utf8"
    INVALID_JSON = "invalid_json"
    UNPAIRED_SURROGATE = "unpaired_surrogate"
    NOT_AN_OBJECT = "not_an_object"
    RECORD_TOO_LONG = "record_too_long"
    MISSING_TEXT = "missing_text"
    TEXT_NOT_STRING = "text_not_string"
    EMPTY_TEXT = "empty_text"
    MISSING_DOMAIN = "missing_domain"
    DOMAIN_NOT_STRING = "domain_not_string"
    NUL_CHARACTER = "nul_character"


class RejectedRecordError(Exception):
    """A record that is no document. Never leaves this room: the reader turns it into a row of the quarantine."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Document(NamedTuple):
    """A document that passed every rule."""

    doc_id: str | None
    domain: str
    text: str


def check_document(text: object, doc_id: object, domain: object) -> Document:
    """Apply the rules to decoded values, None standing for both null and missing; raise RejectedRecordError.

    - the text is a string with at least one character that is not white space;
    - the domain is a non-blank string without NUL, which PostgreSQL can't store;
    - the id is a string without NUL, or a number, which becomes its decimal string; anything else counts as no id.
    """
    if text is None:
        raise RejectedRecordError(Reason.MISSING_TEXT, "the text field is missing or null")
    if not isinstance(text, str):
        raise RejectedRecordError(Reason.TEXT_NOT_STRING, f"the text field holds {_kind(text)}, not a string")
    if not text or text.isspace():
        raise RejectedRecordError(Reason.EMPTY_TEXT, f"the text is {len(text)} characters of white space")
    if domain is None or domain == "" or (isinstance(domain, str) and domain.isspace()):
        raise RejectedRecordError(Reason.MISSING_DOMAIN, "the domain field is missing, null or blank")
    if not isinstance(domain, str):
        raise RejectedRecordError(Reason.DOMAIN_NOT_STRING, f"the domain field holds {_kind(domain)}, not a string")
    if isinstance(doc_id, (int, float)) and not isinstance(doc_id, bool):
        doc_id = str(doc_id)
    elif not isinstance(doc_id, str):
        doc_id = None
    if "\0" in domain or (doc_id is not None and "\0" in doc_id):
        raise RejectedRecordError(Reason.NUL_CHARACTER, f"the {'domain' if chr(0) in domain else 'id'} contains a NUL character")
    return Document(doc_id, domain, text)


def _kind(value: object) -> str:
    match value:
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case list():
            return "an array"
        case _:
            return "an object"
