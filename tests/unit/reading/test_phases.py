"""A mixture with phases is read phase after phase: each copy once, on any ranks, as documents and as packed sequences."""

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from samplemix_core.cli.main import app
from samplemix_core.embedding.tokens import TokenCounter
from samplemix_core.errors import ManifestError
from samplemix_core.manifest.catalogue import Mixtures
from samplemix_core.objects.directory import FileStore
from samplemix_core.reading.mixture import Mixture, open_mixture
from samplemix_core.reading.packed import PackedSequence, pack
from samplemix_core.reading.torch_data import Loader
from samplemix_core.reading.trace import Steps, find_sample
from tests.mixtures import Published, publish_corpus

COPIES = {"broad": lambda n: int(n % 3 > 0), "clean": lambda n: (n * 7919) % 4, "last": lambda n: int(n % 50 == 7)}
"""In each phase, some documents have no copy, and most runs of the last have none at all."""


@pytest.fixture(scope="module")
def phased(published: Published, tmp_path_factory: pytest.TempPathFactory) -> Published:
    """The corpus of `published`, in three phases."""
    root = tmp_path_factory.mktemp("phases")
    corpus = FileStore(Path(published.version.manifest.corpus_root.removeprefix("file://")))
    return publish_corpus(Mixtures(FileStore(root / "store"), "mixtures"), corpus, root, lambda n: 0, phases=COPIES)


@pytest.fixture
def mixture(phased: Published, tmp_path: Path) -> Mixture:
    return open_mixture(phased.uri, seed=3, cache_directory=tmp_path / "cache")


def expected(phased: Published) -> dict[str, Counter[tuple[str, int]]]:
    found = {name: Counter[tuple[str, int]]() for name in COPIES}
    for table in phased.version.rows():
        for row in table.to_pylist():
            for name in COPIES:
                found[name][row["shard"], row["row"]] += row[f"copies_{name}"]
    return {name: +counts for name, counts in found.items()}


def test_phases_come_one_after_another_each_copy_once(mixture: Mixture, phased: Published) -> None:
    found = list(mixture.documents())
    assert [item.position for item in found] == list(range(len(mixture)))
    assert [phase.name for phase in mixture.phases] == ["broad", "clean", "last"]
    for phase in mixture.phases:
        own = found[phase.start : phase.stop]
        assert {item.phase for item in own} == {phase.name}
        assert Counter((item.shard, item.row) for item in own) == expected(phased)[str(phase.name)]
        assert len({(item.shard, item.row, item.copy) for item in own}) == len(own)
    assert all(item.text == phased.texts[item.shard, item.row] for item in found)
    assert sum(item.n_tokens for item in found) == mixture.manifest.realised_tokens
    # Each has an order of its own.
    both = expected(phased)["broad"] & expected(phased)["clean"]
    first, second = (
        [(item.shard, item.row) for item in found if item.phase == name and item.copy == 0 and (item.shard, item.row) in both]
        for name in ("broad", "clean")
    )
    assert sorted(first) == sorted(second)
    assert first != second


def test_a_job_goes_on_in_the_next_phase_with_other_ranks(mixture: Mixture) -> None:
    whole = list(mixture.documents())
    boundary = mixture.phases[0].stop
    read: list[Any] = []
    state: dict[str, Any] | None = None
    for world_size, steps in ((3, boundary // 3 + 5), (4, 7), (5, None)):
        for rank in range(world_size):
            reader = mixture.documents(rank, world_size, state=state)
            read += list(reader) if steps is None else [next(reader) for _ in range(steps)]
            reader.close()
        state = json.loads(json.dumps(reader.state_dict()))
    assert sorted(read, key=lambda item: item.position) == whole
    # A job of one phase begins there.
    clean = mixture.phases[1]
    reader = mixture.documents(state=mixture.state(clean.start))
    assert next(reader).phase == "clean"
    reader.close()


def test_random_access_workers_and_other_processes_read_the_same(mixture: Mixture) -> None:
    whole = list(mixture.documents(epochs=2))
    source = pickle.loads(pickle.dumps(mixture.source(1)))
    assert [source[position] for position in range(0, len(mixture), 7)] == whole[len(mixture) :: 7]
    assert [source[position] for position in (len(mixture) - 1, 0)] == [whole[-1], whole[len(mixture)]]
    loader = Loader(mixture, batch_size=8, rank=0, world_size=1, workers=2)
    assert [item for batch in loader for item in batch] == whole[: len(mixture)]


@pytest.mark.parametrize("method", ["concatenate", "best-fit"])
def test_no_sequence_has_documents_of_two_phases(mixture: Mixture, words: TokenCounter, phased: Published, method: Any) -> None:
    packed = pack(mixture, 48, tokenizer=words, method=method)
    found: list[PackedSequence] = list(packed.sequences())
    assert [item.position for item in found] == list(range(len(packed)))
    samples = mixture.samples
    for phase in packed.phases:
        own = found[phase.start : phase.stop]
        assert {item.phase for item in own} == {phase.name}
        tokens = Counter[tuple[str, int]]()
        for item in own:
            for piece in item.pieces:
                place = samples.shards[samples.shard_of(piece.row)], int(samples.row[piece.row])
                tokens[place] += piece.stop - piece.start
        sizes = {place: len(phased.texts[place].split()) + 1 for place in tokens}
        assert tokens == Counter({place: n * sizes[place] for place, n in expected(phased)[str(phase.name)].items()})
        assert sum(item.padding > 0 for item in own) <= 1
    start = packed.phases[1].start - 3
    rest = [item for rank in range(2) for item in packed.sequences(rank, 2, state=packed.state(start))]
    rest.sort(key=lambda item: item.position)
    assert [item.tokens.tolist() for item in rest] == [item.tokens.tolist() for item in found[start:]]


def test_a_trace_names_the_phase_both_ways(mixture: Mixture, phased: Published) -> None:
    whole = list(mixture.documents())
    steps = Steps(mixture, batch_size=4, world_size=2, start=mixture.state())
    step = mixture.phases[0].stop // 8
    found = sorted(steps.documents(step), key=lambda traced: traced.position)
    assert [(item.shard, item.row, item.copy, item.phase) for item in found] == [
        (item.shard, item.row, item.copy, item.phase) for item in whole[8 * step : 8 * step + 8]
    ]
    assert {item.phase for item in found} == {"broad", "clean"}
    place = next(place for place in expected(phased)["clean"] if place in expected(phased)["broad"])
    of_one = list(steps.of_sample(find_sample(mixture, f"{place[0]}:{place[1]}")))
    assert [item.position for item in of_one] == [item.position for item in whole if (item.shard, item.row) == place]
    for name in COPIES:
        own = [item for item in of_one if item.phase == name]
        assert {item.copies for item in own} <= {expected(phased)[name][place]}
        assert [item.copy for item in sorted(own, key=lambda item: item.copy)] == list(range(expected(phased)[name][place]))
    arguments = ["trace", phased.uri, "--step", str(step), "--batch-size", "4", "--world-size", "2", "--seed", "3", "--json"]
    assert {row["phase"] for row in json.loads(CliRunner().invoke(app, arguments).output)} == {"broad", "clean"}


def test_a_state_of_a_mixture_without_phases_is_refused(mixture: Mixture, published: Published) -> None:
    with pytest.raises(ManifestError, match="content digest"):
        mixture.documents(state=open_mixture(published.uri, seed=3).state())
