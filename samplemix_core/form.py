"""A run's configuration as a form: the JSON schema of each field, from which Airflow draws it.

Only the corpus has to be filled in. What is left empty is as the corpus's own configuration has it, else the default.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from samplemix_core.config import RunConfig

SECTIONS = {
    "": ("corpus_uri", "snapshots", "mixture_name"),
    "How much": ("budget", "tokenizer", "max_copies", "max_loss"),
    "How": ("policy", "alpha", "tau", "seed"),
    "Advanced": ("retry_refused", "reader", "embedding", "diversity", "blocks"),
}
"""Section of the form -> its fields, in the order in which they are shown. The first, without a name, is open from the start."""

_CORPUS = "Name of a corpus ('samplemix corpus add' gives it one), or where it lies: s3://bucket/prefix, or a directory"


DRY_RUN = "dry_run"
DRY_RUN_SCHEMA = {
    "type": "boolean",
    "default": False,
    "title": "Dry run",
    "description": "End after counting and a sample: how many documents and tokens, how long, how much space",
}
"""A field of the form that is not one of the configuration's."""


def form_schema(corpora: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """One self-contained JSON schema a field of RunConfig, in the order of the form; `corpora` are names to suggest.

    Each has its `default`, which is null but for the corpus, and its `section`, unless it is of the first. Its `description`, or
    `description_md` in Markdown, says what leaving it empty means.
    """
    schema = RunConfig.model_json_schema()
    definitions = schema.get("$defs", {})
    defaults = RunConfig.model_construct(corpus_uri="").model_dump(mode="json")
    fields: dict[str, dict[str, Any]] = {}
    for section, names in SECTIONS.items():
        for name in names:
            field = _inline(schema["properties"][name], definitions)
            if name == "corpus_uri":
                field |= {"title": "Corpus", "description": _CORPUS, "minLength": 1, "default": ""}
                field |= {"examples": list(corpora)} if corpora else {}
            else:
                field |= {"type": [field["type"], "null"], "default": None}
                if "enum" in field:
                    field |= {"enum": [None, *field["enum"]], "values_display": {"null": "as the corpus has it"}}
                if "properties" in field:
                    field["description_md"] = _settings(field.pop("description"), field["properties"])
                elif "boolean" not in field["type"] and name != "snapshots":
                    field["description"] += f". Empty: as the corpus has it, else {defaults[name]}"
            fields[name] = {**field, "section": section} if section else field
    return fields


def _settings(what: str, properties: Mapping[str, Any]) -> str:
    """What a group of settings is for, and a line for each of them, as Markdown."""
    lines = [
        f"- `{name}` ({json.dumps(field.get('default'))}): {field.get('description', ', '.join(map(str, field.get('enum', ()))))}"
        for name, field in properties.items()
    ]
    return "\n".join([f'{what} Name what is to be other than the corpus has it, as `{{"name": value}}`:', "", *lines])


def _inline(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            target = definitions[node["$ref"].rsplit("/", 1)[1]]
            return _inline({**target, **{key: value for key, value in node.items() if key != "$ref"}}, definitions)
        return {key: _inline(value, definitions) for key, value in node.items()}
    if isinstance(node, list):
        return [_inline(item, definitions) for item in node]
    return node
