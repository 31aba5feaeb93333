"""How mixtures are compared: targets, tokens, draws."""

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from samplemix_core.errors import ConfigError
from samplemix_core.frozen import NAME, FrozenModel
from samplemix_core.policies.policy import POLICIES
from samplemix_core.policies.registry import policy_kind


def _distinct_names(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if not NAME.fullmatch(name) or names.count(name) > 1:
            raise ValueError(f"{name!r} is there twice" if names.count(name) > 1 else f"a target can't be called {name!r}")
    return names


class EvaluationConfig(FrozenModel):
    """A comparison of mixtures."""

    targets: Annotated[tuple[str, ...], AfterValidator(_distinct_names)] = Field(
        (), description="Targets to evaluate on, by name; without any, all that were drawn from the corpus"
    )
    tokens: int = Field(
        6_000_000,
        ge=10_000,
        le=100_000_000,
        description="Most tokens that are read of a mixture. Of a larger one, a share of its documents is read, each as often as"
        " the mixture has it",
    )
    draws: int = Field(
        3,
        ge=1,
        le=100,
        description="Draws of each mixture: of the chance in its copies, of what is read, and of the order. Errors are over these",
    )
    target_bytes: int = Field(
        8_000_000, ge=1_000, description="Most bytes that are read of a target; of a larger one, texts are chosen by their hashes"
    )
    controls: bool = Field(
        False,
        description="Compare each mixture's two halves too: its shares of domains with all documents of one alike, and its weights"
        " within domains that keep their natural shares",
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Another seed makes other draws")


BESIDE = ("temperature", "unimax")
"""Policies that a version is compared with where nothing else is asked for, besides natural."""


def _policies(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        try:
            policy_kind(name)
        except ConfigError as error:
            raise ValueError(str(error)) from None
    return names


class EvaluationForm(FrozenModel):
    """A comparison that is asked for from Airflow."""

    mixture: str = Field(pattern=NAME.pattern, title="Mixture", description="Name of a published mixture")
    version: int | None = Field(None, ge=1, title="Version", description="If empty, the latest")
    policies: Annotated[tuple[str, ...], AfterValidator(_policies)] = Field(
        BESIDE, title="Policies", description="To compare with, at their defaults, besides natural"
    )
    beside: tuple[str, ...] = Field(
        (), title="Other mixtures", description="Published ones of the same corpus: NAME or NAME@VERSION"
    )
    evaluation: EvaluationConfig = EvaluationConfig()

    @classmethod
    def as_fields(cls, values: Any) -> dict[str, Any]:
        """Fields of the form beside each other; those that are left empty take their defaults."""
        given = {name: value for name, value in dict(values).items() if value not in (None, "", [])}
        own = {name: given.pop(name) for name in list(given) if name in EvaluationConfig.model_fields}
        return {**given, **({"evaluation": own} if "evaluation" not in given else {})}


def evaluation_form() -> dict[str, dict[str, Any]]:
    """One JSON schema per field of the form, each with its default."""
    fields = {**EvaluationForm.model_json_schema()["properties"], **EvaluationConfig.model_json_schema()["properties"]}
    del fields["evaluation"]
    form = {name: {"default": None, **field} for name, field in fields.items()}
    form["mixture"]["default"] = ""
    form["policies"]["examples"] = sorted(POLICIES)
    titles = {
        "targets": "Targets",
        "tokens": "Tokens",
        "draws": "Draws",
        "target_bytes": "Bytes of a target",
        "controls": "Controls",
    }
    for name, title in {**titles, "seed": "Seed"}.items():
        form[name]["title"] = title
    return form
