"""The samples that are mixed: what a source makes of shards, its rows, and the sums of its domains."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from samplemix_core.errors import AccountingError, CorpusError
from samplemix_core.manifest.format import MIXTURE_PART
from samplemix_core.mixing.shard_samples import MAX_DOMAINS, RowSet, ShardSamples
from samplemix_core.mixing.source import Source
from samplemix_core.policies.natural import Natural
from samplemix_core.policies.policy import Columns, Scale
from samplemix_core.policies.samplemix import SampleMix
from samplemix_core.sample_key import keys_to_bytes, sample_keys, uniforms

NAMES = {3: "web", 7: "books", 9: "unmet"}
DIVERSITY = np.array([0.0, 0.5, 1.0], dtype=np.float32)
NATURAL = Natural().weigh(Scale(0.0, 10.0))
PAPER = SampleMix().weigh(Scale(0.0, 10.0))


def shard(path: str, rows: Iterable[int], domain: int = 3, tokens: int = 10) -> ShardSamples:
    row = np.array(list(rows), dtype=np.int64)
    return ShardSamples(
        snapshot=path.split("/")[0],
        path=path,
        row=row,
        domain=np.full(row.size, domain, dtype=np.int32),
        n_tokens=np.full(row.size, tokens, dtype=np.int32),
        quality=(row % 11).astype(np.float32),
        cluster=(row % 3).astype(np.int32),
        distance=(row / 7).astype(np.float32),
        diversity=(row % 5 / 4).astype(np.float32),
    )


def source(*shards: ShardSamples, names: dict[int, str] = NAMES, weigh: Any = NATURAL, seed: int = 42) -> Source:
    made = Source(sum(item.row.size for item in shards), names, DIVERSITY, seed)
    for item in shards:
        made.add(item)
    made.finish().weigh(weigh)
    return made


A, B = shard("s/b.jsonl", [0, 2, 5]), shard("s/a.jsonl", [1], domain=7, tokens=4)


def test_columns_stand_in_the_order_of_the_shards_and_domains_in_that_of_their_names() -> None:
    made = source(A, B)
    assert made.domains == ["books", "web"]
    assert made.domain.tolist() == [1, 1, 1, 0]
    assert made.tokens.tolist() == [10, 10, 10, 4]
    assert made.total_tokens == 34
    assert made.cluster.tolist() == [0, 2, 2, 1]


def test_samples_are_found_in_their_shards() -> None:
    made = source(shard("s/c.jsonl", range(0, 1_000_000, 100_000)), A, shard("s/d.jsonl", []), B)
    assert made.shards() == ["s/c.jsonl", "s/b.jsonl", "s/a.jsonl"]
    shards, rows = made.places(np.array([13, 2, 11, 10, 0, 2]))
    assert shards.tolist() == [2, 0, 1, 1, 0, 0]
    assert rows.tolist() == [1, 200_000, 2, 0, 0, 200_000]


def test_a_weight_is_the_policys_and_a_uniform_number_the_samples_own() -> None:
    made = source(A, B, weigh=PAPER, seed=7)
    np.testing.assert_array_equal(made.weight[:3], PAPER(Columns(A.quality, A.diversity)))
    np.testing.assert_array_equal(made.uniform[3:], uniforms(7, sample_keys("s", "s/a.jsonl", B.row)))


def test_rows_are_the_samples_with_copies_sorted_by_path_under_the_manifests_schema() -> None:
    made = source(A, B)
    tables = list(made.rows(np.array([2, 0, 1, 3], dtype=np.uint16)))
    for table in tables:
        assert (table.schema.names, table.schema.types) == (MIXTURE_PART.names, MIXTURE_PART.types)
    rows = pa.concat_tables(tables).to_pylist()
    assert [(row["shard"], row["row"], row["copies"], row["domain"]) for row in rows] == [
        ("s/a.jsonl", 1, 3, "books"),
        ("s/b.jsonl", 0, 2, "web"),
        ("s/b.jsonl", 5, 1, "web"),
    ]
    assert [row["diversity"] for row in rows] == [0.25, 0.0, 0.0]
    assert rows[2]["sample_key"] == keys_to_bytes(sample_keys("s", "s/b.jsonl", np.array([5])))[0].tobytes()


def test_a_shard_without_copies_has_no_table() -> None:
    assert [table.num_rows for table in source(A, B).rows(np.array([0, 0, 0, 1], dtype=np.uint16))] == [1]


def test_sums_of_each_domain() -> None:
    assert source(A, B).domain_sums(np.array([2, 0, 1, 3], dtype=np.uint16)).as_lists() == {
        "source_samples": [1, 3],
        "source_tokens": [4, 30],
        "samples": [1, 2],
        "copies": [3, 3],
        "mixture_tokens": [12, 30],
    }


def test_sums_do_not_overflow() -> None:
    n = 70_000
    sums = source(shard("s/x", range(n), tokens=2**31 - 1)).domain_sums(np.full(n, 60_000, dtype=np.uint16))
    assert sums.source_tokens.tolist() == [n * (2**31 - 1)]
    assert sums.mixture_tokens.tolist() == [60_000 * n * (2**31 - 1)]


def test_rows_that_are_left_out() -> None:
    left = A.without(RowSet.of(np.array([2])))
    assert (left.row.tolist(), left.quality.tolist(), left.path) == ([0, 5], [0, 5], "s/b.jsonl")
    nothing = A.without(RowSet.of(A.row))
    assert source(nothing, B).domains == ["books"]


def test_more_or_fewer_samples_than_were_counted_stop_the_mixing() -> None:
    made = Source(2, NAMES, DIVERSITY, 1)
    with pytest.raises(AccountingError, match=r"s/b.jsonl: more samples than the 2 that are eligible"):
        made.add(A)
    with pytest.raises(AccountingError, match="0 samples were read, 2 are eligible"):
        made.finish()


def test_domains_of_other_corpora_do_not_count() -> None:
    names = {number: f"domain-{number}" for number in range(1, MAX_DOMAINS + 10_000)} | {5: "web", MAX_DOMAINS + 5_000: "books"}
    made = source(shard("s/x", [0], domain=5), shard("s/y", [0], domain=MAX_DOMAINS + 5_000), names=names)
    assert (made.domains, made.domain.tolist()) == (["books", "web"], [1, 0])


def test_too_many_domains_are_refused() -> None:
    names = {number: f"domain-{number}" for number in range(MAX_DOMAINS + 1)}
    made = Source(MAX_DOMAINS + 1, names, DIVERSITY, 1)
    full = shard("s/x", range(MAX_DOMAINS))
    full.domain[:] = np.arange(MAX_DOMAINS)
    made.add(full)
    with pytest.raises(CorpusError, match="more than 32,767 domains"):
        made.add(shard("s/y", [0], domain=MAX_DOMAINS))


@pytest.mark.parametrize(
    ("rows", "most"), [(range(1000), 125), ([0, 3, 4, 100], 13), ([7], 4), ([0, 1_000_000_000], 8), (range(1, 2000, 3), 250)]
)
def test_a_set_of_rows_takes_a_bit_a_row_or_four_bytes_each(rows: Any, most: int) -> None:
    found = RowSet.of(np.array(rows, dtype=np.int64))
    assert found.rows().tolist() == list(rows)
    assert found.size == len(rows)
    assert sum(array.nbytes for array in (found.bits, found.sparse) if array is not None) <= most
