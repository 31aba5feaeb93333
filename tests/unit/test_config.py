import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from jsonschema import Draft202012Validator

from samplemix_core.config.budget import Budget
from samplemix_core.config.constraints import ConstraintsConfig
from samplemix_core.config.form import PHASES_EXAMPLE, form_schema
from samplemix_core.config.run import RunConfig, merged, settings_schema
from samplemix_core.errors import BudgetError, ConfigError
from samplemix_core.frozen import load_config
from samplemix_core.policies.registry import all_parameters

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("100B", Budget(tokens=100 * 10**9)),
        ("2.5M", Budget(tokens=2_500_000)),
        ("1_000_000", Budget(tokens=1_000_000)),
        ("12k", Budget(tokens=12_000)),
        ("20%", Budget(percent=20)),
        (" 150 % ", Budget(percent=150)),
    ],
)
def test_budgets_are_tokens_or_a_share(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget


@pytest.mark.parametrize("text", ["", "many", "-5", "0", "0%", "5 apples", "1e9", "B"])
def test_other_budgets_are_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(ConfigError, match="budget"):
        load_config(RunConfig, {"corpus_uri": "s3://a/b", "budget": text})


def test_a_share_is_of_the_source() -> None:
    assert Budget.parse("20%").resolve(1_000_001) == 200_000
    assert Budget.parse("7").resolve(1_000_001) == 7
    with pytest.raises(BudgetError, match="The budget 1% of 10 source tokens is less than one token"):
        Budget.parse("1%").resolve(10)


def test_a_budget_can_not_be_wrong() -> None:
    for fields in ({}, {"tokens": 5, "percent": 5}, {"tokens": 0}, {"percent": -1.0}):
        with pytest.raises(ValueError, match="budget"):
            Budget(**fields)


@pytest.mark.parametrize("text", ["20%", "33.3333%", "0.07%", "2500000"])
def test_a_budget_is_its_text(text: str) -> None:
    budget = load_config(RunConfig, {"corpus_uri": "s3://a/b", "budget": text}).budget
    assert str(budget) == text
    assert Budget.parse(str(budget)) == budget


def test_equal_budgets_make_equal_configurations() -> None:
    one, other = (load_config(RunConfig, {"corpus_uri": "s3://a/b", "budget": text}) for text in ("2.5M", "2_500_000"))
    assert one.fingerprint == other.fingerprint


def test_a_relative_directory_is_refused_because_others_stand_elsewhere() -> None:
    with pytest.raises(ConfigError, match="must be absolute"):
        load_config(RunConfig, {"corpus_uri": "./corpus"})
    assert load_config(RunConfig, {"corpus_uri": "/data/corpus/"}).corpus_uri == "/data/corpus"


def test_every_bad_field_is_named_with_its_value() -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(RunConfig, {"corpus_uri": " ", "alpha": 2, "diversity": {"pca_components": 0}, "colour": "red"})
    for part in ("corpus_uri", "alpha = 2", "diversity.pca_components = 0", "colour"):
        assert part in str(caught.value)


def test_equal_configurations_have_equal_fingerprints() -> None:
    one = load_config(RunConfig, {"corpus_uri": "s3://a/b/", "snapshots": ["y", "x", "y"]})
    other = load_config(RunConfig, {"corpus_uri": "s3://a/b", "snapshots": ["x", "y"]})
    assert one == other
    assert one.fingerprint == other.fingerprint
    assert one.fingerprint != load_config(RunConfig, {"corpus_uri": "s3://a/b", "snapshots": ["x"]}).fingerprint


def test_the_form_has_every_field_self_contained_and_only_the_corpus_is_not_optional() -> None:
    schema = form_schema()
    assert schema.keys() == RunConfig.model_fields.keys() | all_parameters().keys()
    assert "$ref" not in json.dumps(schema)
    corpus = schema.pop("corpus_uri")
    assert (corpus["type"], corpus["minLength"]) == ("string", 1)
    for name, field in schema.items():
        assert field["default"] is None, name
        assert "null" in field["type"], name
        jsonschema.validate(None, field)
    assert "policy samplemix; default 0.8" in schema["alpha"]["description"]


def test_the_form_takes_phases_as_people_write_them() -> None:
    (example,) = re.findall(r"```yaml\n(- name: broad.*?)```", (DOCS / "training.md").read_text(), re.DOTALL)
    for phases in (json.loads(PHASES_EXAMPLE), yaml.safe_load(example)):
        jsonschema.validate(phases, form_schema()["phases"])
        config = load_config(RunConfig, {"corpus_uri": "s3://a/b", "phases": phases})
        assert [policy.name for policy in config.policies] == ["natural", "samplemix"]


def test_a_configuration_can_not_be_changed() -> None:
    config = RunConfig(corpus_uri="s3://a/b")
    with pytest.raises(ValueError, match="frozen"):
        config.seed = 1  # type: ignore[misc]


@pytest.mark.parametrize("text", ["1" * 30 + "x", "1" * 400, "1" * 400 + "%", "9" * 25 + "T", "1.2.3M", "1__0"])
def test_a_budget_that_is_none_is_refused_at_once(text: str) -> None:
    with pytest.raises(ConfigError, match="budget"):
        load_config(RunConfig, {"corpus_uri": "s3://a/b", "budget": text})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"bugdet": "10%"}, "corpus_uri is missing; there is no field bugdet (did you mean budget?)"),
        (
            {"corpus_uri": "s3://a/b", "reader": {"text_feild": "a"}},
            "there is no field reader.text_feild (did you mean reader.text_field?)",
        ),
        ({"corpus_uri": "s3://a/b", "max_copies": True}, "max_copies = True: expected a number, got true or false"),
        ({"corpus_uri": "s3://a/b", "audit": {"source_r2": {"stop": False}}}, "audit.source_r2.stop = False: expected a number"),
        ({"corpus_uri": "/donn\udce9es"}, "corpus_uri = '/donn\\udce9es': a NUL character, or bytes that are not UTF-8"),
        ({"corpus_uri": "s3://a/b", "snapshots": ["a\0"]}, "snapshots.0 = 'a\\x00': a NUL character"),
    ],
)
def test_a_mistake_is_said_in_a_few_words(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load_config(RunConfig, values)
    assert said in raised.value.what
    assert load_config(RunConfig, {"corpus_uri": "s3://a/b", "retry_refused": True}).retry_refused


SETTINGS_SCHEMA = Path(__file__).parents[2] / "docs/settings.schema.json"


def test_the_schema_of_settings_is_the_models_and_takes_what_people_write() -> None:
    command = "python -c 'from samplemix_core.config.run import settings_schema; print(settings_schema(), end=\"\")'"
    assert SETTINGS_SCHEMA.read_text() == settings_schema(), f"write it again: {command} > docs/settings.schema.json"
    schema = Draft202012Validator(json.loads(settings_schema()))
    schema.check_schema(schema.schema)
    documented = (SETTINGS_SCHEMA.parent / "policies.md").read_text().split("```yaml\n")[1].split("```")[0]
    good: list[Any] = [
        yaml.safe_load(documented),
        {"policy": "samplemix", "alpha": 0.5, "constraints": {"shares": {"language=de": 0.1, "domain=web": {"least": 0.2}}}},
        {"phases": [{"name": "broad", "share": 1.0, "policy": "natural"}], "normalise": "ranks"},
        {"policy": {"name": "fixed", "shares": {"web": 1.0}}},
    ]
    for values in good:
        assert list(schema.iter_errors(values)) == []
        load_config(RunConfig, {"corpus_uri": "s3://a/b", **values})
    bad: list[Any] = [{"polcy": "natural"}, {"policy": "best"}, {"alpha": 2}, {"max_copies": 0}]
    bad.append({"constraints": {"keep": ["domain"]}})
    for values in bad:
        assert list(schema.iter_errors(values))
        with pytest.raises(ConfigError):
            load_config(RunConfig, {"corpus_uri": "s3://a/b", **values})


def test_settings_by_names_of_the_users_own_are_replaced_and_empty_ones_put_the_default_back() -> None:
    base = {
        "policy": {"name": "fixed", "shares": {"web": 0.6, "books": 0.4}},
        "constraints": {"copies": {"domain=books": 2}, "shares": {"domain=web": {"least": 0.3, "most": 0.3}}, "documents": 9},
    }
    found = merged(base, {"shares": {"news": 1.0}, "constraints": {"copies": {"quality<2": 0}, "shares": {"domain=web": 0.5}}})
    assert found["policy"] == {"name": "fixed", "shares": {"news": 1.0}}
    assert found["constraints"] == {"copies": {"quality<2": 0}, "shares": {"domain=web": 0.5}, "documents": 9}
    assert merged(base, {"constraints": {"copies": {}}})["constraints"]["copies"] == {}
    assert load_config(RunConfig, {"corpus_uri": "s3://a/b", **merged(base, {"constraints": {}})}).constraints.columns() == ()
    single = ConstraintsConfig.model_validate({"copies": {"quality<0.1": 0}})
    assert single.cap({"quality": 0.1}, 4) == 4
    assert single.cap({"quality": 0.0999}, 4) == 0


def test_a_benchmark_is_kept_out_in_one_version() -> None:
    values = {"corpus_uri": "s3://b/c", "decontaminate": ["exam", "exam@0123"]}
    with pytest.raises(ConfigError, match="one benchmark is there in two versions"):
        load_config(RunConfig, values)
    assert load_config(RunConfig, {**values, "decontaminate": ["exam@0123", "other"]}).decontaminate == ("exam@0123", "other")


def test_a_policy_brings_settings_where_a_run_has_the_default_and_takes_them_with_it() -> None:
    base = {"corpus_uri": "s3://bucket/corpus"}
    safe = load_config(RunConfig, {**base, "policy": "samplemix_safe", "normalise": "range", "constraints": {}})
    assert (safe.normalise, safe.constraints.hold) == ("ranks", ("content_type",))
    assert load_config(RunConfig, safe.model_dump(mode="json")) == safe
    own = load_config(RunConfig, {**base, "policy": "samplemix_safe", "tau": 0.3, "constraints": {"hold": ["language"]}})
    assert (own.policy.parameters()["tau"], own.constraints.hold) == (0.3, ("language",))
    in_a_phase = [{"name": "broad", "share": 0.5, "policy": "samplemix_safe"}, {"name": "clean", "share": 0.5}]
    assert load_config(RunConfig, {**base, "phases": in_a_phase}).normalise == "ranks"
    for policy, brought in (("samplemix", ("range", ())), ("samplemix_calibrated", ("ranks", ("content_type",)))):
        other = load_config(RunConfig, merged(safe.model_dump(mode="json"), {"policy": policy}))
        assert (other.policy.name, other.normalise, other.constraints.hold) == (policy, *brought)
    with_phases = load_config(RunConfig, {**base, "phases": in_a_phase}).model_dump(mode="json")
    assert load_config(RunConfig, merged(with_phases, {"phases": []})).normalise == "range"
    assert load_config(RunConfig, merged(with_phases, {"policy": "samplemix", "phases": []})).constraints.hold == ()
    for wrong in ("x", [1], 3):
        with pytest.raises(ConfigError, match="constraints"):
            load_config(RunConfig, {**base, "policy": "samplemix_safe", "constraints": wrong})
    with pytest.raises(ConfigError, match="policy"):
        load_config(RunConfig, {**base, "policy": {"name": ["x"]}})
    kept = load_config(RunConfig, merged(own.model_dump(mode="json"), {"policy": "samplemix"}))
    assert kept.constraints.hold == ("language",)


def test_a_gate_that_requires_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="most_worse is missing"):
        load_config(RunConfig, {"corpus_uri": "s3://bucket/corpus", "gate": {"targets": ["news"]}})
    whole = load_config(RunConfig, {"corpus_uri": "s3://bucket/corpus"}).model_dump(mode="json")
    assert load_config(RunConfig, whole).gate.most_worse is None
