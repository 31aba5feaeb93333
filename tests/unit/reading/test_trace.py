"""A step's documents, and a document's steps: what a trace says is what was read."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from samplemix_core.cli.main import app
from samplemix_core.errors import ConfigError, ManifestError
from samplemix_core.reading.mixture import Mixture, open_mixture
from samplemix_core.reading.trace import Steps, find_sample
from tests.mixtures import Published


@pytest.fixture
def mixture(published: Published, tmp_path: Path) -> Mixture:
    return open_mixture(published.uri, seed=5, cache_directory=tmp_path / "cache")


@pytest.mark.parametrize(("start", "epochs"), [(0, 1), (333, 3)])
def test_a_step_lists_what_each_rank_reads(mixture: Mixture, start: int, epochs: int) -> None:
    steps = Steps(mixture, batch_size=5, world_size=3, start=mixture.state(start))
    readers = [mixture.documents(rank, 3, batch_size=5, epochs=epochs, state=mixture.state(start)) for rank in range(3)]
    for step in range((len(mixture) * epochs - start) // 15):
        read = [next(reader) for reader in readers for _ in range(5)]
        traced = list(steps.documents(step))
        assert [(item.rank, item.in_batch) for item in traced] == [(rank, i) for rank in range(3) for i in range(5)]
        facts = [(item.epoch, item.position, item.shard, item.row, item.copy, item.n_tokens, item.domain) for item in traced]
        assert facts == [(item.epoch, item.position, item.shard, item.row, item.copy, item.n_tokens, item.domain) for item in read]
        assert list(steps.documents(step, 1)) == traced[5:10]


def test_a_document_lists_the_steps_that_read_it(mixture: Mixture, published: Published) -> None:
    steps = Steps(mixture, batch_size=4, world_size=2, start=mixture.state(100))
    for (shard, row), copies in list(published.copies.items())[::40]:
        sample = find_sample(mixture, f"{shard}:{row}")
        found = list(steps.of_sample(sample, epochs=2))
        assert find_sample(mixture, found[-1].sample_key) == sample
        # Some copies of the first epoch came before the job was resumed.
        assert copies <= len(found) <= 2 * copies
        assert [item.copies for item in found] == [copies] * len(found)
        for item in found:
            assert item in list(steps.documents(item.step, item.rank))


def test_what_is_not_there_is_refused(mixture: Mixture) -> None:
    for document in ("crawl-a/web/part-0.jsonl:3", "crawl-a/web/none.jsonl:0", "0" * 32, "zz", "a:b"):
        with pytest.raises(ManifestError, match="has no copy of"):
            find_sample(mixture, document)
    with pytest.raises(ConfigError, match="rank 2 of 2"):
        list(Steps(mixture, 1, 2, mixture.state()).documents(0, 2))
    with pytest.raises(ConfigError, match="world size is 0"):
        Steps(mixture, 1, 0, mixture.state())


def test_the_command_traces_from_the_manifest_alone(mixture: Mixture, published: Published, tmp_path: Path) -> None:
    def run(*arguments: str) -> list[dict[str, object]]:
        result = CliRunner().invoke(app, ["trace", published.uri, *arguments, "--json"])
        assert result.exit_code == 0, result.output
        found: list[dict[str, object]] = json.loads(result.output)
        return found

    state = tmp_path / "state.json"
    state.write_text(json.dumps(mixture.state(50).as_dict()))
    step = run("--step", "7", "--batch-size", "3", "--world-size", "2", "--state", str(state))
    assert step == [item._asdict() for item in Steps(mixture, 3, 2, mixture.state(50)).documents(7)]
    document = str(step[0]["sample_key"])
    back = run("--document", document, "--batch-size", "3", "--world-size", "2", "--state", str(state))
    assert step[0] in back
    assert run("--step", "0", "--rank", "1", "--world-size", "4", "--seed", "5")[0]["position"] == 1


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--step", "0", "--batch-size", "99999999999"), "A step of 99,999,999,999 items can't be traced"),
        (("--step", "9" * 15), "There is no step 999999999999999"),
        (("--step", "0", "--rank", "2", "--world-size", "2"), "There is no rank 2 of 2"),
        (("--document", "DOCUMENT", "--rank", "7", "--world-size", "2"), "There is no rank 7 of 2"),
        (("--step", "0", "--state", "STATE"), "holds no state"),
    ],
)
def test_what_can_not_be_traced_is_named(published: Published, tmp_path: Path, arguments: tuple[str, ...], why: str) -> None:
    (tmp_path / "state.json").write_text('{"seed": "x"}')
    places = {"STATE": str(tmp_path / "state.json"), "DOCUMENT": "{}:{}".format(*next(iter(published.copies)))}
    given = [places.get(argument, argument) for argument in arguments]
    with pytest.raises(ConfigError, match=why):
        CliRunner().invoke(app, ["trace", published.uri, *given], catch_exceptions=False)
