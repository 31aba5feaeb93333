"""All policies, as a field of a configuration, by name, as a manifest records them, and as a table."""

import warnings
from collections.abc import Collection, Mapping
from functools import reduce
from importlib import import_module
from importlib.metadata import entry_points
from operator import or_
from pkgutil import iter_modules
from typing import Annotated, Any

from pydantic import Discriminator, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema

import samplemix_core.policies
from samplemix_core.errors import ConfigError
from samplemix_core.frozen import IdentifiedModel, field_schemas, flattened, json_types, shown_default
from samplemix_core.policies.policy import POLICIES, SETTINGS, Policy, Ranks, Scale, Weigh
from samplemix_core.policies.samplemix import SampleMix

for _module in iter_modules(samplemix_core.policies.__path__, f"{samplemix_core.policies.__name__}."):
    if _module.name != __name__ and not _module.name.endswith(".exponential"):
        import_module(_module.name)

PLUGINS = "samplemix.policies"
"""The entry points by which other packages bring policies: modules whose policies are `registered` when they are imported."""


def _import_plugins() -> None:
    """Import other packages' policies. One that can't be imported is told of, and keeps nobody from working without it."""
    for plugin in entry_points(group=PLUGINS):
        try:
            plugin.load()
        except Exception as error:  # noqa: BLE001 strangers' code
            warnings.warn(f"The policies of {plugin.value} can't be used: {error!r}", RuntimeWarning, stacklevel=1)


_import_plugins()

SCALE_ENDS = ("q_low", "q_high")
"""How a manifest names the ends of a quality model's scale, next to the policy's parameters."""


SCALE_RANKS = ("q_ranks", "d_ranks")
"""How it names ranks of quality and diversity, each as a list of values and one of their places."""


class AnyRegistered:
    """A field's validator: whichever policy its `name` says."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        any_policy: Any = reduce(or_, POLICIES.values())
        return handler.generate_schema(Annotated[any_policy, Discriminator("name")])


class WithPolicy(IdentifiedModel):
    """A configuration with a policy, which may be given by name with its parameters next to it: {"policy": "x", "alpha": 0.5}."""

    policy: Annotated[Policy, AnyRegistered()] = Field(
        SampleMix(), title="Policy", description="How samples are weighed", json_schema_extra={"section": "How"}
    )

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Raise ValueError for a policy whose parameter has the name of a setting: nobody could give it a value."""
        SETTINGS.update(cls.model_fields)
        for policy in POLICIES.values():
            policy.require_own_names()

    @classmethod
    def as_fields(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """See FrozenModel.as_fields."""
        return with_brought(with_name(gathered(values, cls.model_fields)), cls)


def with_brought(values: Mapping[str, Any], kind: type[WithPolicy]) -> dict[str, Any]:
    """Settings with those that its policy brings, or one of its phases', where they are the default."""
    result = dict(values)
    for policy in _named(values):
        for name, brought in policy.brings.items():
            if name not in kind.model_fields:
                continue
            default, own = kind.model_fields[name].default, result.get(name)
            if isinstance(brought, Mapping):
                inside = own.model_dump() if isinstance(own, IdentifiedModel) else own or {}
                if not isinstance(inside, Mapping):
                    # It is refused for what it is.
                    continue
                result[name] = {**inside, **{key: value for key, value in brought.items() if not inside.get(key)}}
            elif own is None or own == default:
                result[name] = brought
    return result


def without_brought(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings without those that its policy brought: another one would not have them."""
    result = dict(values)
    for policy in _named(values):
        for name, brought in policy.brings.items():
            own = result.get(name)
            if isinstance(brought, Mapping) and isinstance(own, Mapping):
                alike = {key for key, value in brought.items() if own.get(key) in (value, list(value))}
                result[name] = {key: value for key, value in own.items() if key not in alike}
            elif own == brought:
                del result[name]
    return result


def brought_by(values: Mapping[str, Any]) -> set[str]:
    """Names of the policies among those of settings that bring others."""
    return {kind.model_fields["name"].default for kind in _named(values) if kind.brings}


def _named(values: Mapping[str, Any]) -> list[type[Policy]]:
    """The policies that settings name, the run's and its phases'."""
    phases = values.get("phases")
    found = []
    for holder in (values, *(phases if isinstance(phases, list | tuple) else ())):
        policy = holder.get("policy") if isinstance(holder, Mapping) else getattr(holder, "policy", None)
        name = policy.get("name") if isinstance(policy, Mapping) else getattr(policy, "name", policy)
        if isinstance(name, str) and name in POLICIES:
            found.append(POLICIES[name])
    return found


def all_parameters() -> dict[str, list[type[Policy]]]:
    """Every parameter's name, with the policies that take it."""
    found: dict[str, list[type[Policy]]] = {}
    for policy in POLICIES.values():
        for name in policy.parameter_names():
            found.setdefault(name, []).append(policy)
    return found


def parameter_schemas() -> dict[str, dict[str, Any]]:
    """The JSON schema of each parameter: of one that several policies take, what they agree on, all types, and each one's words."""
    found = {}
    for name, policies in all_parameters().items():
        schemas = [flattened(field_schemas(policy)[name]) for policy in policies]
        shared = {key: value for key, value in schemas[0].items() if all(key in one and one[key] == value for one in schemas)}
        takers: dict[tuple[str, str], list[str]] = {}
        for policy, one in zip(policies, schemas, strict=True):
            shown = "" if "default" in shared else shown_default(one.get("default"))
            default = f"; default {shown}" if shown else ""
            takers.setdefault((one.get("description", name), default), []).append(policy.model_fields["name"].default)
        words = ". ".join(f"{words} (policy {', '.join(of)}{default})" for (words, default), of in takers.items())
        kinds = list(dict.fromkeys(kind for one in schemas for kind in json_types(one)))
        found[name] = {**shared, "type": kinds if len(kinds) > 1 else kinds[0], "description": words}
    return found


def gathered(values: Mapping[str, Any], fields: Collection[str] = ()) -> dict[str, Any]:
    """Return settings with a policy's name, and the policy parameters next to it, gathered into one `policy`.

    A name in `fields` is a setting and not a policy's parameter.
    """
    known = all_parameters()
    given = {name: value for name, value in values.items() if name in known and name not in fields}
    rest = {name: value for name, value in values.items() if name not in given}
    policy = rest.get("policy")
    if isinstance(policy, str):
        policy = {"name": policy}
    if given and (policy is None or isinstance(policy, Mapping)):
        policy = {**(policy or {}), **given}
    return rest if policy is None else {**rest, "policy": dict(policy) if isinstance(policy, Mapping) else policy}


def with_name(values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose policy, if it is there and only has parameters, is samplemix."""
    policy = values.get("policy")
    if not isinstance(policy, dict):
        return dict(values)
    return {**values, "policy": {"name": SampleMix.model_fields["name"].default, **policy}}


def policy_kind(name: str) -> type[Policy]:
    """The policy of that name; raise ConfigError if there is none."""
    if name not in POLICIES:
        raise ConfigError(f"There is no policy {name!r}.", f"Choose one of: {', '.join(POLICIES)}.")
    return POLICIES[name]


def record(policy: Policy, scale: Scale) -> dict[str, Any]:
    """Return everything that the policy's weights depend on besides the columns, as a manifest records it."""
    reads_scale = policy.reads_scale or (policy.reads_diversity and scale.diversity_ranks is not None)
    return {**policy.parameters(), **(recorded_scale(scale) if reads_scale else {})}


def recorded_scale(scale: Scale) -> dict[str, Any]:
    """A scale as a manifest records it: ranks only where it has them."""
    ranks = zip(SCALE_RANKS, (scale.quality_ranks, scale.diversity_ranks), strict=True)
    named = {name: [list(part) for part in found] for name, found in ranks if found is not None}
    return {**dict(zip(SCALE_ENDS, (scale.low, scale.high), strict=True)), **named}


def scale_of(parameters: Mapping[str, Any]) -> Scale:
    """The scale that a manifest records beside a policy's parameters."""
    low, high = (float(parameters.get(end, default)) for end, default in zip(SCALE_ENDS, (0.0, 1.0), strict=True))
    ranks = [Ranks(*(tuple(part) for part in parameters[name])) if name in parameters else None for name in SCALE_RANKS]
    return Scale(low, high, *ranks)


def recorded(name: str, parameters: Mapping[str, Any]) -> Weigh:
    """Return the weights of a policy as a manifest records it. Raises ConfigError if they can't be computed here."""
    own = {key: value for key, value in parameters.items() if key not in (*SCALE_ENDS, *SCALE_RANKS)}
    kind = policy_kind(name)
    if unknown := own.keys() - kind.model_fields.keys():
        raise ConfigError(
            f"Policy {name!r} has no parameter {', '.join(sorted(unknown))} here.", "Look with the SampleMix that made the mixture."
        )
    return kind.model_validate(own).weigh(scale_of(parameters))


def policies_table() -> str:
    """The policies with their parameters in Markdown, as in docs/policies.md."""
    rows = []
    for name, kind in POLICIES.items():
        schemas = field_schemas(kind)
        formula = (kind.__doc__ or "").partition("\n")[0]
        rows.append((f"`{name}`", "", "", "", f"{kind.summary}. {formula}"))
        for parameter in kind.parameter_names():
            field = flattened(schemas[parameter])
            limits = " to ".join(f"{field[end]:g}" for end in ("minimum", "maximum") if end in field)
            rows.append(("", f"`{parameter}`", shown_default(field.get("default")) or "none", limits, field.get("description", "")))
    header = ["| policy | parameter | default | limits | meaning |", "|---|---|---|---|---|"]
    lines = ("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)
    return "\n".join([*header, *lines]).replace("|  |", "| |").replace("|  |", "| |") + "\n"
