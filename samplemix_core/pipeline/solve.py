"""A run's copies: of one mixture, or of phases under one ledger; and what the manifest records of how they came to be."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from samplemix_core.config.constraints import ConstraintsConfig
from samplemix_core.config.run import RunConfig
from samplemix_core.errors import BudgetError, ConfigError
from samplemix_core.manifest.format import CellRecord, PhaseRecord, PolicyRecord, SolverRecord
from samplemix_core.mixing.constraints import Groups, solve_groups
from samplemix_core.mixing.groups import grouped, most_copies
from samplemix_core.mixing.phases import PhaseWanted, room_of, solve_phases
from samplemix_core.mixing.solver import Float64Array, Solution, UInt16Array, solve_copies
from samplemix_core.mixing.source import Source
from samplemix_core.policies.policy import PHASES, Policy, Scale, Survey
from samplemix_core.policies.registry import record, recorded_scale


@dataclass(frozen=True)
class Solved:
    """Copies (n,), and what the manifest records of how they came to be. `in_phases` are the copies (n,) of each phase."""

    copies: UInt16Array
    realised_tokens: int
    policy: PolicyRecord
    solver: SolverRecord
    phases: tuple[PhaseRecord, ...] = ()
    in_phases: Mapping[str, UInt16Array] = field(default_factory=dict)


@dataclass
class Wanted:
    """What a policy wants of a source for so many tokens, where samples have `room` (n,) copies at most, or else max_copies.

    Policies that look at the whole source survey it once.
    """

    source: Source
    policy: Policy
    scale: Scale
    max_copies: int
    constraints: ConstraintsConfig = field(default_factory=ConstraintsConfig)
    _survey: Survey | None = None

    def weights(self, tokens: int, room: UInt16Array | None = None) -> Float64Array:
        """The weights of all samples, which are the source's from now on."""
        return self.source.weigh(self.policy.weigh(self.scale, None if self.policy.alone else self._surveyed(tokens, room)))

    def groups(self, tokens: int, room: UInt16Array | None = None) -> Groups | None:
        """What groups of samples are to have, by the policy and by constraints; None where that follows from the weights."""
        targets = None if self.policy.alone else self.policy.met_targets(self._surveyed(tokens, room))
        return grouped(self.source.columns, self.source.tokens, tokens, self.constraints, targets)

    def _surveyed(self, tokens: int, room: UInt16Array | None) -> Survey:
        if self._survey is None:
            self._survey = self.source.survey(self.scale, tokens, self.max_copies, room)
        return self._survey


def _cells(solution: Solution, groups: Groups | None) -> tuple[CellRecord, ...]:
    if solution.cells is None or groups is None:
        return ()
    rows = zip(groups.cells, *(values.tolist() for values in solution.cells), strict=True)
    return tuple(
        CellRecord(of=dict(of), kappa=kappa, target_tokens=target, realised_tokens=realised)
        for of, kappa, target, realised in rows
        if target or realised
    )


def _policy(policy: Policy, scale: Scale) -> PolicyRecord:
    return PolicyRecord(name=policy.name, parameters=record(policy, scale))


def budget_tokens(config: RunConfig, source: Source, scale: Scale) -> int:
    """The budget in tokens. Where the policy counts documents, those of as many copies as the budget's share of all documents.

    Raises BudgetError if max_copies don't give so many, and ConfigError for phases by a policy that counts documents.
    """
    tokens = config.budget.resolve(source.total_tokens)
    if not any(policy.counts_documents for policy in config.policies):
        return tokens
    if config.phases:
        raise ConfigError("Phases share a budget of tokens.", "Leave budget_unit=documents out, or mix without phases.")
    n = source.tokens.size
    documents = max(1, round(n * tokens / source.total_tokens))
    if documents > n * config.max_copies:
        raise BudgetError(
            f"{documents:,} copies can't be made of {n:,} documents with at most {config.max_copies} of each.",
            "Lower the budget, or raise max_copies.",
        )
    weights = Wanted(source, config.policy, scale, config.max_copies).weights(tokens)
    found = solve_copies(weights, np.ones(n, dtype=np.int32), source.uniform, documents, config.max_copies)
    return int(source.domain_sums(found.copies).mixture_tokens.sum())


def solve(config: RunConfig, source: Source, scale: Scale, budget: int) -> Solved:
    """Solve the mixture, or its phases: the source's weights then become the copies that these want, and its numbers are spent.

    Where a least number of documents is wanted, max_copies is the largest, up to the configured one, that gives it; BudgetError if
    one copy each doesn't.
    """
    least, cap = config.constraints.documents, config.max_copies
    if not least:
        return _solve(config, source, scale, budget, cap)
    if least > source.tokens.size:
        raise BudgetError(
            f"The source has {source.tokens.size:,} documents, and the mixture is to have {least:,}.", "Ask for fewer documents."
        )
    numbers, documents, why = source.uniform.copy(), 0, ""
    while cap:
        source.uniform[:] = numbers
        try:
            solved = _solve(config, source, scale, budget, cap)
        except BudgetError as error:
            if cap == config.max_copies:
                raise
            why = f" With {cap} of each: {error.what}"
            break
        documents = int(np.count_nonzero(solved.copies))
        if documents >= least:
            return solved
        # A cap that nobody reaches changes nothing.
        cap = min(cap, int(solved.copies.max())) - 1
    raise BudgetError(
        f"The mixture would have {documents:,} distinct documents with at most {cap + 1} copies of each, and not {least:,}.{why}",
        "Raise the budget, ask for fewer documents, or choose a policy with flatter weights.",
    )


def _solve(config: RunConfig, source: Source, scale: Scale, budget: int, max_copies: int) -> Solved:
    most = None if config.max_share == 1 else max(1, int(config.max_share * budget))
    caps = most_copies(source.columns, source.quality, config.constraints, max_copies)

    def solver(solution: Solution, max_copies: int, groups: Groups | None = None) -> SolverRecord:
        return SolverRecord(
            max_copies=max_copies,
            max_share=config.max_share,
            kappa=solution.kappa,
            next_tokens=solution.next_tokens,
            passed_over=solution.passed_over,
            cells=_cells(solution, groups),
        )

    if not config.phases:
        own = Wanted(source, config.policy, scale, max_copies, config.constraints)
        room = None if most is None and caps is None else room_of(source.tokens, max_copies, most, caps)
        weights = own.weights(budget, room)
        uniforms = source.uniform if config.policy.chance else np.zeros(source.uniform.size)
        groups = own.groups(budget, room)
        solution = solve_groups(weights, source.tokens, uniforms, budget, max_copies, most, room=caps, groups=groups)
        return Solved(
            solution.copies,
            solution.realised_tokens,
            _policy(config.policy, scale),
            solver(solution, max_copies, groups),
        )
    wanted = []
    for phase, policy in zip(config.phases, config.policies, strict=True):
        own = Wanted(source, policy, scale, min(phase.max_copies or max_copies, max_copies), config.constraints)
        wanted.append(PhaseWanted(phase.name, phase.share, own.max_copies, own.weights, own.groups, policy.chance))
    found = solve_phases(wanted, source.tokens, source.uniform, budget, max_copies, most, caps)
    source.weight = found.wanted
    records = tuple(
        PhaseRecord(
            name=phase.name,
            policy=_policy(policy, scale),
            solver=solver(phase.solution, own.max_copies, phase.groups),
            held_back=phase.held_back,
            budget_tokens=phase.budget_tokens,
            realised_tokens=phase.solution.realised_tokens,
            samples=int(np.count_nonzero(phase.solution.copies)),
            copies=int(phase.solution.copies.sum(dtype=np.int64)),
        )
        for phase, own, policy in zip(found.phases, wanted, config.policies, strict=True)
    )
    return Solved(
        copies=found.copies,
        realised_tokens=found.realised_tokens,
        policy=PolicyRecord(name=PHASES, parameters=recorded_scale(scale)),
        solver=SolverRecord(
            max_copies=max_copies,
            max_share=config.max_share,
            kappa=1.0,
            next_tokens=records[-1].solver.next_tokens,
            passed_over=sum(phase.solver.passed_over for phase in records),
        ),
        phases=records,
        in_phases={phase.name: phase.solution.copies for phase in found.phases},
    )
