"""Batches hold each document once, keep the token budget, and depend on nothing but the lengths."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from samplemix_core.embedding.encoder import length_sorted_batches

lengths_of_documents = st.lists(st.integers(1, 512), max_size=200).map(lambda lengths: np.array(lengths, dtype=np.int32))
budgets = st.integers(1, 5000)


@given(lengths_of_documents, budgets)
def test_every_document_is_in_one_batch(lengths: npt.NDArray[np.int32], budget: int) -> None:
    batches = length_sorted_batches(lengths, budget)
    assert sorted(index for batch in batches for index in batch.tolist()) == list(range(lengths.size))


@given(lengths_of_documents, budgets)
def test_padded_tokens_keep_the_budget_unless_one_document_exceeds_it(lengths: npt.NDArray[np.int32], budget: int) -> None:
    for batch in length_sorted_batches(lengths, budget):
        assert batch.size * lengths[batch].max() <= budget or batch.size == 1


@given(lengths_of_documents, budgets)
def test_batches_run_from_longest_to_shortest_with_ties_by_index(lengths: npt.NDArray[np.int32], budget: int) -> None:
    order = [index for batch in length_sorted_batches(lengths, budget) for index in batch.tolist()]
    assert order == sorted(range(lengths.size), key=lambda index: (-lengths[index], index))


@given(lengths_of_documents, budgets)
def test_no_batch_could_have_taken_the_next_document(lengths: npt.NDArray[np.int32], budget: int) -> None:
    batches = length_sorted_batches(lengths, budget)
    for batch in batches[:-1]:
        assert (batch.size + 1) * lengths[batch].max() > budget


@pytest.mark.parametrize(("lengths", "budget", "named"), [([3, 0], 10, r"lengths\[1\] = 0"), ([3], 0, "batch_tokens = 0")])
def test_nonsense_is_refused_by_name(lengths: npt.NDArray[np.int32], budget: int, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        length_sorted_batches(np.array(lengths), budget)
