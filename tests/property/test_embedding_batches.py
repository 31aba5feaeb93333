"""Batches hold each document once, keep the token budget, and depend on nothing but the lengths."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplemix_core.embedding.network import MAX_SPREAD, equal_lengths, pack

lengths_of_documents = st.lists(st.integers(1, 512), max_size=200).map(lambda lengths: np.array(lengths, dtype=np.int32))
budgets = st.integers(1, 5000)


@given(lengths_of_documents, budgets)
def test_every_document_is_in_one_batch(lengths: npt.NDArray[np.int32], budget: int) -> None:
    batches = pack(lengths, budget)
    assert sorted(index for batch in batches for index in batch.tolist()) == list(range(lengths.size))
    parts = equal_lengths(batches, lengths)
    assert [index for part in parts for index in part.tolist()] == [index for batch in batches for index in batch.tolist()]


@given(lengths_of_documents, budgets)
def test_tokens_keep_the_budget_unless_one_document_exceeds_it(lengths: npt.NDArray[np.int32], budget: int) -> None:
    for batch in pack(lengths, budget):
        assert lengths[batch].sum() <= budget or batch.size == 1
        assert batch.size * lengths[batch].max() <= MAX_SPREAD * budget or batch.size == 1


@given(lengths_of_documents, budgets)
def test_batches_run_from_longest_to_shortest_with_ties_by_index(lengths: npt.NDArray[np.int32], budget: int) -> None:
    order = [index for batch in pack(lengths, budget) for index in batch.tolist()]
    assert order == sorted(range(lengths.size), key=lambda index: (-lengths[index], index))


@given(lengths_of_documents, budgets)
def test_no_batch_could_have_taken_the_next_document(lengths: npt.NDArray[np.int32], budget: int) -> None:
    batches = pack(lengths, budget)
    for batch, following in itertools.pairwise(batches):
        more = lengths[batch].sum() + lengths[following[0]]
        assert more > budget or (batch.size + 1) * lengths[batch].max() > MAX_SPREAD * budget


@given(lengths_of_documents, budgets)
def test_split_further_a_batch_has_one_length_and_no_two_neighbours_the_same(lengths: npt.NDArray[np.int32], budget: int) -> None:
    for batch in pack(lengths, budget):
        found = [set(lengths[part].tolist()) for part in equal_lengths([batch], lengths)]
        assert all(len(part) == 1 for part in found)
        assert len(found) == len(set(lengths[batch].tolist()))


@pytest.mark.parametrize(("lengths", "budget", "named"), [([3, 0], 10, r"lengths\[1\] = 0"), ([3], 0, "batch_tokens = 0")])
def test_nonsense_is_refused_by_name(lengths: list[int], budget: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        pack(np.array(lengths), budget)
