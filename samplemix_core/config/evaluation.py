"""How mixtures are compared: targets, tokens, draws."""

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

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
    confirm: bool = Field(
        False,
        description="Train a small transformer on each draw too, and say how often it orders mixtures as the quick check does. It"
        " takes minutes a draw on a CPU: read fewer tokens",
    )
    parameters: int = Field(
        1_000_000,
        ge=1_000_000,
        le=1_000_000_000,
        description="About how many weights the transformer has besides its vocabulary's",
    )
    sequence: int = Field(256, ge=16, le=8192, description="Tokens that the transformer reads at once")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="Where the transformer is trained: auto uses a worker's GPU if it has one, cuda waits for one that has"
    )


class GateConfig(FrozenModel):
    """What a draft must show before it is published: how it may compare with every document alike, on targets."""

    most_worse: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Most that a draft may be worse than every document alike on any target, as a share: with 0.1, the run stops"
        " if a steps ratio is below 0.9. None: nothing is required",
    )
    targets: Annotated[tuple[str, ...], AfterValidator(_distinct_names)] = Field(
        (), description="Targets to evaluate on, by name; without any, all that were drawn from the corpus"
    )
    tokens: int = Field(6_000_000, ge=10_000, le=100_000_000, description="Most tokens that are read of the draft")
    draws: int = Field(3, ge=1, le=100, description="Draws of each of the two")

    @model_validator(mode="after")
    def _requires_something(self) -> Self:
        if self.most_worse is None and self.model_fields_set - {"most_worse"} and self != GateConfig():
            raise ValueError("most_worse is missing, without which nothing is required")
        return self


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
        "seed": "Seed",
        "confirm": "Confirm",
        "parameters": "Parameters",
        "sequence": "Sequence",
        "device": "Device",
    }
    for name, title in titles.items():
        form[name]["title"] = title
    return form
