"""The table of steps: what the command line, the operator and the DAG are made of."""

import inspect
import pkgutil
import subprocess
import sys
from typing import get_type_hints

import pytest

from samplemix_core.config import FrozenModel
from samplemix_core.database.scope import Group
from samplemix_core.pipeline.steps import BY_NAME, GROUPS, STEPS, Step


def hints(step: Step) -> dict[str, object]:
    return get_type_hints(pkgutil.resolve_name(f"samplemix_core.pipeline.{step.function}"))


def test_names_and_results_are_given_once() -> None:
    assert len(BY_NAME) == len({step.gives for step in STEPS}) == len(STEPS)


@pytest.mark.parametrize("step", STEPS, ids=[step.name for step in STEPS])
def test_a_step_takes_what_an_earlier_one_gives_under_that_name_and_of_that_type(step: Step) -> None:
    parameters = list(inspect.signature(pkgutil.resolve_name(f"samplemix_core.pipeline.{step.function}")).parameters)
    assert parameters == ["run", *step.takes, *(["group"] if step.mapped else [])]
    earlier = {item.gives: hints(item)["return"] for item in STEPS[: STEPS.index(step)]}
    for name in step.takes:
        assert hints(step)[name] == earlier[name]
    if step.mapped:
        assert hints(step)["group"] is Group
        assert earlier[GROUPS] == list[Group]


@pytest.mark.parametrize("step", [step for step in STEPS if step.gives != GROUPS], ids=lambda step: step.name)
def test_a_result_is_small_and_plain(step: Step) -> None:
    result = hints(step)["return"]
    assert isinstance(result, type)
    assert issubclass(result, FrozenModel)


def test_the_table_is_light() -> None:
    code = "import sys, samplemix_core.pipeline.steps; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "pyarrow", "sqlalchemy", "psycopg2", "dask", "distributed", "boto3", "torch"} & set(imported)
