"""Identities as they have been since the first release. One that changes makes what is stored strange: scores, clusters, versions.

A new row is fine. A row that changes means that every platform scores, fits or publishes again, and belongs in the changelog.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, Field, create_model

from samplemix_core.config.constraints import ConstraintsConfig, NearDuplicatesConfig, SelectionConfig
from samplemix_core.config.export import ExportConfig
from samplemix_core.config.quality import AnnotationConfig, FineTuningConfig, TrainingConfig
from samplemix_core.config.reader import ReaderConfig
from samplemix_core.config.run import AuditConfig, DiversityConfig, EmbeddingConfig, Limit, PhaseConfig, RunConfig
from samplemix_core.database.clusters import cluster_model_key
from samplemix_core.database.registration import corpus_key
from samplemix_core.diversity.fit import one_cluster
from samplemix_core.embedding.encoder import load_encoder
from samplemix_core.errors import ModelError
from samplemix_core.frozen import IdentifiedModel, load_config
from samplemix_core.identity import fingerprint
from samplemix_core.manifest.format import Manifest, content_digest, parse_manifest
from samplemix_core.pipeline.fit import fit_spec
from samplemix_core.policies.policy import POLICIES
from samplemix_core.quality.rubric import DEFAULT_RUBRIC, Rubric
from samplemix_core.scorers.calibrated import CalibratedSpec, Cell
from samplemix_core.scorers.composite import CompositeSpec
from samplemix_core.scorers.ensemble import EnsembleSpec, Member
from samplemix_core.scorers.external import ExternalSpec
from samplemix_core.scorers.fasttext import FastTextSpec
from samplemix_core.scorers.importance import ImportanceSpec
from samplemix_core.scorers.ordinal import OrdinalSpec
from samplemix_core.scorers.registry import read_spec
from samplemix_core.scorers.scorer import KINDS, ScorerSpec
from samplemix_core.scorers.similarity import SimilaritySpec
from samplemix_core.scorers.transformer import TransformerSpec

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
        "cluster model, its file": one_cluster(np.eye(4, dtype=np.float32), DiversityConfig(), 42, "e").digest,
        "cluster model, its gates and refit": clusters(refit=True, compare_with="none", gate_min_clusters=3),
        "cluster model, other settings": clusters(selection="leaf", min_samples=None),
        "rubric": DEFAULT_RUBRIC.rubric_key,
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
    gates = {"max_loss": 1, "audit": {"extremes": 3}, "diversity": {"refit": True, "gate_min_clusters": 3}}
    same = run(**gates, retry_refused=True, blocks={"documents": 7}, embedding={"batch_tokens": 64})
    assert same == found["run"] != run(seed=7)


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


def test_the_golden_identity_of_a_mixture() -> None:
    place = Path(__file__).parents[1] / "golden" / "mixture_v1" / "demo" / "v000001" / "manifest.json"
    manifest, _ = parse_manifest(place.read_bytes(), str(place))
    assert manifest.version_identity(content_digest(manifest.parts)) == GOLDEN["mixture"]
    later = create_model("LaterManifest", __base__=Manifest, added=(int, Field(5)))
    assert later.model_validate(dict(manifest)).version_identity(manifest.content_digest) == GOLDEN["mixture"]


FILE = "0" * 64
READ = {"name": "e", "max_seq": 256}
MEMBERS = (Member(key="a", quantiles=(0.0, 1.5)), Member(key="b", quantiles=(1.0, 2.0)))
CELL = Cell(content_type="code", language="", documents=300, quantiles=(0.0, 1.0))
HEADS = OrdinalSpec(rubric=DEFAULT_RUBRIC, encoder=READ, features=None, heads_sha256=FILE)
SCORERS: dict[str, ScorerSpec] = {
    "quality model composite": CompositeSpec.of_this_version(),
    "scorer ordinal": HEADS,
    "scorer ordinal, with an encoder of its own": HEADS.model_copy(update={"encoder_files": {"model.safetensors": FILE}}),
    "scorer transformer": TransformerSpec(
        range=(0, 5), files={"model.safetensors": FILE}, output="regression", label=0, max_tokens=512
    ),
    "scorer fasttext": FastTextSpec(range=(0, 1), model_sha256=FILE, label="__label__hq"),
    "scorer external": ExternalSpec(range=(0, 5), scores_sha256=FILE, by="doc_id", missing=None),
    "scorer ensemble": EnsembleSpec(range=(0, 1), combine="mean", members=MEMBERS),
    "scorer similarity": SimilaritySpec(range=(0, 1), encoder=READ, vectors_sha256=FILE),
    "scorer importance": ImportanceSpec(range=(-1, 1), ratios_sha256=FILE),
    "scorer calibrated": CalibratedSpec(range=(0, 10), of="a", cells=(CELL,), overall=(0.0, 2.0), most=2.5),
}


def test_the_golden_identities_of_scorers_and_their_specifications_read_back() -> None:
    assert {name: spec.key for name, spec in SCORERS.items()} == {name: GOLDEN[name] for name in SCORERS}
    assert {spec.kind for spec in SCORERS.values()} == KINDS.keys()
    for name, spec in SCORERS.items():
        stored = json.loads(json.dumps(spec.identity()))
        assert read_spec(name, stored) == spec
        assert fingerprint(stored) == spec.key
    for unknown, said in (
        ({"kind": "odd"}, "kind 'odd', which this version does not know"),
        ({**HEADS.identity(), "new": 1}, "new"),
    ):
        with pytest.raises(ModelError, match=said):
            read_spec("other", unknown)


CONFIGURATIONS: dict[type[IdentifiedModel], dict[str, Any]] = {
    ReaderConfig: {},
    EmbeddingConfig: {},
    DiversityConfig: {},
    AuditConfig: {},
    SelectionConfig: {},
    NearDuplicatesConfig: {"similarity": 0.9, "keep": "longest"},
    ConstraintsConfig: {"hold": ("language",), "shares": {"domain=web": 0.5}, "copies": {"quality<2": 1}},
    Limit: {},
    RunConfig: {"corpus_uri": "s3://a/b"},
    PhaseConfig: {"name": "broad", "share": 0.5},
    AnnotationConfig: {"corpus": "web", "model": "judge-1"},
    FineTuningConfig: {},
    TrainingConfig: {"name": "q", "annotators": ("a",)},
    ExportConfig: {"format": "mds"},
    Rubric: DEFAULT_RUBRIC.model_dump(),
    **{kind: {} for kind in POLICIES.values()},
    **{type(spec): spec.model_dump() for spec in SCORERS.values()},
    Member: MEMBERS[0].model_dump(),
    Cell: CELL.model_dump(),
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
    added = create_model("Added", __base__=IdentifiedModel, gate=(int, Field(5)))
    added.NOT_IDENTITY = frozenset({"gate"})
    later = create_model("LaterRun", __base__=RunConfig, reader=(later_reader, later_reader()), added=(added, added()))
    assert later.model_validate({"corpus_uri": "s3://corpora/web", "added": {"gate": 6}}).fingerprint == GOLDEN["run"]
    assert later(corpus_uri="s3://corpora/web").fingerprint == GOLDEN["run"]
    other = later_reader.model_validate({"added": 6})
    assert later(corpus_uri="s3://corpora/web", reader=other).fingerprint != GOLDEN["run"]
    assert corpus_key("s3://corpora/web", later_reader().identity(), "0" * 32) == GOLDEN["corpus"]
    later_diversity = create_model("LaterDiversity", __base__=DiversityConfig, added=(int, Field(5)))
    assert cluster_model_key("c", "e", fit_spec([SHARD], later_diversity()), "0" * 64) == GOLDEN["cluster model"]
    later_embedding = create_model("LaterEmbedding", __base__=EmbeddingConfig, added=(int, Field(5)))
    embedding = later_embedding(device="cpu", precision="float32")
    assert fingerprint(load_encoder(embedding).family) == GOLDEN["encoder"]
    assert load_encoder(embedding.model_copy(update={"added": 6})).spec == {**load_encoder(embedding).spec, "added": 6}


def test_every_configuration_of_identities_is_tried_here() -> None:
    # No result depends on blocks, dimensions are tried with their rubric, and the others are bases or a page's.
    others = {"BlockConfig", "Dimension", "Policy", "WithPolicy", "Settings", "ScorerSpec"}
    known = {kind.__name__ for kind in CONFIGURATIONS} | others
    assert {kind.__name__ for kind in every(IdentifiedModel)} - known == set()


@pytest.mark.parametrize("kind", [*CONFIGURATIONS], ids=lambda kind: kind.__name__)
def test_a_configuration_names_its_first_fields_and_they_are_there(kind: type[IdentifiedModel]) -> None:
    assert kind.FIRST_FIELDS
    assert kind.model_fields.keys() >= kind.FIRST_FIELDS | kind.NOT_IDENTITY
