import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from samplemix_core.errors import ManifestError
from samplemix_core.manifest.format import (
    DomainShare,
    content_digest,
    domain_shares,
    held_back,
    manifest_bytes,
    parse_manifest,
    publishable,
    schema_json,
)

SCHEMA = Path(__file__).parents[3] / "docs" / "manifest.schema.json"


@pytest.fixture
def manifest(make_mixture: Callable[..., Any]) -> Any:
    mixture = make_mixture()
    return publishable(mixture.draft, 2, 1, mixture.parts, datetime(2026, 3, 1, 13, tzinfo=timezone(timedelta(hours=1))))


def test_reads_back_what_was_written(manifest: Any) -> None:
    assert parse_manifest(manifest_bytes(manifest), "here") == (manifest, {})


def test_a_phase_that_earlier_ones_left_too_little_for_is_warned_of(make_mixture: Callable[..., Any]) -> None:
    draft = make_mixture(phases=True).draft
    broad, clean = draft.phases

    def warnings(samples: int, spent: int) -> list[str]:
        phases = (broad, clean.model_copy(update={"samples": samples, "held_back": spent}))
        return held_back(draft.model_copy(update={"phases": phases}))

    assert warnings(1000, 10) == []
    (warning,) = warnings(1000, 11)
    assert "phase clean wanted more copies of 11 samples (1.1% of those it has)" in warning


def test_times_are_utc(manifest: Any) -> None:
    assert json.loads(manifest_bytes(manifest))["created_at"] == "2026-03-01T12:00:00Z"
    assert manifest.created_at == datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_the_committed_schema_is_this_models() -> None:
    command = "python -c 'from samplemix_core.manifest.format import schema_json; print(schema_json(), end=\"\")'"
    assert SCHEMA.read_text() == schema_json(), f"write it again: {command} > docs/manifest.schema.json"


def test_a_manifest_satisfies_the_committed_schema(manifest: Any) -> None:
    fields = json.loads(manifest_bytes(manifest))
    jsonschema.validate(fields, json.loads(SCHEMA.read_text()))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**fields, "version": 0}, json.loads(SCHEMA.read_text()))


def test_the_digest_is_of_the_parts_hashes_in_order(make_mixture: Callable[..., Any]) -> None:
    parts = make_mixture().parts
    assert len(parts) > 1
    assert content_digest(parts) != content_digest(parts[::-1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"samples": -1}, "samples: Input should be greater"),
        ({"format_version": None}, "format_version"),
        ({"created_at": "2026-03-01T12:00:00"}, "created_at"),
        ({"parts": []}, "parts"),
    ],
)
def test_refuses_what_is_no_manifest_naming_the_field(manifest: Any, change: dict[str, Any], message: str) -> None:
    fields = {**json.loads(manifest_bytes(manifest)), **change}
    with pytest.raises(ManifestError, match=f"here is not a valid manifest.*{message}"):
        parse_manifest(json.dumps(fields).encode(), "here")


@pytest.mark.parametrize(("data", "message"), [(b"{", "here is not JSON"), (b"[]", "not a JSON object"), (b"\xff", "not JSON")])
def test_refuses_what_is_no_json(data: bytes, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse_manifest(data, "here")


SUMS = {
    "source_samples": [2, 0, 2],
    "source_tokens": [60, 0, 40],
    "samples": [2, 0, 1],
    "copies": [4, 0, 2],
    "mixture_tokens": [140, 0, 60],
}


def test_domains_are_sorted_with_their_shares_and_those_without_samples_left_out() -> None:
    books, web = domain_shares(["web", "empty", "books"], **SUMS)
    assert web == DomainShare(
        domain="web", source_samples=2, source_tokens=60, source_share=0.6, samples=2, copies=4,
        mixture_tokens=140, mixture_share=0.7, mean_copies=2.0,
    )  # fmt: skip
    assert books == DomainShare(
        domain="books", source_samples=2, source_tokens=40, source_share=0.4, samples=1, copies=2,
        mixture_tokens=60, mixture_share=0.3, mean_copies=1.0,
    )  # fmt: skip
