"""A run's configuration as a form: the JSON schema of each field, from which Airflow draws it.

Only the corpus has to be filled in. An empty field takes the value of the corpus's own configuration, else the default.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from samplemix_core.config.quality import AnnotationConfig, TrainingConfig
from samplemix_core.config.run import EmbeddingConfig, RunConfig
from samplemix_core.frozen import NAME, FrozenModel, load_config
from samplemix_core.policies.policy import POLICIES
from samplemix_core.policies.registry import all_parameters

SECTIONS = {
    "": ("corpus_uri", "snapshots", "mixture_name"),
    "How much": ("budget", "tokenizer", "max_copies", "max_share", "max_loss"),
    "How": ("policy", "scorers", "seed"),
    "Advanced": ("retry_refused", "reader", "embedding", "diversity", "blocks", "audit"),
}
"""Section of the form -> its fields, in the order in which they are shown; the parameters of policies follow the policy.

The first, without a name, is open from the start.
"""

_CORPUS = (
    "Name of a corpus (from 'samplemix corpus add'), or where it is: s3://bucket/prefix, or a directory that"
    " SAMPLEMIX_CORPUS_PLACES allows"
)


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
    schema = RunConfig.model_json_schema()
    definitions = schema.get("$defs", {})
    unset = RunConfig.model_construct(corpus_uri="")
    defaults = {name: getattr(unset, name) for name in RunConfig.model_fields} | unset.model_dump(mode="json")
    fields: dict[str, dict[str, Any]] = {}
    for section, names in SECTIONS.items():
        for name in names:
            field = _inline(schema["properties"][name], definitions)
            if name == "corpus_uri":
                shown = {name: field | {"title": "Corpus", "description": _CORPUS, "minLength": 1, "default": ""}}
                shown[name] |= {"examples": list(corpora)} if corpora else {}
            elif name == "policy":
                shown = _policy_fields(field["title"], defaults["policy"]["name"])
            else:
                shown = {name: _optional(field, None if "boolean" in field["type"] or name == "snapshots" else defaults[name])}
            fields |= {key: {**one, "section": section} if section else one for key, one in shown.items()}
    return fields


def _policy_fields(title: str, default: str) -> dict[str, dict[str, Any]]:
    """A field for the policy's name, and one for each parameter that any policy takes."""
    summaries = ". ".join(f"{name}: {kind.summary}" for name, kind in POLICIES.items())
    fields = {"policy": _optional({"type": "string", "enum": list(POLICIES), "title": title, "description": summaries}, default)}
    for name, policies in all_parameters().items():
        of = ", ".join(kind.model_fields["name"].default for kind in policies)
        schema = policies[0].model_json_schema()
        field = {"title": name, **_inline(schema["properties"][name], schema.get("$defs", {}))}
        fields[name] = _optional({**field, "description": f"{field.get('description', name)} (policy {of})"}, field.get("default"))
    return fields


def _optional(field: dict[str, Any], default: Any) -> dict[str, Any]:
    """A field that may be left empty, and says what that means."""
    types = [field["type"]] if "type" in field else [one["type"] for one in field["anyOf"]]
    field = {**field, "type": list(dict.fromkeys([*types, "null"])), "default": None}
    if "enum" in field:
        field |= {"enum": [None, *field["enum"]], "values_display": {"null": "the corpus's setting"}}
    if "properties" in field:
        field["description_md"] = _settings(field.pop("description"), field["properties"])
    elif default is not None:
        shown = ", ".join(default) if isinstance(default, list) else default
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


def _settings(what: str, properties: Mapping[str, Any]) -> str:
    """Describe a group of settings in Markdown: its purpose, and a line for each of them."""
    lines = [
        f"- `{name}` ({json.dumps(field.get('default'))}): {field.get('description', ', '.join(map(str, field.get('enum', ()))))}"
        for name, field in properties.items()
    ]
    return "\n".join([f'{what} List only the settings to change, as `{{"name": value}}`:', "", *lines])


def _inline(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            target = definitions[node["$ref"].rsplit("/", 1)[1]]
            return _inline({**target, **{key: value for key, value in node.items() if key != "$ref"}}, definitions)
        return {key: _inline(value, definitions) for key, value in node.items()}
    if isinstance(node, list):
        return [_inline(item, definitions) for item in node]
    return node
