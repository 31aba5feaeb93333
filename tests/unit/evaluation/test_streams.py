"""Streams of a mixture's documents: the same chance for every mixture."""

import numpy as np
import pytest

from samplemix_core.evaluation.streams import chosen_by_chance, had_before, in_order
from samplemix_core.sample_key import sample_keys

KEYS = sample_keys("crawl-a", "crawl-a/web/part-0.jsonl", np.arange(5_000, dtype=np.int64))


def test_a_share_is_chosen_and_a_smaller_one_is_part_of_it() -> None:
    half, tenth = chosen_by_chance(KEYS, 0.5, 3), chosen_by_chance(KEYS, 0.1, 3)
    assert half.mean() == pytest.approx(0.5, abs=0.03)
    assert tenth.mean() == pytest.approx(0.1, abs=0.02)
    assert half[tenth].all()
    other = chosen_by_chance(KEYS, 0.5, 4)
    assert (half & other).mean() == pytest.approx(0.25, abs=0.03)
    assert chosen_by_chance(KEYS, 1.0, 3).all()


def test_each_copy_is_in_the_stream_once_and_phases_follow_each_other() -> None:
    rng = np.random.default_rng(0)
    phases = [rng.integers(0, 4, size=len(KEYS)).astype(np.uint16) for _ in range(2)]
    stream = in_order(KEYS, phases, 1)
    end = int(phases[0].sum())
    for own, copies in zip((stream[:end], stream[end:]), phases, strict=True):
        assert np.array_equal(np.bincount(own, minlength=len(KEYS)), copies)
    assert not np.array_equal(stream, in_order(KEYS, phases, 2))
    # Copies are spread over their phase.
    first = np.flatnonzero(stream[:end] == int(np.argmax(phases[0])))
    assert np.ptp(first) > 100
    again = had_before(stream)
    assert np.count_nonzero(~again) == np.count_nonzero(phases[0] + phases[1])
    assert not again[np.unique(stream, return_index=True)[1]].any()


def test_what_two_mixtures_share_has_one_order_in_both() -> None:
    rng = np.random.default_rng(1)
    one, other = (rng.integers(0, 3, size=len(KEYS)).astype(np.uint16) for _ in range(2))
    # The order doesn't depend on the order of samples either.
    turned = np.argsort(rng.random(len(KEYS)))
    streams = in_order(KEYS, [one], 5), turned[in_order(KEYS[turned], [other[turned]], 5)]
    shared = np.flatnonzero((one == 1) & (other == 1))
    found = [stream[np.isin(stream, shared)].tolist() for stream in streams]
    assert found[0] == found[1]
    assert sorted(found[0]) == shared.tolist()


def test_nothing_makes_an_empty_stream() -> None:
    assert in_order(KEYS, [np.zeros(len(KEYS), dtype=np.uint16)], 0).size == 0
    assert had_before(np.empty(0, dtype=np.int64)).size == 0
