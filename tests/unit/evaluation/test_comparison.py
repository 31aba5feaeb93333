"""Figures of a comparison, on losses whose curves are known."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from samplemix_core.evaluation.comparison import (
    ALL,
    LIKE_SOURCE,
    MACRO,
    Agreement,
    Checked,
    Comparison,
    Contender,
    Gain,
    Losses,
    Measured,
    TargetFacts,
    TextGroup,
    View,
    agreement,
    gains,
    group_losses,
    noise,
    together,
    views,
)
from samplemix_core.evaluation.curves import stops

GROUPS = [TextGroup("held", group, half) for group in ("web", "code") for half in (0, 1)] + [
    TextGroup("news", "", 0),
    TextGroup("news", "", 1),
]
N_BYTES = np.array([600, 200, 50, 150, 1000, 3000], dtype=np.int64)
SHARES = {"held": {"web": 0.9, "code": 0.1}}


def checked(saves: npt.ArrayLike, tokens: int = 1_000_000) -> Checked:
    """Curves on which each group learns so many times faster than the reference's."""
    at = stops(tokens)
    return Checked(at, (10 - np.log(at[:, np.newaxis] * np.broadcast_to(saves, len(GROUPS)))) * N_BYTES)


def by_view(found: list[Gain]) -> dict[tuple[str, str], Gain]:
    return {(gain.target, gain.view): gain for gain in found}


def test_a_target_is_seen_as_what_it_is() -> None:
    seen = {(view.target, view.name): view.weights for view in views(GROUPS, N_BYTES, SHARES)}
    assert list(seen) == [("held", LIKE_SOURCE), ("held", MACRO), ("news", ALL)]
    assert seen["held", LIKE_SOURCE] == pytest.approx([0.9 * 0.75, 0.9 * 0.25, 0.1 * 0.25, 0.1 * 0.75, 0, 0])
    assert seen["held", MACRO] == pytest.approx([0.5 * 0.75, 0.5 * 0.25, 0.5 * 0.25, 0.5 * 0.75, 0, 0])
    assert seen["news", ALL] == pytest.approx([0, 0, 0, 0, 0.25, 0.75])
    half = {(view.target, view.name): view.weights for view in views(GROUPS, N_BYTES, SHARES, half=1)}
    assert half["held", LIKE_SOURCE] == pytest.approx([0, 0.9, 0, 0.1, 0, 0])
    assert half["news", ALL] == pytest.approx([0, 0, 0, 0, 0, 1])
    # A domain that the target has no text of counts for nothing.
    some = views(GROUPS[:2], N_BYTES[:2], SHARES)
    assert [(view.name, view.weights.tolist()) for view in some] == [(LIKE_SOURCE, [0.75, 0.25])]
    assert views(GROUPS[:1], np.zeros(1, dtype=np.int64), SHARES) == []


def test_a_mixture_that_learns_faster_saves_as_many_steps_and_itself_is_one() -> None:
    seen = views(GROUPS, N_BYTES, SHARES)
    reference = [checked(1), checked(1.01), checked(0.99)]
    same = gains(reference, reference, N_BYTES, seen)
    assert all(gain.steps.mean == pytest.approx(1) and gain.steps.error == pytest.approx(0, abs=1e-12) for gain in same)
    assert {gain.verdict for gain in same} == {"open"}
    assert all(gain.difference.mean == 0 for gain in same)
    # Twice as fast on news, half as fast on code.
    own = [checked([1, 1, 0.5, 0.5, 2 * s, 2 * s]) for s in (1.0, 1.05, 0.95)]
    found = by_view(gains(own, reference, N_BYTES, seen))
    news = found["news", ALL]
    assert news.steps.mean == pytest.approx(2, abs=0.02)
    assert news.steps.error is not None
    assert news.steps.low is not None
    assert np.log(news.steps.mean / news.steps.low) == pytest.approx(4.303 * news.steps.error / news.steps.mean, rel=1e-3)
    assert news.verdict == "better"
    assert news.difference.mean == pytest.approx(-np.log(2), abs=0.02)
    assert found["held", MACRO].verdict == "worse"
    assert found["held", MACRO].steps.mean == pytest.approx(np.sqrt(0.5), abs=0.02)
    assert found["held", LIKE_SOURCE].steps.mean == pytest.approx(0.5**0.1, abs=0.02)
    losses = {(each.target, each.group): each.difference.mean for each in group_losses(own, reference, GROUPS, N_BYTES)}
    assert losses.keys() == {("held", "web"), ("held", "code")}
    assert losses["held", "code"] == pytest.approx(np.log(2), abs=0.02)
    assert losses["held", "web"] == pytest.approx(0, abs=0.02)


def test_losses_are_compared_where_both_have_been() -> None:
    news = views(GROUPS, N_BYTES, SHARES)[2:]
    (gain,) = gains([checked(1, tokens=500_000)], [checked(1)], N_BYTES, news)
    assert gain.nats.mean == pytest.approx(10 - np.log(500_000))
    assert gain.difference.mean == pytest.approx(0, abs=1e-3)
    assert (gain.steps.error, gain.steps.low, gain.verdict) == (None, None, "open")


def test_noise_is_the_largest_ratio_of_two_draws() -> None:
    seen = views(GROUPS, N_BYTES, SHARES)
    found = noise([checked(1), checked(1.1), checked(0.9)], N_BYTES, seen)
    assert [each.steps for each in found] == pytest.approx([1.1 / 0.9] * 3, rel=1e-3)
    assert noise([checked(1)], N_BYTES, seen) == []


def test_sentences_name_gains_losses_and_what_is_open() -> None:
    seen = views(GROUPS, N_BYTES, SHARES)
    reference = [checked(1), checked(1.02), checked(0.98)]
    own = [checked([1, 1, 0.5, 0.5, 2, 2]), checked([1.2, 1.2, 0.5, 0.5, 2, 2]), checked([0.8, 0.8, 0.5, 0.5, 2, 2])]
    about = {"policy": "samplemix", "realised_tokens": 1000, "tokens": 1, "documents": 1, "copies": 1, "epochs": 1, "seconds": 1}

    def contender(name: str, draws: list[Checked], **more: int) -> Contender:
        found = tuple(gains(draws, reference, N_BYTES, seen))
        return Contender.model_validate({**about, "name": name, "multipliers": {}, "gains": found, "groups": (), **more})

    facts = [
        TargetFacts(name=name, key="k", drawn=True, texts=9, n_bytes=9, held_by=held) for name, held in (("held", 12), ("news", 0))
    ]
    comparison = Comparison(
        method="quick",
        vocabulary="v",
        tokens=1_000_000,
        share=1.0,
        draws=3,
        budget_tokens=1000,
        targets=tuple(facts),
        contenders=(contender("natural", reference), contender("mine", own, held_tokens=50)),
        noise=tuple(noise(reference, N_BYTES, seen)),
    )
    first, *rest = comparison.said()
    assert first.startswith("mine against natural: learns faster on news (all) 2.00")
    assert "; learns slower on held (mean over groups) 0.7" in first
    assert "; can't be told apart on held (like the source) 0.9" in first
    assert rest[0].startswith("Two draws of natural differ by a factor of 1.04 at most")
    assert rest[1] == "12 texts of the corpus hold something of held, and were read of no mixture."
    assert rest[2].startswith("Of mine, documents of 50 tokens (5.0%) were not read")
    assert Comparison.model_validate_json(comparison.model_dump_json()) == comparison
    alone = comparison.model_copy(update={"draws": 1, "noise": ()})
    assert "With one draw nothing is known of the error: give more draws." in alone.said()


def test_ratios_are_averaged_so_that_twice_and_half_are_alike() -> None:
    found = Measured.of_ratios([0.5, 2.0, 1.0])
    assert found.mean == pytest.approx(1)
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < 1 < found.high
    assert found.low * found.high == pytest.approx(1)
    alone = Measured.of_ratios([2.0])
    assert alone.mean == pytest.approx(2.0)
    assert (alone.error, alone.low, alone.high) == (None, None, None)


def test_the_frontier_has_what_no_other_beats() -> None:
    def at(near: float, far: float) -> Contender:
        about = {"policy": "p", "realised_tokens": 1, "tokens": 1, "documents": 1, "copies": 1, "epochs": 1, "seconds": 1}
        places = {"like_source": Measured.of([near, near]), "elsewhere": Measured.of([far, far])}
        return Contender.model_validate({**about, "name": f"{near}/{far}", "multipliers": {}, "gains": (), "groups": (), **places})

    placed = [at(1.0, 1.0), at(0.8, 1.5), at(0.9, 1.3), at(0.8, 1.4), at(0.5, 1.5), at(1.1, 0.9), at(0.9, 1.3)]
    unplaced = placed[0].model_copy(update={"name": "none", "elsewhere": None})
    comparison = Comparison(
        **{
            "method": "quick",
            "vocabulary": "v",
            "tokens": 1,
            "share": 1.0,
            "draws": 2,
            "budget_tokens": 1,
            "targets": (),
            "noise": (),
        },
        contenders=(*placed, unplaced),
    )
    assert [each.name for each in comparison.frontier] == ["1.1/0.9", "1.0/1.0", "0.9/1.3", "0.9/1.3", "0.8/1.5"]


def test_views_together_are_their_geometric_mean_draw_by_draw() -> None:
    seen = views(GROUPS, N_BYTES, SHARES)
    own, reference = [checked([1, 1, 1, 1, 4, 4]), checked([1, 1, 1, 1, 2, 2])], [checked(1), checked(1)]
    found = together(own, reference, N_BYTES, [seen[0], seen[2]])
    assert found is not None
    assert found.mean == pytest.approx(np.sqrt(2 * np.sqrt(2)), rel=1e-3)
    assert together(own, reference, N_BYTES, []) is None


def test_an_interval_says_better_or_worse_only_beyond_the_neutral_value() -> None:
    assert Measured.of([1.2, 1.21, 1.19]).verdict(1.0, higher_is_better=True) == "better"
    assert Measured.of([1.2, 1.21, 1.19]).verdict(1.0, higher_is_better=False) == "worse"
    assert Measured.of([0.5, 1.7, 1.4]).verdict(1.0, higher_is_better=True) == "open"
    assert Measured.of([3.0]).verdict(1.0, higher_is_better=True) == "open"


def test_two_checks_agree_on_the_pairs_that_both_order_alike() -> None:
    n_bytes = np.array([100])
    seen = [View("clean", "all", np.ones(1))]

    def losses(**by_mixture: Sequence[float]) -> Losses:
        points = np.array([10, 20])
        return Losses(
            {name: [Checked(points, np.array([[900.0], [each]])) for each in draws] for name, draws in by_mixture.items()},
            n_bytes,
            seen,
        )

    quick = losses(natural=[100, 101], best=[80, 81], worst=[120, 121])
    found = agreement(quick, losses(natural=[100, 100.1], best=[90, 90.2], worst=[95, 105]))
    # natural and worst differ by -5 and 4.9: in the mean as the quick check says or not, but not for certain.
    assert (found.pairs, found.sure, found.sure_alike) == (3, 1, 1)
    assert found.alike == 2
    assert found.spearman == pytest.approx(0.5)
    own = agreement(quick, quick)
    assert (own.pairs, own.alike, own.sure, own.sure_alike) == (3, 3, 3, 3)
    assert own.spearman == pytest.approx(1)
    opposite = losses(natural=[100, 101], best=[120, 121], worst=[80, 81])
    assert agreement(quick, opposite).alike == 0
    # Mixtures with one stream aren't in any order.
    alike = losses(natural=[100, 101], best=[100, 101], worst=[100, 101])
    assert agreement(alike, alike) == Agreement(pairs=0, alike=0, sure=0, sure_alike=0, spearman=None)
