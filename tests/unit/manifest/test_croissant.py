import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from samplemix_core.manifest.croissant import croissant_bytes, described_content, described_version
from samplemix_core.manifest.format import MIXTURE_PART, content_digest

Make = Callable[..., Any]


@pytest.fixture
def data(make_mixture: Make) -> bytes:
    mixture = make_mixture()
    url = "s3://bucket/mixtures/demo/v000003/manifest.json"
    parent = url.replace("v000003", "v000002")
    return croissant_bytes(mixture.draft, 3, mixture.parts, url, datetime(2026, 3, 1, tzinfo=UTC), parent)


def test_declares_what_the_specification_asks_for(data: bytes) -> None:
    document = json.loads(data)
    assert document["@type"] == "sc:Dataset"
    assert document["conformsTo"] == "http://mlcommons.org/croissant/1.1"
    assert document["@context"]["cr"] == "http://mlcommons.org/croissant/"
    assert {"name", "description", "url", "creator", "datePublished", "version"} <= document.keys()


def test_describes_every_part_and_every_column(data: bytes, make_mixture: Make) -> None:
    document = json.loads(data)
    *files, file_set = document["distribution"]
    assert [(item["@id"], item["contentUrl"], item["sha256"]) for item in files] == [
        (part.path, part.path, part.sha256) for part in make_mixture().parts
    ]
    (records,) = document["recordSet"]
    assert [field["source"]["extract"]["column"] for field in records["field"]] == MIXTURE_PART.names
    assert {field["source"]["fileSet"]["@id"] for field in records["field"]} == {file_set["@id"]}


def test_says_what_it_is_derived_from_and_what_decided_it(data: bytes, make_mixture: Make) -> None:
    document, draft = json.loads(data), make_mixture().draft
    sources = [item["@id"] for item in document["prov:wasDerivedFrom"]]
    crawls = [f"{draft.corpus_root}/{crawl.name}" for crawl in draft.lineage.snapshots]
    assert sources == [*crawls, "s3://bucket/mixtures/demo/v000002/manifest.json"]
    used = [item["prov:label"] for item in document["prov:wasGeneratedBy"]["prov:used"]]
    for key in (draft.lineage.quality_model, draft.lineage.encoder, draft.lineage.cluster_model):
        assert any(key in label for label in used)
    fields = {field["name"]: field for field in document["recordSet"][0]["field"]}
    assert draft.lineage.quality_model in fields["quality"]["prov:wasDerivedFrom"]["prov:label"]
    assert "license" not in document


def test_names_the_licences_that_are_known(make_mixture: Make) -> None:
    mixture = make_mixture()
    licensed = mixture.draft.model_copy(update={"licenses": ("ODC-By-1.0", "https://commoncrawl.org/terms-of-use")})
    document = json.loads(croissant_bytes(licensed, 1, mixture.parts, "s3://b/manifest.json", datetime(2026, 3, 1, tzinfo=UTC)))
    assert document["license"] == ["ODC-By-1.0", "https://commoncrawl.org/terms-of-use"]


def test_every_reference_names_something(data: bytes) -> None:
    document = json.loads(data)
    records = document["recordSet"][0]
    ids = {item["@id"] for item in [*document["distribution"], records, *records["field"]]}
    assert len(ids) == len(document["distribution"]) + 1 + len(records["field"])
    assert {key["@id"] for key in records["key"]} <= ids


def test_says_which_version_it_describes(data: bytes, make_mixture: Make) -> None:
    mixture = make_mixture()
    assert described_content(data) == content_digest(mixture.parts)
    assert described_version(data) == mixture.draft.version_identity(content_digest(mixture.parts))
    assert described_version(data) != mixture.draft.version_identity(content_digest(make_mixture(seed=1).parts))


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"identifier": 7}', b"\xff"])
def test_anything_else_describes_no_version(data: bytes) -> None:
    assert described_version(data) is None
    assert described_content(data) is None
