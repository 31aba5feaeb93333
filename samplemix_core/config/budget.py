"""A token budget, as people write it."""

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from samplemix_core.errors import BudgetError

_BUDGET = re.compile(r"^\s*(\d+(?:_\d+)*(?:\.\d+)?)\s*([kKmMbBtT%]?)\s*$")
_MOST_TEXT = 64

MOST_TOKENS = 2**63 - 1
"""The most that Postgres and the solver can count."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "t": 10**12}


@dataclass(frozen=True)
class Budget:
    """A token budget: a number of tokens, or a percentage of the source's. As text: '100B', '2.5M', '1_000_000', '20%'.

    Exactly one of the two, and more than zero. Raises ValueError otherwise.
    """

    tokens: int | None = None
    percent: float | None = None

    def __post_init__(self) -> None:
        if (self.tokens is None) == (self.percent is None):
            raise ValueError(f"a budget is either tokens or a percentage, not {self!r}")
        if not (self.tokens or self.percent or 0) > 0:
            raise ValueError(f"budget {self} is zero")

    def __str__(self) -> str:
        return str(self.tokens) if self.percent is None else f"{self.percent!r}%".replace(".0%", "%")

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """Read a budget's text; raise ValueError if it isn't one."""
        match = _BUDGET.match(text) if len(text) <= _MOST_TEXT else None
        if match is None:
            raise ValueError(f"budget {text[:_MOST_TEXT]!r} is neither a number of tokens (100B, 2.5M, 1000000) nor a share (20%)")
        number = Decimal(match[1].replace("_", ""))
        unit = match[2].lower()
        if number * _UNITS.get(unit, 1) > MOST_TOKENS:
            raise ValueError(f"budget {text!r} is more than can be counted, {MOST_TOKENS}")
        return cls(percent=float(number)) if unit == "%" else cls(tokens=round(number * _UNITS[unit]))

    def resolve(self, source_tokens: int) -> int:
        """The budget in tokens, given the source's eligible tokens; raise BudgetError if that is less than one token."""
        if self.tokens is not None:
            return self.tokens
        assert self.percent is not None
        tokens = round(self.percent / 100 * source_tokens)
        if tokens < 1:
            raise BudgetError(f"The budget {self} of {source_tokens:,} source tokens is less than one token.", "Raise the budget.")
        return tokens


def _to_budget(value: object) -> object:
    return Budget.parse(value) if isinstance(value, str) else value


_SCHEMA = WithJsonSchema({"type": "string", "pattern": _BUDGET.pattern})
BudgetField = Annotated[Budget, BeforeValidator(_to_budget), PlainSerializer(str, return_type=str), _SCHEMA]
"""A budget that is given, and written, as text."""
