"""Frozen, validated models: how they are read, with errors that name the field, and what of them makes an identity.

Light, for DAG files that import it when parsed: pydantic, and nothing heavy.
"""

import difflib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar, get_args

from pydantic import VERSION, BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo

from samplemix_core.errors import ConfigError

NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,62}$")
"""What corpora, mixtures and quality models may be called."""


_DEFERS = tuple(map(int, VERSION.split(".")[:2])) >= (2, 14)
"""Earlier versions of pydantic can't defer building models safely: two threads that use one first build it at once, and fail."""


class FrozenModel(BaseModel):
    """A value object: can't be changed after validation, refuses fields it does not know.

    Its validator is built when it is first used: most processes import many models and use few.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, defer_build=_DEFERS)

    @classmethod
    def as_fields(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Values under the names of fields; a model that allows another way to give them overrides this."""
        return dict(values)

    @classmethod
    def variants(cls) -> "Mapping[str, type[FrozenModel]]":
        """The models that a field of this type may hold, by their `name`; none where it holds this model itself."""
        return {}

    @model_validator(mode="before")
    @classmethod
    def _by_field(cls, values: Any) -> Any:
        return cls.as_fields(values) if isinstance(values, Mapping) else values


class IdentifiedModel(FrozenModel):
    """A configuration that identities are made from, so that one added field must not change them all.

    Each class names the fields of its first release, which are part of an identity whatever their value. Any other field is part
    of it only where its value is not the default.
    """

    FIRST_FIELDS: ClassVar[frozenset[str]] = frozenset()
    """Fields that an identity always holds. Never add to these, or every stored identity changes."""

    NOT_IDENTITY: ClassVar[frozenset[str]] = frozenset()
    """Fields that no identity holds: gates, speed, and whether something is done again."""

    def canonical(self) -> dict[str, Any]:
        """All settings as JSON values; a field that isn't one of FIRST_FIELDS is left out at its default."""
        return self._stated(IdentifiedModel.canonical, frozenset())

    def identity(self) -> dict[str, Any]:
        """The settings that identify results, as JSON values: canonical() without NOT_IDENTITY, here and in models within."""
        return self._stated(IdentifiedModel.identity, self.NOT_IDENTITY)

    def _stated(self, within: "Callable[[IdentifiedModel], dict[str, Any]]", without: frozenset[str]) -> dict[str, Any]:
        values = self.model_dump(mode="json", exclude=set(without))
        stated = {}
        for name, field in type(self).model_fields.items():
            if name in without:
                continue
            value, default = getattr(self, name), field.get_default(call_default_factory=True, validated_data={})
            own = _inner(value, values[name], within)
            is_default = value == default or (isinstance(default, IdentifiedModel) and own == within(default))
            if name in self.FIRST_FIELDS or not is_default:
                stated[name] = own
        return stated


def _inner(value: Any, dumped: Any, within: Callable[[IdentifiedModel], dict[str, Any]]) -> Any:
    if isinstance(value, IdentifiedModel):
        return within(value)
    if isinstance(value, tuple):
        return [_inner(*pair, within) for pair in zip(value, dumped, strict=True)]
    return dumped


def field_schemas(kind: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """The JSON schema of each field of `kind`, with what it refers to inside."""
    schema = kind.model_json_schema()
    return {name: _inline(field, schema.get("$defs", {})) for name, field in schema["properties"].items()}


def _inline(node: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            target = definitions[node["$ref"].rsplit("/", 1)[1]]
            return _inline({**target, **{key: value for key, value in node.items() if key != "$ref"}}, definitions)
        return {key: _inline(value, definitions) for key, value in node.items()}
    if isinstance(node, list):
        return [_inline(item, definitions) for item in node]
    return node


def flattened(field: Mapping[str, Any]) -> dict[str, Any]:
    """A field's schema with its types and bounds side by side, without anyOf: forms read no other."""
    if "anyOf" not in field:
        return dict(field)
    bounds = {key: value for one in field["anyOf"] for key, value in one.items()}
    return {**bounds, **{key: value for key, value in field.items() if key != "anyOf"}, "type": json_types(field)}


def shown_default(value: Any) -> str:
    """A field's default as people write it; empty if there is none."""
    if isinstance(value, list | tuple):
        return ", ".join(map(shown_default, value))
    return "" if value is None or value == {} else value if isinstance(value, str) else json.dumps(value)


def json_types(field: Mapping[str, Any]) -> list[str]:
    """The JSON types that a field's schema allows."""
    kinds = field["type"] if "type" in field else [kind for one in field["anyOf"] for kind in json_types(one)]
    return [kinds] if isinstance(kinds, str) else list(dict.fromkeys(kinds))


Config = TypeVar("Config", bound=FrozenModel)


def load_config(kind: type[Config], values: dict[str, Any], what: str = "configuration") -> Config:
    """Validate values as a RunConfig or another; raise ConfigError naming each bad field, its value and what is allowed.

    `what` is what people call it.
    """
    problems = list(_unfit(kind, values, ()))
    if not problems:
        try:
            return kind.model_validate(values)
        except ValidationError as error:
            problems = list(_problems(kind, error))
    raise ConfigError(f"The {what} is not valid: {'; '.join(problems)}.", "Correct this and try again.")


def split_unknown(kind: type[BaseModel], values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """JSON values without the fields that `kind`, and the models in it, don't have; and those fields, by dotted name.

    Items of a list have one name together: of a field that several have, the first one's value is given.
    """
    unknown: dict[str, Any] = {}

    def known(annotation: Any, value: Any, place: tuple[str, ...]) -> Any:
        if _model_in(annotation) is None:
            return value
        if isinstance(value, list | tuple):
            return [known(annotation, inner, place) for inner in value]
        if not isinstance(value, Mapping):
            return value
        kept = {}
        values, fields = _as_fields(annotation, value)
        variants, variant = _variants(annotation), values.get("name")
        if variants and isinstance(variant, str) and variant not in variants:
            return values  # The variant is gone, and nobody can say which of its fields are known.
        for name, inner in values.items():
            if (field := fields.get(name)) is None:
                unknown.setdefault(".".join((*place, str(name))), inner)
            else:
                kept[name] = known(field.annotation, inner, (*place, name))
        return kept

    return known(kind, values, ()), unknown


Place = tuple[str | int, ...]


def _named(place: Place) -> str:
    return _shown(".".join(map(str, place)) or "run")


def _shown(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


_MOST_SHOWN = 100
"""Characters of a value that an error shows."""


def _unfit(kind: Any, value: Any, place: Place) -> Iterator[str]:
    """What no configuration may hold: text that can't be stored or encoded, and true or false for a number."""
    if isinstance(value, bool):
        if not _takes(kind, bool):
            wanted = "text (in YAML, put it in quotes)" if _takes(kind, str) else "a number"
            yield f"{_named(place)} = {value}: expected {wanted}, got true or false"
    elif isinstance(value, str):
        if "\0" in value or value != value.encode(errors="replace").decode():
            yield f"{_named(place)} = {_shown(ascii(value))}: a NUL character, or bytes that are not UTF-8, can't be stored"
    elif isinstance(value, Mapping):
        values, fields = _as_fields(kind, value)
        for name, inner in values.items():
            yield from _unfit(fields[name].annotation if name in fields else Any, inner, (*place, name))
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value):
            yield from _unfit(_model_in(kind) or Any, inner, (*place, number))


def _takes(annotation: Any, kind: type) -> bool:
    return annotation in (kind, Any) or any(_takes(inner, kind) for inner in get_args(annotation))


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model that an annotation is, or is a collection of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _model_in(inner)) is not None), None)


def _fields(annotation: Any) -> dict[str, FieldInfo]:
    model = _model_in(annotation)
    return {} if model is None else model.model_fields


def _variants(annotation: Any) -> Mapping[str, type[FrozenModel]]:
    model = _model_in(annotation)
    return model.variants() if model is not None and issubclass(model, FrozenModel) else {}


def _as_fields(annotation: Any, values: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, FieldInfo]]:
    """Values under the names of fields, and the fields of the model that they are for."""
    model = _model_in(annotation)
    if model is not None and issubclass(model, FrozenModel):
        values = model.as_fields(values)
    kind = values.get("name")
    return values, _fields(_variants(annotation).get(kind, annotation) if isinstance(kind, str) else annotation)


def _resolve(kind: Any, loc: Place) -> tuple[Place, Any, Any, str]:
    """Where an error is, the annotations of what holds it and of itself, and the variant's name where the holder is one.

    Pydantic puts the names of variants into places, where nobody writes them.
    """
    place: list[str | int] = []
    holder = own = kind
    variant = ""
    for element in loc:
        if isinstance(element, str) and element in (variants := _variants(own)):
            own, variant = variants[element], element
            continue
        place.append(element)
        holder = own
        if isinstance(element, str):
            own = getattr(_fields(own).get(element), "annotation", Any)
    return tuple(place), holder, own, variant


def _problems(kind: type[BaseModel], error: ValidationError) -> Iterator[str]:
    """What is wrong, one by one; a field under a wrong name is one mistake and not two, nor is what follows from it."""
    found: list[dict[str, Any]] = []
    meant: dict[Place, Place] = {}
    for each in error.errors(include_url=False, include_context=False):
        place, holder, own, variant = _resolve(kind, each["loc"])
        found.append({**each, "loc": place, "allowed": list(_variants(own)), "variant": variant})
        if each["type"] == "extra_forbidden":
            for near in difflib.get_close_matches(str(place[-1]), _fields(holder), n=1):
                meant[place] = (*place[:-1], near)
    missing = {item["loc"] for item in found if item["type"] == "missing"}
    # One field that is missing, and one that there is not, under names that are not alike, are one mistake too.
    for place in missing - set(meant.values()):
        beside = [item["loc"] for item in found if item["type"] == "extra_forbidden" and item["loc"][:-1] == place[:-1]]
        if len(beside) == 1 and beside[0] not in meant and [loc for loc in missing if loc[:-1] == place[:-1]] == [place]:
            yield f"{_named(place)} is missing, and there is no field {_named(beside[0])}"
            found = [item for item in found if item["loc"] not in (place, beside[0])]
    for item in found:
        place = item["loc"]
        if place in meant:
            yield f"there is no field {_named(place)} (did you mean {_named(meant[place])}?)"
        elif item["type"] == "extra_forbidden":
            variant = item["variant"]
            yield f"{_named(place[:-1])} {variant} has no field {place[-1]}" if variant else f"there is no field {_named(place)}"
        elif item["type"] == "union_tag_invalid":
            named = _shown(repr(item["input"].get("name")))
            yield f"there is no {_named(place)} {named}; choose one of: {', '.join(item['allowed'])}"
        elif item["type"] == "missing":
            if place not in meant.values():
                yield f"{_named(place)} is missing"
        elif item["type"] == "tuple_type" and isinstance(item["input"], str | int | float):
            yield f"{_named(place)} is a list: write {_shown(json.dumps([item['input']]))}"
        elif item["type"] != "too_short" or not any(other["loc"][: len(place)] == place != other["loc"] for other in found):
            # A rule about several fields names them itself.
            held = f"{_named(place)} = {_shown(repr(item['input']))}: " if place else ""
            yield held + item["msg"].removeprefix("" if place else "Value error, ")
