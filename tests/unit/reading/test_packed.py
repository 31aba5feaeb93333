"""A mixture as packed sequences: the tokens are the documents', on any number of ranks, and a trace says what was read."""

import json
import pickle
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models
from typer.testing import CliRunner

from samplemix_core.cli.main import app
from samplemix_core.embedding.tokens import TokenCounter
from samplemix_core.errors import ConfigError, ManifestError, ModelError
from samplemix_core.manifest.format import TokenizerRecord
from samplemix_core.reading import packed as packed_sequences
from samplemix_core.reading.mixture import Mixture, open_mixture
from samplemix_core.reading.packed import Packed, PackedSequence, pack
from samplemix_core.reading.packed_order import Method
from samplemix_core.reading.torch_data import Loader, tensors
from samplemix_core.reading.trace import Steps, find_sample
from tests.mixtures import Published

LENGTH = 48


@pytest.fixture
def mixture(published: Published, tmp_path: Path) -> Mixture:
    return open_mixture(published.uri, seed=5, cache_directory=tmp_path / "cache")


def expected(mixture: Mixture, words: TokenCounter, published: Published) -> Counter[tuple[int, ...]]:
    documents = [words.encode([published.texts[item.shard, item.row]])[0].tolist() for item in mixture.documents()]
    return Counter((*ids, words.end_of_document()) for ids in documents)


def documents_in(sequences: list[PackedSequence]) -> Counter[tuple[int, ...]]:
    """The documents that the pieces of sequences make up."""
    pieces: dict[tuple[int, int], list[tuple[int, list[int]]]] = {}
    for item in sequences:
        starts = item.cu_seqlens.tolist()
        for piece, start in zip(item.pieces, starts, strict=False):
            tokens = item.tokens[start : start + piece.stop - piece.start].tolist()
            pieces.setdefault((piece.row, piece.copy), []).append((piece.start, tokens))
    return Counter(tuple(token for _, tokens in sorted(parts) for token in tokens) for parts in pieces.values())


@pytest.mark.parametrize("method", ["concatenate", "best-fit"])
def test_sequences_hold_the_documents_tokens(mixture: Mixture, words: TokenCounter, published: Published, method: Method) -> None:
    packed = pack(mixture, LENGTH, tokenizer=words, method=method)
    found = list(packed.sequences())
    assert documents_in(found) == expected(mixture, words, published)
    assert len(found) == len(packed)
    assert [item.position for item in found] == list(range(len(packed)))
    assert sum(item.tokens.size - item.padding for item in found) == mixture.manifest.realised_tokens + len(mixture)
    assert all(item.tokens.size == LENGTH for item in found)
    assert sum(item.padding > 0 for item in found) <= 1


def test_a_job_goes_on_with_other_ranks(mixture: Mixture, words: TokenCounter, published: Published) -> None:
    packed = pack(mixture, LENGTH, tokenizer=words, method="best-fit")
    read: list[PackedSequence] = []
    state: dict[str, Any] | None = None
    for world_size, steps in ((3, 20), (1, 11), (8, 9), (2, None)):
        for rank in range(world_size):
            reader = packed.sequences(rank, world_size, state=state)
            read += list(reader) if steps is None else [next(reader) for _ in range(steps)]
        state = json.loads(json.dumps(reader.state_dict()))
        reader.close()
    assert sorted(item.position for item in read) == list(range(len(packed)))
    assert documents_in(read) == expected(mixture, words, published)


def test_a_state_of_another_packing_is_refused(mixture: Mixture, words: TokenCounter) -> None:
    packed = pack(mixture, LENGTH, tokenizer=words)
    for other in (
        mixture,
        pack(mixture, LENGTH + 1, tokenizer=words),
        pack(mixture, LENGTH, tokenizer=words, end_of_document=False),
    ):
        with pytest.raises(ManifestError, match="Pack as the job did"):
            other.resume(packed.state(3).as_dict())
        with pytest.raises(ManifestError, match="Pack as the job did"):
            packed.resume(other.state(3).as_dict())


def test_another_tokenizer_is_refused(mixture: Mixture, words: TokenCounter) -> None:
    letters = TokenCounter(Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")), "letters")
    with pytest.raises(ManifestError, match=r"has [\d,]+ tokens here, and the manifest counts"):
        list(pack(mixture, LENGTH, tokenizer=letters, end_of_document=False).sequences())
    with pytest.raises(ConfigError, match="doesn't say whose tokens"):
        pack(mixture, LENGTH)
    with pytest.raises(ConfigError, match="letters has no token"):
        pack(mixture, LENGTH, tokenizer=letters)
    record = TokenizerRecord(name="words", id=words.tokenizer_id)
    version = mixture.version
    object.__setattr__(version, "manifest", version.manifest.model_copy(update={"tokenizer": record}))
    assert len(pack(mixture, LENGTH, tokenizer=words))
    with pytest.raises(ModelError, match=r"words, whose tokenizer can't be loaded by that name.*tokenizer\.json in its directory"):
        pack(mixture, LENGTH)
    with pytest.raises(ManifestError, match="counts tokens of words, and letters is another"):
        pack(mixture, LENGTH, tokenizer=letters)


def test_a_loader_gives_tensors_that_are_the_same_with_workers(mixture: Mixture, words: TokenCounter) -> None:
    packed = pickle.loads(pickle.dumps(pack(mixture, LENGTH, tokenizer=words)))
    plain, shared = (list(Loader(packed, 4, workers=workers, collate=tensors)) for workers in (0, 2))
    assert len(plain) == len(shared) == -(-len(packed) // 4)
    for one, other in zip(plain, shared, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    ends = plain[0]["input_ids"] == words.end_of_document()
    # A document begins where the one before it ended.
    after = torch.nonzero(ends.flatten()[:-1]).flatten() + 1
    assert set(after.tolist()) <= set(plain[0]["cu_seqlens"].tolist())
    assert (plain[0]["position_ids"].flatten()[plain[0]["cu_seqlens"][:-1].long()] == 0).all()
    padded = torch.cat([batch["labels"] for batch in plain]) == -100
    assert int(padded.sum()) == len(packed) * LENGTH - packed.orders[0].tokens


def test_a_trace_says_what_was_read(mixture: Mixture, words: TokenCounter, published: Published) -> None:
    packed = pack(mixture, LENGTH, tokenizer=words, method="best-fit")
    traced = Packed(mixture.version, mixture.seed, mixture.texts, mixture.threads, packed.packing)
    start = packed.state(7)
    steps = Steps(traced, batch_size=3, world_size=2, start=start)
    readers = [packed.sequences(rank, 2, batch_size=3, epochs=2, state=start) for rank in range(2)]
    for step in range((2 * len(packed) - 7) // 6):
        read = [(rank, i, item) for rank, reader in enumerate(readers) for i, item in zip(range(3), reader, strict=False)]
        wanted = [
            (rank, i, item.epoch, item.position, inside, *piece)
            for rank, i, item in read
            for inside, piece in enumerate(item.pieces)
        ]
        facts = [
            (t.rank, t.in_batch, t.epoch, t.position, t.inside, find_sample(mixture, f"{t.shard}:{t.row}"), t.copy, t.start, t.stop)
            for t in steps.documents(step)
        ]
        assert facts == wanted
    for row in range(0, len(mixture.samples), 40):
        found = list(steps.of_sample(row, epochs=2))
        assert all(item in list(steps.documents(item.step, item.rank)) for item in found)
        copies, tokens = int(mixture.samples.copies[row]), int(mixture.samples.n_tokens[row]) + 1
        assert copies * tokens <= sum(item.stop - item.start for item in found) <= 2 * copies * tokens


def test_the_command_traces_sequences_without_a_tokenizer(mixture: Mixture, words: TokenCounter, published: Published) -> None:
    packed = pack(mixture, LENGTH, tokenizer=words, end_of_document=False)
    options = ["--seed", "5", "--batch-size", "2", "--sequence-length", str(LENGTH), "--no-end-of-document", "--json"]
    result = CliRunner().invoke(app, ["trace", published.uri, "--step", "3", *options])
    assert json.loads(result.output) == [item._asdict() for item in Steps(packed, 2, 1, packed.state()).documents(3)]
    bad = CliRunner().invoke(app, ["trace", published.uri, "--step", "3", *options, "--packing", "tight"])
    assert bad.exit_code == 1
    assert "no packing 'tight'" in str(bad.exception)


def test_what_is_kept_of_long_documents_is_bounded(
    mixture: Mixture, words: TokenCounter, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed_sequences, "_CUT_BYTES", 1_000)
    # Each document is longer than a window.
    packed = pack(mixture, 2, tokenizer=words)
    assert documents_in(list(packed.sequences())) == expected(mixture, words, published)
    _, kept = packed._kept
    assert len(kept) == 1 or sum(ids.nbytes for ids in kept.values()) <= 1_000
