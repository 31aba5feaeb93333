"""The rubric is one object: what is asked for, what is answered and what is stored are made of it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from samplemix_core.errors import ConfigError
from samplemix_core.quality.rubric import DEFAULT_RUBRIC, read_rubric
from samplemix_core.schemas import DIMENSIONS

OWN: dict[str, Any] = {
    "name": "legal",
    "dimensions": [{"name": "legal_value", "maximum": 5, "meaning": "Legal reasoning and value"}],
}


def test_the_papers_seven_dimensions_add_up_to_10() -> None:
    assert DEFAULT_RUBRIC.names == DIMENSIONS
    assert DEFAULT_RUBRIC.maximum == 10
    assert list(DEFAULT_RUBRIC.maxima) == [*DIMENSIONS, "overall"]


def test_a_teams_own_rubric_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "legal.json"
    file.write_text(json.dumps(OWN))
    own = read_rubric(file)
    assert own.maxima == {"legal_value": 5}
    assert own.overall == "legal_value"
    file.write_text(DEFAULT_RUBRIC.model_dump_json())
    assert read_rubric(file) == DEFAULT_RUBRIC


def test_a_rubric_is_another_where_a_name_a_range_or_a_meaning_is() -> None:
    first = DEFAULT_RUBRIC.dimensions[0]
    changes = ({"name": "other"}, {"maximum": 3}, {"meaning": "Something else"})
    keys = {
        DEFAULT_RUBRIC.model_copy(update={"dimensions": (first.model_copy(update=change),)}).rubric_key for change in ({}, *changes)
    }
    assert len(keys) == 4


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "can't be read as a rubric"),
        ("[]", "holds no rubric"),
        ('{"name": "x", "dimensions": []}', "dimensions"),
        (json.dumps({**OWN, "dimensions": OWN["dimensions"] * 2}), "'legal_value': it is there twice"),
        ('{"name": "x", "dimensions": [{"name": "overall", "maximum": 1, "meaning": "m"}]}', "'overall': taken"),
        ('{"name": "x", "dimensions": [{"name": "a", "maximum": 0, "meaning": "m"}]}', "dimensions.0.maximum = 0"),
        ('{"name": "x", "dimensions": [{"name": "a b", "maximum": 1, "meaning": "m"}]}', "dimensions.0.name"),
        ('{"name": "x", "dimensions": [{"name": "a", "maximum": 1, "meaning": "m"}], "more": 1}', "more"),
    ],
)
def test_a_bad_rubric_is_refused_with_what_is_wrong(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "rubric.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=said):
        read_rubric(file)


def test_an_answer_is_whole_numbers_in_range_and_a_reason() -> None:
    schema = DEFAULT_RUBRIC.answer_schema()
    answer = {"rationale": "Because.", **dict.fromkeys(DIMENSIONS, 1)}
    jsonschema.validate(answer, schema)
    for wrong in ({"clarity": 2}, {"clarity": 0.5}, {"clarity": -1}, {"clarity": "1"}, {"depth": 1}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(answer | wrong, schema)
    for missing in ("rationale", "reasoning"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({name: value for name, value in answer.items() if name != missing}, schema)


def test_one_mistake_in_a_rubric_is_one_error(tmp_path: Path) -> None:
    def said(change: Callable[[dict[str, Any]], None]) -> str:
        values = DEFAULT_RUBRIC.model_dump(mode="json")
        change(values)
        file = tmp_path / "rubric.json"
        file.write_text(json.dumps(values))
        with pytest.raises(ConfigError, match="The rubric is not valid: ") as raised:
            read_rubric(file)
        return raised.value.what.removeprefix("The rubric is not valid: ").removesuffix(".")

    first = "dimensions.0"
    assert said(lambda v: v.update(dimension=v.pop("dimensions"))) == "there is no field dimension (did you mean dimensions?)"
    assert (
        said(lambda v: v["dimensions"][0].update(max=v["dimensions"][0].pop("maximum")))
        == f"there is no field {first}.max (did you mean {first}.maximum?)"
    )
    said_of_two = said(lambda v: v["dimensions"][0].update(best=v["dimensions"][0].pop("maximum")))
    assert said_of_two == f"{first}.maximum is missing, and there is no field {first}.best"
    assert said(lambda v: v["dimensions"][0].pop("meaning")) == f"{first}.meaning is missing"
    assert said(lambda v: v.update(weights=[1])) == "there is no field weights"
    assert said(lambda v: v["dimensions"][0].update(maximum="x" * 500)).startswith(
        f"{first}.maximum = '{'x' * 99}...: Input should"
    )
