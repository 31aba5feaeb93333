"""The table of steps: what the command line, the operator and the DAG are made of."""

import inspect
import pkgutil
import subprocess
import sys
from typing import get_type_hints

import pytest

from samplemix_core.database.scope import Group
from samplemix_core.frozen import FrozenModel
from samplemix_core.operations import maintenance
from samplemix_core.steps import BUILD_MIXTURE, BY_FUNCTION, FIT_DIVERSITY, GROUPS, LAND_CRAWL, SCORE_CRAWL, STEPS, UPKEEP, Step


def hints(step: Step) -> dict[str, object]:
    return get_type_hints(pkgutil.resolve_name(f"samplemix_core.pipeline.{step.function}"))


DAGS = {"run": STEPS, "score": SCORE_CRAWL, "fit": FIT_DIVERSITY, "build": BUILD_MIXTURE, "land": LAND_CRAWL}


@pytest.mark.parametrize("steps", DAGS.values(), ids=DAGS)
def test_names_are_given_once(steps: tuple[Step, ...]) -> None:
    assert len({step.name for step in steps}) == len({step.function for step in steps}) == len(steps)
    assert {BY_FUNCTION[step.function] for step in steps} == set(steps)


@pytest.mark.parametrize("steps", DAGS.values(), ids=DAGS)
def test_a_step_takes_what_an_earlier_one_gives_under_that_name_and_of_that_type(steps: tuple[Step, ...]) -> None:
    earlier: dict[str, object] = {}
    for step in steps:
        parameters = list(inspect.signature(pkgutil.resolve_name(f"samplemix_core.pipeline.{step.function}")).parameters)
        assert parameters == ["run", *step.takes, *(["group"] if step.mapped else [])]
        for name in step.takes:
            assert hints(step)[name] == earlier[name]
        if step.mapped:
            assert hints(step)["group"] is Group
            assert earlier[GROUPS] == list[Group]
        assert earlier.get(step.gives, hints(step)["return"]) == hints(step)["return"], "what replaces a result is of its type"
        earlier[step.gives] = hints(step)["return"]


@pytest.mark.parametrize("step", [step for step in BY_FUNCTION.values() if step.gives != GROUPS], ids=lambda step: step.name)
def test_a_result_is_small_and_plain(step: Step) -> None:
    result = hints(step)["return"]
    assert isinstance(result, type)
    assert issubclass(result, FrozenModel)


def test_each_task_of_upkeep_is_a_function_that_is_named_after_it() -> None:
    for task in UPKEEP:
        assert list(inspect.signature(getattr(maintenance, task.name)).parameters) == ["deployment", "wanted"]


def test_steps_that_only_read_and_publish_compile_nothing() -> None:
    modules = {f"samplemix_core.pipeline.{step.function.partition(':')[0]}" for step in BY_FUNCTION.values()}
    names = ", ".join(sorted(modules - {"samplemix_core.pipeline.mix", "samplemix_core.pipeline.audit"}))
    code = f"import sys, {names}; print('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_the_table_is_light() -> None:
    code = "import sys, samplemix_core.steps; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numpy", "pyarrow", "sqlalchemy", "psycopg2", "dask", "distributed", "boto3", "torch"} & set(imported)


def test_steps_leave_models_and_clustering_to_the_workers() -> None:
    """Airflow's tasks and the command line import every step: torch and UMAP would cost them seconds each time."""
    modules = sorted({f"samplemix_core.pipeline.{step.function.partition(':')[0]}" for step in BY_FUNCTION.values()})
    code = f"import sys, {', '.join(modules)}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    imported = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "umap", "hdbscan", "sklearn", "sentence_transformers", "transformers"} & set(imported)
