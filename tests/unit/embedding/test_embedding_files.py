"""Embedding files: round trip, equal bytes, partial reads, and the encoder they name."""

import io

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest

from samplemix_core import schemas
from samplemix_core.embedding import vectors as files
from samplemix_core.embedding.vectors import (
    EmbeddingWriter,
    VectorDigest,
    add_digests,
    from_table,
    read_embeddings,
    read_positions,
    to_table,
)
from samplemix_core.errors import ModelError

DIM = 32
Vectors = npt.NDArray[np.float32]
Batch = tuple[npt.NDArray[np.int64], Vectors]


def unit_vectors(n: int, seed: int = 0) -> Vectors:
    vectors = np.random.default_rng(seed).standard_normal((n, DIM)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def written(batches: list[Batch], encoder_id: str = "encoder-1") -> bytes:
    sink = io.BytesIO()
    with EmbeddingWriter(sink, DIM, encoder_id) as writer:
        for rows, vectors in batches:
            writer.write(rows, vectors)
    return sink.getvalue()


@pytest.fixture
def batches() -> list[Batch]:
    rows = np.array([0, 1, 2, 5, 6, 9, 10, 11, 40, 41], dtype=np.int64)
    vectors = unit_vectors(rows.size)
    return [(rows[:4], vectors[:4]), (rows[4:9], vectors[4:9]), (rows[9:], vectors[9:])]


def test_table_has_the_contracts_schema_and_rounds_to_float16(batches: list[Batch]) -> None:
    rows, vectors = batches[0]
    table = to_table(rows, vectors)
    assert table.schema == schemas.embeddings(DIM)
    read_rows, read_vectors = from_table(table)
    assert read_rows.tolist() == rows.tolist()
    np.testing.assert_allclose(read_vectors, vectors, atol=5e-4)


def test_vectors_read_back_are_unit_to_float32(batches: list[Batch]) -> None:
    vectors = from_table(to_table(*batches[1]))[1]
    np.testing.assert_allclose(np.linalg.norm(vectors.astype(np.float64), axis=1), 1, atol=2e-7)


def test_a_slice_of_a_table_reads_as_that_slice(batches: list[Batch]) -> None:
    table = to_table(*batches[1])
    rows, vectors = from_table(table.slice(1, 3))
    assert rows.tolist() == batches[1][0][1:4].tolist()
    np.testing.assert_array_equal(vectors, from_table(table)[1][1:4])


def test_file_gives_its_vectors_back_in_groups_of_its_own(batches: list[Batch], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "GROUP_ROWS", 4)
    data = written(batches)
    read = list(read_embeddings(io.BytesIO(data), "encoder-1"))
    assert [rows.size for rows, _ in read] == [4, 4, 2]
    together = to_table(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))
    assert np.concatenate([rows for rows, _ in read]).tolist() == together["row"].to_pylist()
    np.testing.assert_array_equal(np.concatenate([vectors for _, vectors in read]), from_table(together)[1])
    one_by_one = [(rows[i : i + 1], vectors[i : i + 1]) for rows, vectors in batches for i in range(rows.size)]
    assert written(one_by_one) == data


def test_the_digest_of_vectors_is_that_of_its_parts_in_any_order(batches: list[Batch]) -> None:
    def digest(parts: list[Batch]) -> str:
        found = VectorDigest()
        for part in parts:
            found.add(to_table(*part))
        return found.hexdigest()

    assert digest(batches) == digest(batches[::-1]) == add_digests([digest([part]) for part in batches])
    moved = [(rows + 1, vectors) for rows, vectors in batches]
    assert len({digest(batches), digest(moved), digest(batches[1:])}) == 3
    assert digest([]) == add_digests([]) == "0" * 64


def test_equal_tables_give_equal_bytes_in_a_file_anyone_can_read(batches: list[Batch]) -> None:
    data = written(batches)
    assert data == written(batches)
    assert pq.read_table(io.BytesIO(data)).schema.equals(schemas.embeddings(DIM), check_metadata=False)


def test_a_shard_without_documents_has_an_empty_file() -> None:
    data = written([])
    assert list(read_embeddings(io.BytesIO(data), "encoder-1")) == []
    assert read_positions(io.BytesIO(data), "encoder-1", np.empty(0, dtype=np.int64))[1].shape == (0, DIM)


@pytest.mark.parametrize("positions", [[], [0], [9], [3, 4], [0, 2, 8, 9], list(range(10))])
def test_positions_are_read_across_row_groups(batches: list[Batch], positions: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "GROUP_ROWS", 4)
    data = written(batches)
    everything = list(read_embeddings(io.BytesIO(data), "encoder-1"))
    rows, vectors = read_positions(io.BytesIO(data), "encoder-1", np.array(positions, dtype=np.int64))
    np.testing.assert_array_equal(rows, np.concatenate([part for part, _ in everything])[positions])
    np.testing.assert_array_equal(vectors, np.concatenate([part for _, part in everything])[positions])


@pytest.mark.parametrize("positions", [[10], [-1, 2], [3, 3], [4, 1]])
def test_impossible_positions_are_refused(batches: list[Batch], positions: list[int]) -> None:
    data = written(batches)
    with pytest.raises(ValueError, match=r"ascend within 0\.\.9"):
        read_positions(io.BytesIO(data), "encoder-1", np.array(positions, dtype=np.int64))


def test_another_encoders_file_is_refused(batches: list[Batch]) -> None:
    data = written(batches[:1])
    with pytest.raises(ModelError, match=r"encoder encoder-1, not with encoder-2"):
        next(read_embeddings(io.BytesIO(data), "encoder-2"))
    with pytest.raises(ModelError, match=r"encoder encoder-1, not with encoder-2"):
        read_positions(io.BytesIO(data), "encoder-2", np.array([0]))


def test_rows_and_vectors_must_match(batches: list[Batch]) -> None:
    with pytest.raises(ValueError, match="the first axes differ"):
        to_table(batches[0][0], batches[1][1])
