"""The forms of a run, a quality model and upkeep: the JSON schema of each field, from which Airflow draws them.

In a run's form only the corpus has to be filled in. An empty field takes the value of the corpus's own configuration, else the
default.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from samplemix_core.config.quality import AnnotationConfig, TrainingConfig
from samplemix_core.config.run import EmbeddingConfig, RunConfig
from samplemix_core.frozen import NAME, FrozenModel, field_schemas, flattened, json_types, load_config, shown_default
from samplemix_core.policies.policy import POLICIES
from samplemix_core.policies.registry import parameter_schemas

SECTIONS = ("", "How much", "How", "Advanced")
"""Sections of a run's form, in order. A field of RunConfig names its section; those that name none are in the first, which is open
from the start."""

_CORPUS = (
    "Name of a corpus (from 'samplemix corpus add'), or where it is: s3://bucket/prefix, or a directory that"
    " SAMPLEMIX_CORPUS_PLACES allows"
)


PHASES_EXAMPLE = (
    '[{"name": "broad", "share": 0.9, "policy": "natural", "max_copies": 2}, {"name": "clean", "share": 0.1, "tau": 0.05}]'
)
"""Phases as people write them."""

DRY_RUN = "dry_run"
DRY_RUN_SCHEMA = {
    "type": "boolean",
    "default": False,
    "title": "Dry run",
    "description": "Only count and estimate from a sample: documents, tokens, time and space",
}
"""A field of the form that isn't in the configuration."""


def form_schema(corpora: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Return one self-contained JSON schema per field of RunConfig and per parameter of a policy, in the order of the form.

    `corpora` are names to suggest. Each schema has its `default`, which is null except for the corpus, and its `section`, unless it
    is in the first. Its `description`, or `description_md` in Markdown, says what leaving it empty means.
    """
    schemas = field_schemas(RunConfig)
    unset = RunConfig.model_construct(corpus_uri="")
    defaults = {name: getattr(unset, name) for name in RunConfig.model_fields} | unset.model_dump(mode="json")
    fields: dict[str, dict[str, Any]] = {}
    for name, field in sorted(schemas.items(), key=lambda item: SECTIONS.index(item[1].get("section", ""))):
        if name == "corpus_uri":
            fields[name] = field | {"title": "Corpus", "description": _CORPUS, "minLength": 1, "default": ""}
            fields[name] |= {"examples": list(corpora)} if corpora else {}
        elif name == "phases":
            # People write a policy's parameters beside its name, which the model's own schema doesn't know.
            fields[name] = _optional({**field, "items": {"type": "object"}}, None)
            fields[name]["description"] += f". For example {PHASES_EXAMPLE}"
        elif name == "policy":
            fields |= {
                key: {**one, "section": field["section"]}
                for key, one in _policy_fields(field["title"], defaults[name]["name"]).items()
            }
        else:
            fields[name] = _optional(field, None if "boolean" in field["type"] or name == "snapshots" else defaults[name])
    return fields


def _policy_fields(title: str, default: str) -> dict[str, dict[str, Any]]:
    """A field for the policy's name, and one for each parameter that any policy takes."""
    summaries = ". ".join(f"{name}: {kind.summary}" for name, kind in POLICIES.items())
    fields = {"policy": _optional({"type": "string", "enum": list(POLICIES), "title": title, "description": summaries}, default)}
    for name, field in parameter_schemas().items():
        fields[name] = _optional({"title": name, **field}, field.get("default"))
    return fields


def _optional(field: dict[str, Any], default: Any) -> dict[str, Any]:
    """A field that may be left empty, and says what that means."""
    field = {**field, "type": list(dict.fromkeys([*json_types(field), "null"])), "default": None}
    if "enum" in field:
        field |= {"enum": [None, *field["enum"]], "values_display": {"null": "the corpus's setting"}}
    if "properties" in field:
        field["description_md"] = _settings(field.pop("description"), field["properties"])
    elif shown := shown_default(default):
        field["description"] += f". Default: the corpus's setting, or {shown}"
    return field


class QualityForm(FrozenModel):
    """How to make a quality model: existing labels to use, a language model to ask for more, and how to train on them."""

    name: str = Field(
        title="Name",
        min_length=1,
        pattern=NAME.pattern,
        description="Name of the quality model; used again, it makes the next version",
    )
    annotators: tuple[str, ...] = Field(
        (), title="Annotators", description="Annotators whose labels to use, in addition to the language model below"
    )
    model: str = Field(
        "", title="Language model", description="Model to ask for labels, by its name at the endpoint. Leave empty to ask no model"
    )
    corpus: str = Field("", title="Corpus", description="Corpus whose documents to ask about, by name or URI; it must be scored")
    documents: int = Field(1000, ge=1, title="Documents", description="Most documents to ask about")
    encoder: str = Field(EmbeddingConfig().encoder, title="Encoder", min_length=1, description="Encoder to read vectors of")
    finetune: bool = Field(False, title="Fine-tune", description="Also train the encoder itself; takes minutes on a GPU")
    annotation: dict[str, Any] = Field({}, title="Annotation", description="Other annotation settings")
    training: dict[str, Any] = Field({}, title="Training", description="Other training settings")
    dry_run: bool = Field(False, title="Dry run", description="Show what would be asked and what it would cost; train nothing")

    def annotation_config(self) -> AnnotationConfig | None:
        """How the language model is asked; None if none is. Raises ConfigError for invalid settings."""
        if not self.model:
            return None
        own = {"corpus": self.corpus, "model": self.model, "documents": self.documents}
        return load_config(AnnotationConfig, {**self.annotation, **own})

    def training_config(self, *asked: str) -> TrainingConfig:
        """How the model is trained, on the labels of these annotators too. Raises ConfigError for invalid settings."""
        own: dict[str, Any] = {"name": self.name, "annotators": list(dict.fromkeys([*self.annotators, *asked]))}
        own["embedding"] = {**self.training.get("embedding", {}), "encoder": self.encoder}
        if self.finetune:
            own["finetune"] = self.training.get("finetune") or {}
        return load_config(TrainingConfig, {**self.training, **own})


def quality_form() -> dict[str, dict[str, Any]]:
    """Return one JSON schema per field of QualityForm, each with its default; groups of settings are described in Markdown."""
    fields = {name: {"default": None, **field} for name, field in QualityForm.model_json_schema()["properties"].items()}
    fields["name"]["default"] = ""
    for name, kind in (("annotation", AnnotationConfig), ("training", TrainingConfig)):
        schema = kind.model_json_schema()
        own = {key: value for key, value in schema["properties"].items() if key not in QualityForm.model_fields}
        fields[name] |= {"section": "Advanced", "description_md": _settings(fields[name].pop("description") + ".", own)}
    return fields


class Upkeep(FrozenModel):
    """The upkeep to do. Beyond old drafts and dead corpora, nothing is deleted unless this says so."""

    keep_versions: int | None = Field(
        None,
        ge=1,
        title="Keep versions",
        description="Drop the samples of all but this many newest versions of each mixture from Postgres. By default all are kept;"
        " manifests always are",
    )
    unused_days: int | None = Field(
        None,
        ge=1,
        title="Unused days",
        description="Drop scores that no kept version uses (other models, removed crawls) this many days after the last was added."
        " By default they are kept",
    )
    delete_orphans: bool = Field(
        False,
        title="Delete orphans",
        description="Delete embeddings and cluster models that no score refers to; otherwise they are only counted",
    )
    dry_run: bool = Field(False, title="Dry run", description="Show what would be done, and do nothing")

    @property
    def drops_unused(self) -> bool:
        """Whether unused scores are dropped, not only counted."""
        return self.unused_days is not None and not self.dry_run


def upkeep_form() -> dict[str, dict[str, Any]]:
    """Return one JSON schema per field of Upkeep, each with its default."""
    return {name: flattened(field) for name, field in field_schemas(Upkeep).items()}


def _settings(what: str, properties: Mapping[str, Any]) -> str:
    """Describe a group of settings in Markdown: its purpose, and a line for each of them."""
    lines = [
        f"- `{name}` ({json.dumps(field.get('default'))}): {field.get('description', ', '.join(map(str, field.get('enum', ()))))}"
        for name, field in properties.items()
    ]
    return "\n".join([f'{what} List only the settings to change, as `{{"name": value}}`:', "", *lines])
