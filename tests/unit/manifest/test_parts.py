import hashlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samplemix_core.errors import ManifestError
from samplemix_core.manifest import parts as parts_module
from samplemix_core.manifest.format import MIXTURE_PART
from samplemix_core.manifest.parts import write_parts


def shard(path: str, n: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    columns = {
        "snapshot": pa.array(["s"] * n).dictionary_encode(),
        "shard": pa.array([path] * n).dictionary_encode(),
        "row": np.arange(n),
        "sample_key": pa.array([rng.bytes(16) for _ in range(n)], pa.binary(16)),
        "domain": pa.array(rng.choice(["a", "b", "c"], n)).dictionary_encode(),
        "n_tokens": rng.integers(0, 99, n).astype(np.int32),
        "copies": rng.integers(1, 4, n).astype(np.int32),
        "weight": rng.random(n),
        "quality": rng.random(n).astype(np.float32),
        "diversity": rng.random(n).astype(np.float32),
        "cluster": rng.integers(0, 5, n).astype(np.int32),
    }
    return pa.table(columns, schema=MIXTURE_PART)


ROWS = pa.concat_tables([shard(f"s/d/{i:02d}.jsonl", 23, i) for i in range(8)]).unify_dictionaries()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    directory = tmp_path_factory.mktemp("whole")
    return write_parts([ROWS], directory, 50), directory


def test_rows_come_back_as_they_went_in(whole: Any) -> None:
    parts, directory = whole
    assert [part.rows for part in parts] == [50, 50, 50, 34]
    read = pa.concat_tables([pq.read_table(directory / part.path) for part in parts])
    assert read.schema == MIXTURE_PART
    assert read.to_pylist() == ROWS.to_pylist()


def test_parts_say_their_tokens_and_hash(whole: Any) -> None:
    parts, directory = whole
    for part in parts:
        table = pq.read_table(directory / part.path)
        assert part.tokens == int((table["n_tokens"].to_numpy().astype(np.int64) * table["copies"].to_numpy()).sum())
        assert part.sha256 == hashlib.sha256((directory / part.path).read_bytes()).hexdigest()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, ROWS.num_rows), max_size=12), st.booleans(), st.booleans())
def test_bytes_do_not_depend_on_how_rows_are_cut_into_batches(
    whole: Any, tmp_path_factory: pytest.TempPathFactory, cuts: list[int], as_batches: bool, other_dictionaries: bool
) -> None:
    bounds = [0, *sorted(cuts), ROWS.num_rows]
    slices = [ROWS.slice(start, end - start) for start, end in pairwise(bounds)]
    if other_dictionaries:
        slices = [with_other_dictionary(piece) for piece in slices]
    if as_batches:
        slices = [batch for piece in slices for batch in piece.to_batches()]
    assert write_parts(slices, tmp_path_factory.mktemp("cut"), 50) == whole[0]


def with_other_dictionary(table: pa.Table) -> pa.Table:
    """The same domains under a dictionary in another order, with a value nobody uses."""
    names = pa.array(["unused", "c", "b", "a"])
    codes = pc.index_in(table["domain"].cast(pa.string()), names).combine_chunks()
    return table.set_column(4, MIXTURE_PART.field("domain"), pa.DictionaryArray.from_arrays(codes, names))


def test_row_groups_are_cut_at_fixed_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "ROWS_PER_GROUP", 32)
    write_parts([ROWS], tmp_path, 100)
    metadata = pq.read_metadata(tmp_path / "part-00000.parquet")
    assert [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)] == [32, 32, 32, 4]


def test_input_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module, "ROWS_PER_GROUP", 10)
    finished: list[int] = []

    def batches() -> Any:
        for start in range(0, 180, 10):
            finished.append(len(list(tmp_path.iterdir())))
            yield ROWS.slice(start, 10)

    write_parts(batches(), tmp_path, 20)
    assert finished[-1] >= 8


def test_duckdb_reads_the_same_rows(whole: Any) -> None:
    _, directory = whole
    query = "SELECT count(*), sum(copies), sum(copies * n_tokens), min(shard), max(row) FROM read_parquet(?)"
    expected = ROWS["copies"].to_numpy().astype(np.int64)
    found = duckdb.execute(query, [str(directory / "part-*.parquet")]).fetchone()
    assert found == (184, expected.sum(), (expected * ROWS["n_tokens"].to_numpy()).sum(), "s/d/00.jsonl", 22)


def replaced(name: str, values: list[Any]) -> pa.Table:
    index = MIXTURE_PART.get_field_index(name)
    table = ROWS.slice(0, len(values))
    return table.set_column(index, pa.field(name, MIXTURE_PART.types[index]), pa.array(values, MIXTURE_PART.types[index]))


NULL_IN_DICTIONARY = ROWS.slice(0, 2).set_column(
    4, MIXTURE_PART.field("domain"), pa.DictionaryArray.from_arrays([0, 1], ["a", None]).cast(MIXTURE_PART.types[4])
)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "no samples"),
        ([ROWS.slice(0, 0)], "no samples"),
        ([ROWS.slice(30, 10), ROWS.slice(0, 10)], "shards are not in order"),
        ([ROWS.slice(5, 5), ROWS.slice(0, 5)], r"s/d/00\.jsonl row 0 is out of order, or comes twice"),
        ([ROWS.slice(0, 5), ROWS.slice(4, 5)], "row 4 is out of order, or comes twice"),
        ([replaced("row", [3, 3])], "row 3 is out of order"),
        ([replaced("copies", [1, 0])], r"row 1 has copies 0, below 1"),
        ([replaced("n_tokens", [-1])], r"row 0 has n_tokens -1, below 0"),
        ([replaced("cluster", [1, None])], "Column cluster has 1 nulls"),
        ([replaced("domain", ["a", None])], "Column domain has 1 nulls"),
        ([NULL_IN_DICTIONARY], "Column domain has 1 nulls"),
        ([ROWS.drop_columns("cluster")], "Rows have the columns"),
        ([ROWS.set_column(2, "row", ROWS["row"].cast(pa.int32()))], "row int32"),
    ],
)  # fmt: skip
def test_refuses_rows_that_are_no_mixture(tmp_path: Path, batches: list[pa.Table], message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        write_parts(batches, tmp_path)


def test_order_is_checked_across_parts(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="out of order"):
        write_parts([ROWS.slice(0, 10), ROWS.slice(0, 10)], tmp_path, 10)


def test_the_same_mixture_made_twice_has_the_same_bytes(make_mixture: Callable[..., Any]) -> None:
    assert make_mixture(seed=42).parts == make_mixture().parts
