"""Mixing at size: the solver with limits on groups against numpy.exp, in memory and over mapped columns; and plans of policies.

    python -m bench.policies [LARGEST] [DIRECTORY]

DIRECTORY has documents for bench.overlap, which is part of this; without it, they are those of this machine. LARGEST is the most
samples, 100 million by default, for which 4 GB of memory and of disk are needed. Each size runs in its own
process, so that its peak memory is its own. Exponents are slopes of log seconds over log samples.
"""

import json
import multiprocessing
import os
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np

from bench import ledger, overlap
from bench.solver import MEGABYTE, peak_megabytes
from samplemix_core.config.run import RunConfig
from samplemix_core.database.ledger import shard_states
from samplemix_core.frozen import load_config
from samplemix_core.local.owner import Owner
from samplemix_core.mixing.constraints import Groups, Limit, solve_groups
from samplemix_core.mixing.plan import COLUMNS, planned
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.fit import fit_diversity
from samplemix_core.pipeline.read import read_source
from samplemix_core.pipeline.solve import solve
from samplemix_core.policies.policy import Scale

LARGEST = 100_000_000
CELLS, MAX_COPIES = 24, 4
PLANNED, PLAN_SAMPLES = ("samplemix", "natural", "topk", "temperature"), 1_000_000
_PART = 2**22

LIMITS = (
    Limit("three groups", np.array([0, 1, 2]), 0.2, 0.3),
    Limit("seven groups", np.arange(5, 12), 0.0, 0.2),
    Limit("others", np.array([0, 7, 20]), 0.15, 0.15),
)


KINDS = {"weights": np.float64, "tokens": np.int32, "uniforms": np.float64, "cell": np.uint16}


def columns(size: int, directory: Path | None = None) -> dict[str, Any]:
    """Synthetic samples, in memory, or written to files, a part at a time."""
    made: dict[str, Any] = {}
    for name, kind in KINDS.items():
        if directory is None:
            made[name] = np.empty(size, dtype=kind)
        else:
            made[name] = np.memmap(directory / name, dtype=kind, mode="w+", shape=(size,))
    for start in range(0, size, _PART):
        rng = np.random.default_rng(start)
        part = slice(start, min(size, start + _PART))
        n = part.stop - part.start
        made["weights"][part] = np.exp(5 * rng.random(n))
        made["tokens"][part] = rng.integers(1, 2000, n)
        made["uniforms"][part] = rng.random(n)
        made["cell"][part] = rng.integers(0, CELLS, n)
    return made


def write(size: int, directory: Path) -> None:
    """Write the columns, in a process whose memory doesn't count."""
    for array in columns(size, directory).values():
        array.flush()


def measure(size: int, directory: Path | None) -> dict[str, float]:
    """Seconds of a solve with limits, its peak memory, and seconds of numpy.exp over as many floats; columns may be mapped."""
    warm = columns(10_000)
    groups = Groups(warm["cell"], tuple({"cell": str(cell)} for cell in range(CELLS)), LIMITS)
    solve_groups(warm["weights"], warm["tokens"], warm["uniforms"], 4_000_000, MAX_COPIES, groups=groups)
    before = peak_megabytes()
    if directory is None:
        made = columns(size)
    else:
        made = {name: np.memmap(directory / name, dtype=kind, mode="r") for name, kind in KINDS.items()}
    # A fifth of the source: tokens are 1 to 1999.
    budget = 200 * size
    groups = Groups(made["cell"], groups.cells, LIMITS)
    found: list[Any] = []

    def once() -> None:
        found[:] = [solve_groups(made["weights"], made["tokens"], made["uniforms"], budget, MAX_COPIES, groups=groups)]

    seconds = overlap.fastest(3 if size < LARGEST else 2, once)
    peak = peak_megabytes() - before
    (solution,) = found
    assert 0 <= budget - solution.realised_tokens < solution.next_tokens
    if directory is not None:
        return {"samples": size, "seconds": seconds, "peak_mb": peak}
    values = 5 * np.random.default_rng(1).random(size)
    out = np.empty(size)
    return {
        "samples": size,
        "seconds": seconds,
        "peak_mb": peak,
        "exp": overlap.fastest(3, lambda: np.exp(values)),
        "exp_in_place": overlap.fastest(3, lambda: np.exp(values, out=out)),
    }


def plans() -> float:
    """Milliseconds to plan four policies over a million samples in Postgres: read, solved and described."""
    with ledger.stores(Owner.of(os.getpid())) as settings:
        corpus = ledger.make_corpus(settings, "plans", PLAN_SAMPLES // ledger.SAMPLES_PER_SHARD, ledger.SAMPLES_PER_SHARD)
        run = RunContext(corpus.config, settings, lambda progress: None)
        model = fit_diversity(run, corpus.registered)
        scope, labels = corpus.registered.scope, {*COLUMNS}

        def all_of_them() -> None:
            with settings.transaction() as cursor:
                states = shard_states(cursor, scope)
                found = read_source(
                    cursor, settings, corpus.config, scope, model.cluster_model_id, states, labels, (), threading.Event()
                )
            for policy in PLANNED:
                config = load_config(RunConfig, {"corpus_uri": "s3://bucket/corpus", "policy": policy})
                numbers, budget = found.source.uniform.copy(), found.source.total_tokens // 5
                planned(found.source, solve(config, found.source, Scale(0.0, 10.0), budget).copies, budget)
                found.source.uniform[:] = numbers

        return 1000 * overlap.fastest(2, all_of_them)


def run(largest: int = LARGEST, corpus: Path | None = None) -> dict[str, float]:
    """Measure every size, print a table, and return the figures."""
    sizes = [size for size in (1_000_000, 10_000_000, 100_000_000) if size < largest] + [largest]
    rows = []
    context = multiprocessing.get_context("spawn")
    for size in sizes:
        with context.Pool(1) as pool:
            rows.append(pool.apply(measure, (size, None)))
    with tempfile.TemporaryDirectory() as directory:
        with context.Pool(1) as pool:
            pool.apply(write, (largest, Path(directory)))
        with context.Pool(1) as pool:
            mapped = pool.apply(measure, (largest, Path(directory)))
    head = ("samples", "seconds", "ns/sample", "bytes/sample", "over exp", "over exp in place")
    print(" ".join(f"{title:>18}" for title in head))
    for row in rows:
        cells = (
            f"{row['samples']:,.0f}",
            f"{row['seconds']:.3f}",
            f"{row['seconds'] * 1e9 / row['samples']:.1f}",
            f"{row['peak_mb'] * MEGABYTE / row['samples']:.1f}",
            f"{row['seconds'] / row['exp']:.2f}",
            f"{row['seconds'] / row['exp_in_place']:.2f}",
        )
        print(" ".join(f"{cell:>18}" for cell in cells))
    print(f"mapped columns: {mapped['seconds']:.3f} s, {mapped['seconds'] / rows[-1]['seconds']:.2f} of that in memory,", end=" ")
    print(f"{mapped['peak_mb']:.0f} MB at most")
    milliseconds = plans()
    print(f"plans of {', '.join(PLANNED)} over {PLAN_SAMPLES:,} samples in Postgres: {milliseconds:.0f} ms")
    first, last = rows[0], rows[-1]
    exponent = np.log(last["seconds"] / first["seconds"]) / np.log(last["samples"] / first["samples"])
    return {
        "solver_over_exp": round(last["seconds"] / last["exp"], 2),
        "solver_over_exp_in_place": round(last["seconds"] / last["exp_in_place"], 2),
        "solver_exponent": round(float(exponent), 3),
        "solver_bytes_per_sample": round(last["peak_mb"] * MEGABYTE / last["samples"], 1),
        "streaming_peak_mb": round(mapped["peak_mb"], 0),
        "streaming_over_memory": round(mapped["seconds"] / last["seconds"], 2),
        "plan_ms": round(milliseconds, 0),
        **overlap.run(corpus),
    }


if __name__ == "__main__":
    print(json.dumps(run(*(kind(argument) for kind, argument in zip((int, Path), sys.argv[1:], strict=False)))))
