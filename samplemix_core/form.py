"""A run's configuration as a form: the JSON schema of each field, from which Airflow draws it."""

from typing import Any

from samplemix_core.config import RunConfig


def form_schema() -> dict[str, dict[str, Any]]:
    """The run's JSON schema, one self-contained schema a top-level field, with defaults: what a form is made of."""
    schema = RunConfig.model_json_schema()
    definitions = schema.get("$defs", {})
    defaults = RunConfig.model_construct(corpus_uri="").model_dump(mode="json")
    fields: dict[str, dict[str, Any]] = {}
    for name, field in schema["properties"].items():
        inlined = _inline(field, definitions)
        inlined["default"] = defaults[name]
        fields[name] = inlined
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
