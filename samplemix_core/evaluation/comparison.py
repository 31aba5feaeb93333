"""What checks of mixtures come to: losses on targets and the steps that one saves against another, with their uncertainty.

All mixtures of a comparison are checked on the same draws, so a difference is taken within a draw, and its error over draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field
from scipy.special import stdtrit

from samplemix_core.evaluation.curves import Curve, Paired, steps_ratio
from samplemix_core.frozen import FrozenModel

Float64Array = npt.NDArray[np.float64]
Int64Array = npt.NDArray[np.int64]

_CONFIDENCE = 0.95

Verdict = Literal["better", "worse", "open"]


class TextGroup(NamedTuple):
    """Texts of a target that are told apart: a domain's, or what a field says; and a half of them, 0 or 1, by chance."""

    target: str
    group: str
    half: int


@dataclass(frozen=True, eq=False)
class Checked:
    """What one draw of a mixture came to: losses of G groups after so many tokens.

    tokens: int64 (p,), ascending. nats: float64 (p, G), of each group's texts together.
    """

    tokens: Int64Array
    nats: Float64Array


class View(NamedTuple):
    """A way to see a target as one number: the nats a byte of G groups, weighted (G,)."""

    target: str
    name: str
    weights: Float64Array

    def curve(self, checked: Checked, n_bytes: Int64Array) -> Curve:
        """The loss in this view; n_bytes: int64 (G,)."""
        return Curve(checked.tokens, checked.nats @ (self.weights / np.maximum(n_bytes, 1)))


ALL, LIKE_SOURCE, MACRO = "all", "like the source", "mean over groups"


def views(
    groups: Sequence[TextGroup],
    n_bytes: Int64Array,
    shares: Mapping[str, Mapping[str, float]],
    half: int | None = None,
) -> list[View]:
    """The views of each target, in the order of targets, on all texts or a half.

    A target whose groups have shares of its corpus (`shares`, by target and group) is seen like the source, and any with several
    groups as their mean; others as all their texts together.
    """
    found = list[View]()
    for target in dict.fromkeys(group.target for group in groups):
        own = np.array([each.target == target and half in (None, each.half) for each in groups]) & (n_bytes > 0)
        names = sorted({each.group for each, is_own in zip(groups, own.tolist(), strict=True) if is_own})
        if not names:
            continue
        member = np.array([[each.group == name for each in groups] for name in names]) & own
        within = member * n_bytes / (member @ n_bytes)[:, np.newaxis]
        known = shares.get(target, {})
        by_share = np.array([known.get(name, 0.0) for name in names])
        if by_share.sum() > 0:
            found.append(View(target, LIKE_SOURCE, by_share / by_share.sum() @ within))
        else:
            found.append(View(target, ALL, own * n_bytes / n_bytes[own].sum()))
        if len(names) > 1:
            found.append(View(target, MACRO, within.mean(axis=0)))
    return found


class Measured(FrozenModel):
    """A mean over paired draws: its standard error, and the ends of its 95 % interval by Student's t; None with one draw."""

    mean: float
    error: float | None
    low: float | None
    high: float | None

    @classmethod
    def of_ratios(cls, ratios: Sequence[float]) -> "Measured":
        """From one ratio a draw, at least one: by their logarithms, so that twice and half are as far from 1."""
        found = cls.of(np.log(ratios).tolist())
        mean = float(np.exp(found.mean))
        if found.error is None or found.low is None or found.high is None:
            return found.model_copy(update={"mean": mean})
        return cls(mean=mean, error=mean * found.error, low=float(np.exp(found.low)), high=float(np.exp(found.high)))

    @classmethod
    def of(cls, values: Sequence[float]) -> "Measured":
        """From one value a draw, at least one."""
        mean, error = Paired.of(values)
        if len(values) < 2:
            return cls(mean=mean, error=None, low=None, high=None)
        reach = float(stdtrit(len(values) - 1, (1 + _CONFIDENCE) / 2)) * error
        return cls(mean=mean, error=error, low=mean - reach, high=mean + reach)

    def verdict(self, neutral: float, *, higher_is_better: bool) -> Verdict:
        """Whether the interval is on one side of a neutral value."""
        if self.low is None or self.high is None or self.low <= neutral <= self.high:
            return "open"
        return "better" if (self.low > neutral) == higher_is_better else "worse"


class Gain(FrozenModel):
    """A mixture against the reference in one view of a target.

    steps: tokens that the reference needs over those that the mixture needs for the same loss: above 1 the mixture learns faster.
    nats: its loss, in nats a byte, at the tokens that both have had; difference: less the reference's.
    """

    target: str
    view: str
    steps: Measured
    nats: Measured
    difference: Measured
    verdict: Verdict


class GroupLoss(FrozenModel):
    """The loss on a group of a target's texts, in nats a byte, and its difference from the reference's."""

    target: str
    group: str
    nats: Measured
    difference: Measured


class Noise(FrozenModel):
    """How far draws of the reference itself are apart in one view: the largest steps ratio of two."""

    target: str
    view: str
    steps: float


def gains(own: Sequence[Checked], reference: Sequence[Checked], n_bytes: Int64Array, seen: Sequence[View]) -> list[Gain]:
    """A mixture's draws against the reference's, draw by draw."""
    found = []
    for view in seen:
        curves = [(view.curve(mine, n_bytes), view.curve(theirs, n_bytes)) for mine, theirs in zip(own, reference, strict=True)]
        at = [min(int(mine.tokens[-1]), int(theirs.tokens[-1])) for mine, theirs in curves]
        losses = [(mine.at(tokens), theirs.at(tokens)) for (mine, theirs), tokens in zip(curves, at, strict=True)]
        steps = Measured.of_ratios([steps_ratio(mine, theirs) for mine, theirs in curves])
        found.append(
            Gain(
                target=view.target,
                view=view.name,
                steps=steps,
                nats=Measured.of([mine for mine, _ in losses]),
                difference=Measured.of([mine - theirs for mine, theirs in losses]),
                verdict=steps.verdict(1.0, higher_is_better=True),
            )
        )
    return found


def group_losses(
    own: Sequence[Checked], reference: Sequence[Checked], groups: Sequence[TextGroup], n_bytes: Int64Array
) -> list[GroupLoss]:
    """The loss on each group of the targets that have several."""
    found = []
    names = dict.fromkeys((each.target, each.group) for each in groups)
    for target, group in names:
        if sum(other == target for other, _ in names) < 2:
            continue
        of_group = np.array([(each.target, each.group) == (target, group) for each in groups])
        if not n_bytes[of_group].sum():
            continue
        view = View(target, group, of_group * n_bytes / n_bytes[of_group].sum())
        (gain,) = gains(own, reference, n_bytes, [view])
        found.append(GroupLoss(target=target, group=group, nats=gain.nats, difference=gain.difference))
    return found


def noise(reference: Sequence[Checked], n_bytes: Int64Array, seen: Sequence[View]) -> list[Noise]:
    """How far the reference's draws are apart, each pair of them; nothing with one draw."""
    found = []
    for view in seen if len(reference) > 1 else ():
        curves = [view.curve(each, n_bytes) for each in reference]
        ratios = [steps_ratio(one, other) for i, one in enumerate(curves) for other in curves[:i]]
        found.append(Noise(target=view.target, view=view.name, steps=max(max(ratio, 1 / ratio) for ratio in ratios)))
    return found


def together(own: Sequence[Checked], reference: Sequence[Checked], n_bytes: Int64Array, seen: Sequence[View]) -> Measured | None:
    """The geometric mean over views of the steps ratios, draw by draw; None without a view."""
    if not seen:
        return None
    ratios = [
        [steps_ratio(view.curve(mine, n_bytes), view.curve(theirs, n_bytes)) for view in seen]
        for mine, theirs in zip(own, reference, strict=True)
    ]
    return Measured.of_ratios([float(np.exp(np.mean(np.log(each)))) for each in ratios])


class Contender(FrozenModel):
    """A mixture in a comparison.

    share: of its documents that was read. tokens, documents and copies: of what was read, the mean over draws. realised_tokens:
    of the whole mixture, in tokens of the corpus's tokenizer; held_tokens: of these, those of a published one's documents that were
    not read, as they hold texts of targets or can't be mixed any more. epochs: how often a token that is taken is seen.
    multipliers: by column and group, its share of tokens over the source's. like_source and elsewhere: steps ratios on targets that
    were drawn, seen like the source, and on the others; of several, the geometric mean. settings: by which it can be made.
    """

    name: str
    policy: str
    mixture: str | None = None
    version: int | None = None
    share: float = 1.0
    realised_tokens: int
    held_tokens: int = 0
    tokens: float
    documents: float
    copies: float
    epochs: float
    multipliers: dict[str, dict[str, float]]
    gains: tuple[Gain, ...]
    groups: tuple[GroupLoss, ...]
    like_source: Measured | None = None
    elsewhere: Measured | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    seconds: float


class Losses(NamedTuple):
    """What one check came to: draws of each mixture, by name, bytes of its groups (G,), and its views."""

    checked: Mapping[str, Sequence[Checked]]
    n_bytes: Int64Array
    seen: Sequence[View]

    def nats(self) -> dict[tuple[str, str], Float64Array]:
        """By target and view, the loss (mixtures, draws) after as many tokens as all have had."""
        tokens = min(int(each.tokens[-1]) for own in self.checked.values() for each in own)
        return {
            (view.target, view.name): np.array(
                [[view.curve(each, self.n_bytes).at(tokens) for each in own] for own in self.checked.values()]
            )
            for view in self.seen
        }


class Agreement(FrozenModel):
    """How often two checks order mixtures alike: of all pairs of mixtures in all views, `alike`.

    sure: pairs that the second check tells apart for certain (95 %, paired draws), and sure_alike: those of these that the first
    orders alike. spearman: mean over views of the rank correlation of the losses; None for two mixtures, or if all are the same.
    """

    pairs: int
    alike: int
    sure: int
    sure_alike: int
    spearman: float | None


def agreement(first: Losses, second: Losses) -> Agreement:
    """Compare the orders in which two checks of the same mixtures and targets put them."""
    from scipy.stats import spearmanr

    one, other = first.nats(), second.nats()
    pairs = alike = sure = sure_alike = 0
    correlations = []
    for view, theirs in other.items():
        mine = one[view].mean(axis=1)
        for i in range(mine.size):
            for j in range(i):
                apart = theirs[i] - theirs[j]
                if mine[i] == mine[j] and not apart.any():
                    # The same stream: there is nothing to order.
                    continue
                is_alike = bool((mine[i] - mine[j]) * apart.mean() > 0)
                is_sure = Measured.of(apart.tolist()).verdict(0.0, higher_is_better=False) != "open"
                pairs, alike = pairs + 1, alike + is_alike
                sure, sure_alike = sure + is_sure, sure_alike + (is_sure and is_alike)
        if mine.size > 2 and np.ptp(mine) > 0 and np.ptp(theirs.mean(axis=1)) > 0:
            correlations.append(float(spearmanr(mine, theirs.mean(axis=1)).statistic))
    spearman = float(np.mean(correlations)) if correlations else None
    return Agreement(pairs=pairs, alike=alike, sure=sure, sure_alike=sure_alike, spearman=spearman)


class Confirmation(FrozenModel):
    """The same streams as a small transformer learns them.

    parameters: about how many it has besides its vocabulary's. sequence: tokens that it reads at once. tokens: of each stream, at
    most. texts: of all targets. gains: by mixture, as those of the quick check. noise: of the reference's draws.
    """

    method: str
    parameters: int
    sequence: int
    tokens: int
    texts: int
    gains: dict[str, tuple[Gain, ...]]
    noise: tuple[Noise, ...]
    agreement: Agreement

    def said(self, reference: str) -> list[str]:
        """What it says of each mixture, and how often the quick check orders them alike."""
        own = self.agreement
        lines = [_said(name, gains, f"{reference}, by a {self.method}") for name, gains in self.gains.items() if name != reference]
        if own.pairs:
            lines.append(
                f"The quick check and the {self.method} of {self.parameters:,} parameters order {own.alike} of {own.pairs} pairs of"
                f" mixtures alike ({own.alike / own.pairs:.0%})"
                + (f", and {own.sure_alike} of the {own.sure} that it tells apart for certain." if own.sure else ".")
            )
        return lines


class TargetFacts(FrozenModel):
    """A target as it was used: texts and bytes that were read, and texts of the corpus that hold something of it."""

    name: str
    key: str
    drawn: bool
    texts: int
    n_bytes: int
    held_by: int


class Comparison(FrozenModel):
    """Mixtures compared on targets; the first is the reference.

    share: of documents that was read, of a mixture with this budget. tokens: of the vocabulary, that were read of each at most.
    noise: how far draws of the reference are apart. unsolved: mixtures that were left out, and why. confirmation: where it was
    asked for.
    """

    method: str
    vocabulary: str
    tokens: int
    share: float
    draws: int
    budget_tokens: int
    targets: tuple[TargetFacts, ...]
    contenders: tuple[Contender, ...]
    noise: tuple[Noise, ...]
    unsolved: dict[str, str] = Field(default_factory=dict)
    confirmation: Confirmation | None = None

    @property
    def frontier(self) -> list[Contender]:
        """The mixtures that no other one beats both on text like the source and elsewhere, the kindest to the source first."""
        placed = [each for each in self.contenders if each.like_source is not None and each.elsewhere is not None]
        return sorted(
            (each for each in placed if not any(_beats(other, each) for other in placed)),
            key=lambda each: -(each.like_source.mean if each.like_source else 0),
        )

    @property
    def reference(self) -> str:
        """The name of the mixture that the others are compared with."""
        return self.contenders[0].name

    def said(self) -> list[str]:
        """What can be concluded and what can't, a sentence for each mixture, and the caveats."""
        confirmed = [] if self.confirmation is None else self.confirmation.said(self.reference)
        quick = [_said(each.name, each.gains, self.reference) for each in self.contenders[1:]]
        return [*quick, *confirmed, *self.caveats()]

    def caveats(self) -> list[str]:
        """What is left out, what is chance, and what holds texts of targets."""
        lines = [f"{name} is left out: {why}" for name, why in self.unsolved.items()]
        if self.draws == 1:
            lines.append("With one draw nothing is known of the error: give more draws.")
        elif self.noise:
            worst = max(self.noise, key=lambda each: each.steps)
            lines.append(
                f"Two draws of {self.reference} differ by a factor of {worst.steps:.2f} at most ({worst.target}, {worst.view}):"
                " read smaller differences of single draws as chance."
            )
        for target in self.targets:
            if target.held_by:
                lines.append(
                    f"{target.held_by:,} texts of the corpus hold something of {target.name}, and were read of no mixture."
                )
        for each in self.contenders:
            if each.held_tokens:
                lines.append(
                    f"Of {each.name}, documents of {each.held_tokens:,} tokens ({each.held_tokens / each.realised_tokens:.1%}) were"
                    " not read: they hold texts of targets, or can't be mixed any more."
                )
        return lines


_WORDS: dict[Verdict, str] = {"better": "learns faster on", "worse": "learns slower on", "open": "can't be told apart on"}


def _beats(other: Contender, own: Contender) -> bool:
    places = [(each.like_source.mean, each.elsewhere.mean) for each in (other, own) if each.like_source and each.elsewhere]
    (its, mine) = places
    return its != mine and its[0] >= mine[0] and its[1] >= mine[1]


def _said(name: str, gains: Sequence[Gain], reference: str) -> str:
    by: dict[Verdict, list[str]] = {"better": [], "worse": [], "open": []}
    for gain in gains:
        bar = "" if gain.steps.error is None else f" +- {gain.steps.error:.2f}"
        by[gain.verdict].append(f"{gain.target} ({gain.view}) {gain.steps.mean:.2f}{bar}")
    parts = [f"{words} {', '.join(by[verdict])}" for verdict, words in _WORDS.items() if by[verdict]]
    return f"{name} against {reference}: {'; '.join(parts)}."
