"""Commands in this process: their configuration, their errors with a remedy, and what they say without any service."""

import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from samplemix_core.cli import main as cli
from samplemix_core.cli.corpora import corpus_config
from samplemix_core.cli.run import run_config, stored_phases, stored_values
from samplemix_core.config.budget import Budget
from samplemix_core.errors import ConfigError, MissingPackageError, ServiceError
from samplemix_core.local.stack import Stack
from samplemix_core.pipeline import register
from samplemix_core.policies.natural import Natural
from samplemix_core.policies.samplemix import SampleMix

RUN = CliRunner()


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus in a directory, and a home without services."""
    monkeypatch.setenv("SAMPLEMIX_HOME", str(tmp_path / "home"))
    for path in ("crawl-a/web/one.jsonl", "crawl-b/web/two.jsonl", "README.json"):
        (tmp_path / "corpus" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "corpus" / path).write_text('{"text": "a"}\n')
    return tmp_path / "corpus"


@pytest.mark.parametrize("text", ["[1]", "7", "{", "[" * 9999, ""])
def test_a_file_of_no_settings_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    with pytest.raises(ConfigError, match=r"run\.json (holds no settings by name|can't be read)(?s:.*)--config"):
        stored_values(tmp_path / "run.json")


def test_yaml_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("budget: 10%\ndiversity: {sample_size: 50}\n")
    assert stored_values(tmp_path / "run.yaml") == {"budget": "10%", "diversity": {"sample_size": 50}}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "line 1, expected the node content"),
        ("a: 1\n  b: 2\n", "line 2, mapping values are not allowed here"),
        ("&a {b: *a}", "line 1, aliases are not read here"),
        ("a: 1\nb: {c: 1, d: [{e: 1, e: 2}]}\n", "'e' is there twice"),
        ("a: !!python/object:os.system x", "line 1, could not determine a constructor"),
        ("--- 1\n--- 2\n", "line 2, but found another document"),
        ("{a: 1}: 2", "found unhashable key"),
    ],
)
def test_yaml_that_can_not_be_read_is_named_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    for name in ("run.YML", "run"):
        (tmp_path / name).write_text(text)
        with pytest.raises(ConfigError) as error:
            stored_values(tmp_path / name)
        assert said in error.value.what
        assert "\n" not in error.value.what
    (tmp_path / "run.json").write_text('{"a": {"b": 1, "b": 2}}')
    with pytest.raises(ConfigError, match="'b' is there twice"):
        stored_values(tmp_path / "run.json")


@pytest.mark.parametrize("text", ["[]", "{}", '{"phases": []}', "7", '{"phases": [], "budget": 1}', ""])
def test_a_file_of_no_phases_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "phases.json").write_text(text)
    with pytest.raises(ConfigError, match=r"phases\.json (holds no list of phases|can't be read)(?s:.*)--phases"):
        stored_phases(tmp_path / "phases.json")


def test_phases_are_read_with_their_policies(tmp_path: Path) -> None:
    file = tmp_path / "phases.yaml"
    file.write_text("phases:\n- {name: broad, share: 0.9, max_copies: 2}\n- {name: clean, share: 0.1, tau: 0.1}\n")
    config = run_config({"policy": "natural"}, {"corpus_uri": "s3://a/b", "phases": stored_phases(file)}, [])
    assert config.policies == (Natural(), SampleMix(tau=0.1))
    assert [phase.max_copies for phase in config.phases] == [2, None]
    assert run_config({}, {"corpus_uri": "s3://a/b"}, []).policies == (SampleMix(),)
    assert stored_phases(None) is None


@pytest.mark.parametrize(
    ("phases", "said"),
    [
        ([{"name": "a", "share": 0.5}], "the shares add up to 0.5, not to 1"),
        ([{"name": "a", "share": 0.5}, {"name": "a", "share": 0.5}], "two phases are called 'a'"),
        ([{"name": "all", "share": 1}], "a phase can't be called 'all'"),
        ([{"name": "A", "share": 1}], "phases.0.name = 'A'"),
        ([{"name": "a", "share": 1, "budget": "10B"}], "there is no field phases.0.budget"),
        ([{"name": "a", "share": 0.9989}], "the shares add up to 0.9989, not to 1"),
        ([{"name": "a", "share": 1, "max_copies": 9}], "max_copies of 'a' is 9, and the run's, for all phases, is 4"),
        ([{"name": True, "share": 1}], "phases.0.name = True: expected text (in YAML, put it in quotes)"),
        ([{"name": "a", "share": 1, "policy": "best"}], "there is no phases.0.policy 'best'"),
    ],
)
def test_bad_phases_are_named(phases: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        run_config({}, {"corpus_uri": "s3://a/b", "phases": phases}, [])


def test_options_override_the_file_and_set_overrides_both(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps({"corpus_uri": "s3://a/b", "alpha": 0.5, "tau": 0.3}))
    config = run_config(
        stored_values(file), {"alpha": 0.6, "budget": "5M", "seed": None, "snapshots": []}, ["diversity.sample_size=50", "tau=0.4"]
    )
    assert config.policy == SampleMix(alpha=0.6, tau=0.4)
    assert (config.budget, config.diversity.sample_size) == (Budget(tokens=5_000_000), 50)
    assert run_config({}, {"corpus_uri": "s3://a/b"}, ["mixture_name=web"]).mixture_name == "web"


@pytest.mark.parametrize(
    ("content", "assignments", "message"),
    [
        ("{", [], "run.json can't be read: Expecting"),
        ("{}", ["alpha"], "has no '='"),
        ("{}", ["alpha=2"], "alpha = 2"),
    ],
)
def test_bad_settings_are_named(tmp_path: Path, content: str, assignments: list[str], message: str) -> None:
    file = tmp_path / "run.json"
    file.write_text(content)
    with pytest.raises(ConfigError, match=message):
        run_config(stored_values(file), {"corpus_uri": "s3://a/b"}, assignments)


def test_a_dry_run_lists_what_would_be_read(corpus: Path) -> None:
    done = RUN.invoke(cli.app, ["run", str(corpus), "--dry-run", "--json"])
    planned = json.loads(done.stdout)
    assert [tuple(item.values()) for item in planned["snapshots"]] == [("crawl-a", 1, 14), ("crawl-b", 1, 14)]
    assert planned["unread"] == [{"path": "README.json", "bytes": 14, "reason": "no_snapshot"}]
    shown = RUN.invoke(cli.app, ["run", str(corpus), "--dry-run"])
    assert "not read: README.json: it lies in no snapshot's directory" in shown.stderr
    missing = RUN.invoke(cli.app, ["run", str(corpus), "--dry-run", "-s", "crawl-x"])
    assert "it has 'crawl-a', 'crawl-b'" in str(missing.exception)
    narrowed = RUN.invoke(cli.app, ["run", str(corpus), "--dry-run", "--json", "-s", "crawl-b"])
    assert [item["snapshot"] for item in json.loads(narrowed.stdout)["snapshots"]] == ["crawl-b"]


def test_a_directory_needs_no_database_whatever_it_is_called(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(corpus.parent)
    monkeypatch.setenv("SAMPLEMIX_DATABASE_URL", "postgresql://nobody@127.0.0.1:1/nowhere")
    done = RUN.invoke(cli.app, ["run", "corpus", "--dry-run", "--json"])
    assert [item["snapshot"] for item in json.loads(done.stdout)["snapshots"]] == ["crawl-a", "crawl-b"]


@pytest.mark.parametrize(
    ("arguments", "what", "remedy"),
    [
        (["sql", "SELECT 1"], "No reader database url is configured", "samplemix up"),
        (["shard", "list"], "No database url is configured", "samplemix up"),
        (["quarantine"], "No database url is configured", "samplemix up"),
        (["mixture", "show", "s3"], "configured", "samplemix up"),
        (["down", "postgres", "--delete"], "can't be deleted alone", "Name no service"),
        (["up", "kafka"], "There is no service 'kafka'", "Services are postgres, s3, dask, airflow"),
        (["logs", "nobody"], "There is no process 'nobody'", "Processes are"),
        (["run", "not/there"], "There is no file at the corpus URI", "Check the URI"),
        (["run", "x" * 300], "File name too long", "Check the name"),
        (["run", "http://[::1"], "is no URI", "s3://bucket/prefix"),
        (["run", "corpus/crawl-a/web/one.jsonl"], "this is a file, not a directory", "Give the directory"),
        (["run", "corpus", "--set", "reader.text_field="], "reader.text_field", "at least 1 character"),
    ],
)
def test_an_error_is_one_line_with_its_remedy(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], what: str, remedy: str
) -> None:
    monkeypatch.chdir(corpus.parent)
    monkeypatch.setattr("sys.argv", ["samplemix", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    assert what in said
    assert remedy in said
    assert "Traceback" not in said


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C interrupts, though the tests run in a shell's background, where it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_command_says_how_to_go_on(
    corpus: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(register, "plan_corpus", lambda *_: signal.raise_signal(signal.SIGINT))
    monkeypatch.setattr("sys.argv", ["samplemix", "run", str(corpus), "--dry-run"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 130
    assert "run again to go on" in capsys.readouterr().err


@pytest.mark.usefixtures("interruptible")
def test_following_a_log_ends_with_an_interrupt(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lines(*_: object, **__: object) -> Iterator[str]:
        yield "the last line"
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Stack, "log_lines", lines)
    done = RUN.invoke(cli.app, ["logs", "postgres", "--follow"])
    assert (done.exit_code, done.output) == (0, "the last line\n")


def test_a_package_that_an_extra_brings_is_named_with_it() -> None:
    error = cli.missing_package(ModuleNotFoundError("No module named 'torch'", name="torch.nn"))
    assert isinstance(error, MissingPackageError)
    assert "pip install 'samplemix[platform]'" in error.remedy
    with pytest.raises(ModuleNotFoundError):
        cli.missing_package(ModuleNotFoundError("ours", name="samplemix_core.nothing"))


def test_airflows_own_command_wants_an_airflow(corpus: Path) -> None:
    done = RUN.invoke(cli.app, ["airflow", "backfill", "create", "--help"])
    assert isinstance(done.exception, ServiceError)
    assert "has no Airflow. Start it with 'samplemix up'" in str(done.exception)


def test_status_shows_every_process(corpus: Path) -> None:
    rows = json.loads(RUN.invoke(cli.app, ["status", "--json"]).stdout)
    assert {row["state"] for row in rows} == {"stopped"}
    assert [row["process"] for row in rows][:3] == ["postgres", "postgres-guard", "s3"]


@pytest.mark.parametrize("option", ["--unused-days", "--keep-versions"])
def test_upkeep_that_would_drop_what_is_in_use_is_refused(option: str) -> None:
    done = RUN.invoke(cli.app, ["maintain", option, "0"])
    assert done.exit_code == 2
    assert option in done.output


def test_a_setting_within_one_of_the_wrong_type_takes_its_place_and_another_policy_brings_its_own_parameters() -> None:
    stored = {"corpus_uri": "s3://a/b", "policy": {"name": "gone", "s": 1}, "audit": {"spread": 0.5}}
    config = run_config(stored, {}, ["policy.name=natural", "audit.spread.warn=0.1"])
    assert (config.policy.name, config.audit.spread.warn) == ("natural", 0.1)
    with pytest.raises(ConfigError, match="seed = "):
        run_config(stored, {}, ["policy=natural", "audit.spread.warn=0.1", "seed.x=1"])


@pytest.mark.parametrize("part", ["run", "landing"])
def test_a_corpus_file_whose_part_is_no_object_is_named(part: str) -> None:
    with pytest.raises(ConfigError, match=f"{part} is null, which is not an object"):
        corpus_config("web", {part: None}, {}, None, [])


def test_a_saved_corpus_names_its_mixture_unless_its_file_or_an_option_does() -> None:
    place, file = {"corpus_uri": "s3://a/b"}, {"run": {"mixture_name": "big"}}
    configs = [
        corpus_config("web", base, options, None, [])
        for base in ({}, file)
        for options in (place, {**place, "mixture_name": "own"})
    ]
    assert [config.run.mixture_name for config in configs] == ["web", "own", "big", "own"]
