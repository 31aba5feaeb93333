"""A policy that is registered shows up wherever policies do, with nothing else to change: here one that tests know alone."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import typer
from pydantic import Field, create_model
from typer.testing import CliRunner

from samplemix_core.cli.run import OPTIONS, run_config, with_settings
from samplemix_core.config.form import form_schema
from samplemix_core.config.run import RunConfig, merged
from samplemix_core.errors import ConfigError
from samplemix_core.frozen import load_config
from samplemix_core.manifest.format import PolicyRecord
from samplemix_core.pages import views
from samplemix_core.pages.app import _kind
from samplemix_core.policies.policy import POLICIES, SETTINGS, Columns, Policy, Scale, Slider, registered
from samplemix_core.policies.registry import parameter_schemas, policies_table, record, recorded


class Favour(Policy):
    """w = 1 + favour * q: the better the more."""

    summary = "by quality alone"
    reads_diversity = False
    FIRST_FIELDS = frozenset({"name", "favour"})

    name: Literal["favour"] = "favour"
    favour: Annotated[float, Slider(0, 4, 0.1, "how much")] = Field(2.0, ge=0, le=4, description="Power of quality")
    groups: dict[str, float] = Field({}, description="Something that is no single value")

    def weights(self, columns: Columns, scale: Scale) -> npt.NDArray[np.float64]:
        """See Policy.weights."""
        return self.favour * columns.unit_quality(scale) + 1.0


@pytest.fixture(autouse=True)
def favour() -> Iterator[None]:
    registered(Favour)
    kinds = (RunConfig, views.Settings)
    for kind in kinds:
        kind.model_rebuild(force=True)
    yield
    del POLICIES["favour"]
    for kind in kinds:
        kind.model_rebuild(force=True)


def test_a_run_can_be_made_by_it() -> None:
    for values in ({"policy": "favour", "favour": 3}, {"policy": {"name": "favour", "favour": 3}}):
        assert load_config(RunConfig, {"corpus_uri": "s3://a/b", **values}).policy == Favour(favour=3)
    config = run_config({"policy": "favour"}, {"corpus_uri": "s3://a/b"}, ['policy.groups={"a": 1}', "favour=1"])
    assert config.policy == Favour(favour=1, groups={"a": 1})
    assert load_config(RunConfig, json.loads(config.model_dump_json())) == config
    assert config.canonical()["policy"] == {"name": "favour", "favour": 1.0, "groups": {"a": 1.0}}
    for wrong, message in (({"favour": 9}, "policy.favour = 9"), ({"alpha": 0.5}, "policy favour has no field alpha")):
        with pytest.raises(ConfigError, match=message):
            load_config(RunConfig, {"corpus_uri": "s3://a/b", "policy": "favour", **wrong})


def test_settings_over_others_keep_a_policys_and_change_it_as_a_whole() -> None:
    stored = {"policy": {"name": "favour", "favour": 3.0}, "seed": 1}
    assert merged(stored, {"favour": 1.0, "budget": "5%"}) == {
        **stored,
        "budget": "5%",
        "policy": {"name": "favour", "favour": 1.0},
    }
    assert merged(stored, {"policy": "favour"})["policy"] == {"name": "favour", "favour": 3.0}
    assert merged(stored, {"policy": "samplemix", "tau": 0.3})["policy"] == {"name": "samplemix", "tau": 0.3}


def test_forms_have_its_parameters() -> None:
    fields = form_schema()
    assert fields["policy"]["enum"] == [None, *POLICIES]
    assert "favour" in POLICIES
    assert "favour: by quality alone" in fields["policy"]["description"]
    assert fields["favour"] | {"minimum": 0, "maximum": 4, "type": ["number", "null"]} == fields["favour"]
    assert fields["favour"]["description"] == "Power of quality (policy favour). Default: the corpus's setting, or 2.0"
    assert fields["groups"]["type"] == ["object", "null"]


def test_commands_have_options_for_it() -> None:
    app, seen = typer.Typer(), list[dict[str, Any]]()

    @app.command()
    @with_settings(*OPTIONS)
    def mix(chosen: dict[str, Any], corpus: str = "web") -> None:
        seen.append({"corpus": corpus, **chosen})

    done = CliRunner().invoke(app, ["--policy", "favour", "--favour", "3", "--scorer", "a", "--scorer", "b"])
    assert done.exit_code == 0, done.output
    assert seen == [{"corpus": "web", "policy": "favour", "favour": 3.0, "scorers": ["a", "b"]}]
    assert "--groups" not in CliRunner().invoke(app, ["--help"]).output


def test_pages_move_it_and_manifests_record_it() -> None:
    assert views.sliders(Favour, Favour(favour=3)) == ("favour", [("favour", "favour", Slider(0, 4, 0.1, "how much"), 3.0)])
    wanted = load_config(views.Settings, {"policy": "favour", "favour": "0.5", "budget_percent": "30"})
    assert (wanted.policy, wanted.budget_percent) == (Favour(favour=0.5), 30)
    version = {"mixture": "m", "version": 1, "budget_tokens": 5, "config": {"policy": {"name": "favour", "favour": 3, "gone": 1}}}
    assert views.published_settings(version, 10).policy == Favour(favour=3)
    kept = PolicyRecord(name="favour", parameters=record(Favour(groups={"a": 1}), Scale(0, 10)))
    assert kept.parameters == {"favour": 2.0, "groups": {"a": 1.0}, "q_low": 0, "q_high": 10}
    assert record(Favour(), Scale(0, 10)).keys() == {"favour", "q_low", "q_high"}, "what is added later is not, at its default"
    weights = recorded(kept.name, kept.parameters)(Columns(np.array([10], np.float32), np.array([0], np.float32)))
    assert weights.tolist() == [3.0]


def test_it_is_documented() -> None:
    assert "| | `favour` | 2.0 | 0 to 4 | Power of quality |" in policies_table()


class Prefer(Policy):
    """w = 1 + favour * q, for those who mean something else by it."""

    summary = "by quality alone, otherwise"
    FIRST_FIELDS = frozenset({"name", "favour", "groups", "least"})

    name: Literal["prefer"] = "prefer"
    favour: int = Field(1, ge=0, le=99, description="Times")
    groups: dict[str, float] = Field({}, description="Something that is no single value")
    least: int | None = Field(None, ge=1)

    def weights(self, columns: Columns, scale: Scale) -> npt.NDArray[np.float64]:
        """See Policy.weights."""
        return self.favour * columns.unit_quality(scale) + 1.0


@pytest.mark.parametrize("order", [(Favour, Prefer), (Prefer, Favour)], ids=["decimal first", "whole first"])
def test_policies_that_share_a_parameters_name_share_a_field_with_the_words_of_both(order: list[type[Policy]]) -> None:
    del POLICIES["favour"]
    try:
        for kind in order:
            registered(kind)
        shared = parameter_schemas()
        said = {"Power of quality (policy favour; default 2.0)", "Times (policy prefer; default 1)"}
        assert set(shared["favour"]["description"].split(". ")) == said
        assert set(shared["favour"]["type"]) == {"number", "integer"}
        assert (shared["favour"]["minimum"], shared["favour"].get("maximum")) == (0, None), "only what both say"
        taken_by = ", ".join(POLICIES[name].model_fields["name"].default for name in POLICIES if name in ("favour", "prefer"))
        assert shared["groups"]["description"] == f"Something that is no single value (policy {taken_by})"
        assert shared["least"] == shared["least"] | {
            "type": ["integer", "null"],
            "minimum": 1,
            "description": "least (policy prefer)",
        }
        assert form_schema()["favour"].keys() >= {"minimum", "section"}
        assert _kind(form_schema()["favour"]) == "number", "of the page that starts runs"
        RunConfig.model_rebuild(force=True)
        app, seen = typer.Typer(), list[Any]()

        @app.command()
        @with_settings(*OPTIONS)
        def mix(chosen: dict[str, Any]) -> None:
            seen.append(load_config(RunConfig, {"corpus_uri": "s3://a/b", **chosen}).policy)

        for words in (["--policy", "favour", "--favour", "2.5"], ["--policy", "prefer", "--favour", "3"]):
            done = CliRunner().invoke(app, words)
            assert done.exit_code == 0, done.output
        assert seen == [Favour(favour=2.5), Prefer(favour=3)]
    finally:
        POLICIES.pop("prefer", None)
        POLICIES["favour"] = Favour


class Odd(Favour):
    """w = 1, whatever | it says."""

    FIRST_FIELDS = frozenset({"name"})

    name: Literal["odd"] = "odd"  # type: ignore[assignment]
    bands: tuple[float, ...] = Field((0.1, 0.5), description="Bands | of quality")
    flip: bool = Field(False, description="Turn it round")
    estimate: float | None = Field(None, gt=0, description="Called like an option of the command")
    strength: Annotated[float | None, Slider(0, 1, 0.1, "how much")] = None


def test_parameters_of_every_kind_are_in_forms_options_and_docs() -> None:
    registered(Odd)
    try:
        RunConfig.model_rebuild(force=True)
        fields = form_schema()
        assert fields["bands"]["description"] == "Bands | of quality (policy odd). Default: the corpus's setting, or 0.1, 0.5"
        assert fields["flip"]["description"] == "Turn it round (policy odd). Default: the corpus's setting, or false"
        assert "Default" not in fields["estimate"]["description"]
        app, seen = typer.Typer(), list[Any]()

        @app.command()
        @with_settings(*OPTIONS)
        def mix(chosen: dict[str, Any], estimate: Annotated[bool, typer.Option("--estimate")] = False) -> None:
            seen.append((load_config(RunConfig, {"corpus_uri": "s3://a/b", **chosen}).policy, estimate))

        done = CliRunner().invoke(app, ["--policy", "odd", "--flip", "--strength", "0.5", "--estimate"])
        assert done.exit_code == 0, done.output
        assert seen == [(Odd(flip=True, strength=0.5), True)]
        by_set = run_config({}, {"corpus_uri": "s3://a/b", "policy": "odd"}, ["policy.estimate=2", "bands=[1,2]"])
        assert by_set.policy == Odd(estimate=2, bands=(1, 2))
        table = policies_table()
        assert "| | `bands` | 0.1, 0.5 | | Bands \\| of quality |" in table
        assert "| | `flip` | false | | Turn it round |" in table
        assert [item.value for item in views.sliders(Odd, Odd())[1]] == [2.0, 0]
        assert views.without_sliders(Odd(flip=True)) == {"flip": True}
        own = views.Settings.model_construct(policy=Odd(flip=True, favour=3), budget_percent=30, max_copies=2)
        views.Settings.model_rebuild(force=True)
        changed = views._changed(own, {"policy": "odd", "favour": "1"})
        assert changed == views.Settings(policy=Odd(flip=True, favour=1), budget_percent=30, max_copies=2)
        assert views._changed(own, {"policy": "natural", "max_copies": "3"}).policy.name == "natural"
    finally:
        del POLICIES["odd"]


def test_a_parameter_with_the_name_of_a_setting_is_refused() -> None:
    with pytest.raises(ValueError, match="Favour has a parameter 'favour', which is the name of a setting"):
        create_model("Clash", __base__=RunConfig, favour=(int, Field(5)))
    SETTINGS.discard("favour")

    class Clash(Favour):
        name: Literal["clash"] = "clash"  # type: ignore[assignment]
        max_copies: int = 5

    with pytest.raises(ValueError, match="Clash has a parameter 'max_copies'"):
        registered(Clash)
    assert "clash" not in POLICIES


def test_a_name_is_registered_once_with_what_it_begins_with() -> None:
    with pytest.raises(ValueError, match="policy 'favour' already"):
        registered(Favour)

    class Forgetful(Favour):
        FIRST_FIELDS = frozenset({"favour"})

    with pytest.raises(ValueError, match="FIRST_FIELDS"):
        registered(Forgetful)


PLUGIN = """
from typing import Literal
from samplemix_core.policies.policy import Policy, registered

@registered
class Ours(Policy):
    "w = 2 (our own)."
    summary = "ours"
    FIRST_FIELDS = frozenset({"name"})
    name: Literal["ours"] = "ours"

    def weights(self, columns, scale):
        return columns.unit_quality(scale) + 2.0
"""


def test_other_packages_bring_policies_by_an_entry_point_and_a_broken_one_is_only_told_of(tmp_path: Path) -> None:
    (tmp_path / "ours.py").write_text(PLUGIN)
    (tmp_path / "broken.py").write_text("raise ValueError('not today')")
    info = tmp_path / "ours-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: ours\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[samplemix.policies]\nours = ours\nbroken = broken\n")
    asked = (
        "from samplemix_core.config.run import RunConfig; from samplemix_core.config.form import form_schema;"
        " policy = RunConfig.model_validate({'corpus_uri': 's3://a/b', 'policy': 'ours'}).policy;"
        " print(policy, 'ours' in form_schema()['policy']['enum'])"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(__file__).parents[3])])
    done = subprocess.run(
        [sys.executable, "-c", asked], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "name='ours' True\n"
    assert "The policies of broken can't be used: ValueError('not today')" in done.stderr
