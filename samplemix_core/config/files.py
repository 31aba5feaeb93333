"""Settings in files that people write: JSON or YAML."""

import json
from pathlib import Path
from typing import Any

from samplemix_core.errors import ConfigError


def read_settings(file: Path, remedy: str) -> Any:
    """What a JSON or YAML file holds; one that isn't named .json may be either.

    Raises ConfigError, with this remedy, if it can't be read, and if a name is there twice, of which one would be lost.
    """
    try:
        text = file.read_text(encoding="utf-8-sig")
        try:
            return json.loads(text, object_pairs_hook=_distinct)
        except ValueError:
            if file.suffix.lower() == ".json":
                raise
        return _yaml(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{file} can't be read: {error}.", remedy) from None


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is there twice")
    return dict(pairs)


def _yaml(text: str) -> Any:
    """The value of a YAML text. Aliases, by which a few lines could become endless, are refused. Raises ValueError in one line."""
    # The light wheel has none.
    import yaml

    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                raise ValueError(f"line {event.start_mark.line + 1}, aliases are not read here")
        _require_distinct(yaml.compose(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise ValueError(f"{'' if mark is None else f'line {mark.line + 1}, '}{error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None


def _require_distinct(node: Any) -> None:
    """Raise ValueError for a YAML mapping, anywhere in it, that has a name twice."""
    if isinstance(getattr(node, "value", None), list):
        for inner in node.value:
            for each in inner if isinstance(inner, tuple) else (inner,):
                _require_distinct(each)
        if node.id == "mapping":
            _distinct([(key.value, None) for key, _ in node.value if key.id == "scalar"])
