"""A run's copies: of one mixture, or of phases under one ledger; and what the manifest records of how they came to be."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from samplemix_core.config.run import RunConfig
from samplemix_core.manifest.format import PhaseRecord, PolicyRecord, SolverRecord
from samplemix_core.mixing.phases import PhaseWanted, solve_phases
from samplemix_core.mixing.solver import Float64Array, Solution, UInt16Array, solve_copies
from samplemix_core.mixing.source import Source
from samplemix_core.policies.policy import PHASES, Policy, Scale
from samplemix_core.policies.registry import SCALE_ENDS, record


@dataclass(frozen=True)
class Solved:
    """Copies (n,), and what the manifest records of how they came to be. `in_phases` are the copies (n,) of each phase."""

    copies: UInt16Array
    realised_tokens: int
    policy: PolicyRecord
    solver: SolverRecord
    phases: tuple[PhaseRecord, ...] = ()
    in_phases: Mapping[str, UInt16Array] = field(default_factory=dict)


def _policy(policy: Policy, scale: Scale) -> PolicyRecord:
    return PolicyRecord(name=policy.name, parameters=record(policy, scale))


def solve(config: RunConfig, source: Source, scale: Scale, budget: int) -> Solved:
    """Solve the mixture, or its phases: the source's weights then become the copies that these want, and its numbers are spent."""
    most = None if config.max_share == 1 else max(1, int(config.max_share * budget))

    def solver(solution: Solution, max_copies: int) -> SolverRecord:
        return SolverRecord(
            max_copies=max_copies,
            max_share=config.max_share,
            kappa=solution.kappa,
            next_tokens=solution.next_tokens,
            passed_over=solution.passed_over,
        )

    if not config.phases:
        solution = solve_copies(source.weight, source.tokens, source.uniform, budget, config.max_copies, most)
        return Solved(solution.copies, solution.realised_tokens, _policy(config.policy, scale), solver(solution, config.max_copies))
    # The source comes with the weights of the first.
    weights: list[Callable[[], Float64Array]] = [lambda: source.weight]
    weights += [partial(source.weigh, policy.weigh(scale)) for policy in config.policies[1:]]
    wanted = [
        PhaseWanted(phase.name, phase.share, phase.max_copies or config.max_copies, own)
        for phase, own in zip(config.phases, weights, strict=True)
    ]
    found = solve_phases(wanted, source.tokens, source.uniform, budget, config.max_copies, most)
    source.weight = found.wanted
    records = tuple(
        PhaseRecord(
            name=phase.name,
            policy=_policy(policy, scale),
            solver=solver(phase.solution, own.max_copies),
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
        policy=PolicyRecord(name=PHASES, parameters=dict(zip(SCALE_ENDS, scale, strict=True))),
        solver=SolverRecord(
            max_copies=config.max_copies,
            max_share=config.max_share,
            kappa=1.0,
            next_tokens=records[-1].solver.next_tokens,
            passed_over=sum(phase.solver.passed_over for phase in records),
        ),
        phases=records,
        in_phases={phase.name: phase.solution.copies for phase in found.phases},
    )
