"""A run's configuration as a form: the JSON schema of each field, from which Airflow draws it.

Only the corpus has to be filled in. What is left empty is as the corpus's own configuration has it, else the default.
"""

from typing import Any

from samplemix_core.config import RunConfig

SECTIONS = {
    "What": ("corpus_uri", "snapshots", "mixture_name"),
    "How much": ("budget", "tokenizer", "max_copies", "max_loss"),
    "How": ("policy", "alpha", "tau", "seed"),
    "Advanced": ("retry_refused", "reader", "embedding", "diversity", "blocks"),
}
"""Section of the form -> its fields, in the order in which they are shown."""

_CORPUS = "Name of a corpus ('samplemix corpus add' gives it one), or where it lies: s3://bucket/prefix, or a directory"


def form_schema() -> dict[str, dict[str, Any]]:
    """One self-contained JSON schema a field of RunConfig, in the order of the form, each with its `section` and its `default`.

    All but the corpus may be null, which is their default here; the description says what that means.
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
            else:
                field["type"] = [field["type"], "null"]
                if "enum" in field:
                    field["enum"] = [*field["enum"], None]
                if field["type"][0] != "object" and name != "snapshots":
                    field["description"] += f". Empty: as the corpus has it, else {defaults[name]}"
                field["default"] = None
            fields[name] = {**field, "section": section}
    return fields


def _inline(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            target = definitions[node["$ref"].rsplit("/", 1)[1]]
            return _inline({**target, **{key: value for key, value in node.items() if key != "$ref"}}, definitions)
        return {key: _inline(value, definitions) for key, value in node.items()}
    if isinstance(node, list):
        return [_inline(item, definitions) for item in node]
    return node
