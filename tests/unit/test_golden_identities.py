"""Identities as they have been since the first release. One that changes makes what is stored strange: scores, clusters, versions.

A new row is fine. A row that changes means that every platform scores, fits or publishes again, and belongs in the changelog.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import BaseModel, Field, create_model

from samplemix_core.config.quality import AnnotationConfig, FineTuningConfig, TrainingConfig
from samplemix_core.config.run import AuditConfig, DiversityConfig, EmbeddingConfig, Limit, ReaderConfig, RunConfig
from samplemix_core.database.clusters import cluster_model_key
from samplemix_core.database.registration import corpus_key
from samplemix_core.embedding.encoder import load_encoder
from samplemix_core.frozen import IdentifiedModel, load_config
from samplemix_core.identity import fingerprint
from samplemix_core.pipeline.fit import fit_spec
from samplemix_core.policies.natural import Natural
from samplemix_core.policies.samplemix import SampleMix
from samplemix_core.quality.composite import composite_model
from samplemix_core.quality.rubric import DEFAULT_RUBRIC, Rubric

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "identities.json").read_text())

SHARD: Any = SimpleNamespace(shard=SimpleNamespace(snapshot="a", path="a/web/1.jsonl"), embedding_digest="d")


def corpus(**reader: Any) -> str:
    return corpus_key("s3://corpora/web", ReaderConfig(**reader).identity(), "0" * 32)


def clusters(**diversity: Any) -> str:
    return cluster_model_key("c", "e", fit_spec([SHARD], DiversityConfig(**diversity)), "0" * 64)


def run(**values: Any) -> str:
    return load_config(RunConfig, {"corpus_uri": "s3://corpora/web", **values}).fingerprint


def encoder(**embedding: Any) -> str:
    return fingerprint(load_encoder(EmbeddingConfig(device="cpu", precision="float32", **embedding)).family)


def test_the_golden_identities_of_configurations() -> None:
    far = {"text_field": "content", "id_field": None, "domain_field": "meta.domain", "max_record_bytes": 1000}
    annotation = AnnotationConfig(corpus="web", model="judge-1", documents=7, temperature=None)
    found = {
        "corpus": corpus(),
        "corpus, other fields": corpus(**far),
        "cluster model": clusters(),
        "cluster model, its gates and refit": clusters(refit=True, compare_with="none", gate_min_clusters=3),
        "cluster model, other settings": clusters(selection="leaf", min_samples=None),
        "rubric": DEFAULT_RUBRIC.rubric_key,
        "quality model composite": fingerprint(composite_model()),
        "annotator": fingerprint({"kind": "llm", "prompt": "p", **annotation.identity()}),
        "run": run(),
        "run, other settings": run(
            snapshots=("b", "a"),
            policy="natural",
            budget="1B",
            max_share=0.5,
            seed=7,
            diversity=DiversityConfig(gate_min_clusters=3),
            audit=AuditConfig(spread=Limit(warn=0.1)),
        ),
    }
    assert found == {name: GOLDEN[name] for name in found}
    assert found["cluster model"] == found["cluster model, its gates and refit"]


@pytest.mark.parametrize(
    ("name", "embedding"),
    [
        ("encoder", {}),
        ("encoder, four windows", {"windows": 4, "max_seq_tokens": 128}),
        ("encoder, with a prompt", {"encoder": "multilingual-e5-small"}),
    ],
)
def test_the_golden_identities_of_encoders(name: str, embedding: dict[str, Any]) -> None:
    assert encoder(**embedding) == GOLDEN[name]


CONFIGURATIONS: dict[type[IdentifiedModel], dict[str, Any]] = {
    ReaderConfig: {},
    EmbeddingConfig: {},
    DiversityConfig: {},
    AuditConfig: {},
    Limit: {},
    RunConfig: {"corpus_uri": "s3://a/b"},
    AnnotationConfig: {"corpus": "web", "model": "judge-1"},
    FineTuningConfig: {},
    TrainingConfig: {"name": "q", "annotators": ("a",)},
    Rubric: DEFAULT_RUBRIC.model_dump(),
    SampleMix: {},
    Natural: {},
}


def every(kind: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for below in kind.__subclasses__():
        if below.__module__.startswith("samplemix_core"):
            yield below
        yield from every(below)


@pytest.mark.parametrize("kind", CONFIGURATIONS, ids=lambda kind: kind.__name__)
def test_a_field_that_is_added_at_its_default_changes_no_identity(kind: type[IdentifiedModel]) -> None:
    later = create_model(f"Later{kind.__name__}", __base__=kind, added=(int, Field(5)))
    values = CONFIGURATIONS[kind]
    before, after = kind.model_validate(values), later.model_validate(values)
    assert (after.canonical(), after.identity()) == (before.canonical(), before.identity())
    assert later.model_validate({**values, "added": 6}).identity() == {**before.identity(), "added": 6}


def test_a_field_that_is_added_within_a_runs_settings_changes_no_identity() -> None:
    later_reader = create_model("LaterReader", __base__=ReaderConfig, added=(int, Field(5)))
    later = create_model("LaterRun", __base__=RunConfig, reader=(later_reader, later_reader()))
    assert later(corpus_uri="s3://corpora/web").fingerprint == GOLDEN["run"]
    other = later_reader.model_validate({"added": 6})
    assert later(corpus_uri="s3://corpora/web", reader=other).fingerprint != GOLDEN["run"]
    assert corpus_key("s3://corpora/web", later_reader().identity(), "0" * 32) == GOLDEN["corpus"]
    later_diversity = create_model("LaterDiversity", __base__=DiversityConfig, added=(int, Field(5)))
    assert cluster_model_key("c", "e", fit_spec([SHARD], later_diversity()), "0" * 64) == GOLDEN["cluster model"]
    later_embedding = create_model("LaterEmbedding", __base__=EmbeddingConfig, added=(int, Field(5)))
    embedding = later_embedding(device="cpu", precision="float32")
    assert fingerprint(load_encoder(embedding).family) == GOLDEN["encoder"]


def test_every_configuration_of_identities_is_tried_here() -> None:
    # No result depends on blocks, dimensions are tried with their rubric, and the others are bases or a page's.
    others = {"BlockConfig", "Dimension", "Policy", "WithPolicy", "Settings"}
    known = {kind.__name__ for kind in CONFIGURATIONS} | others
    assert {kind.__name__ for kind in every(IdentifiedModel)} - known == set()


@pytest.mark.parametrize("kind", [*CONFIGURATIONS], ids=lambda kind: kind.__name__)
def test_the_fields_that_a_configuration_names_are_there(kind: type[IdentifiedModel]) -> None:
    assert kind.model_fields.keys() >= kind.FIRST_FIELDS | kind.NOT_IDENTITY
