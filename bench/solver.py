"""The solver against its bound: seconds and memory for 1 to 10 million samples, and one numpy pass over the same arrays.

    python -m bench.solver

Each size runs in its own process, so that its peak memory is its own.
"""

import json
import multiprocessing
import time
from pathlib import Path

import numpy as np

from samplemix_core.mixing.solver import solve_copies

SIZES = (1_000_000, 2_000_000, 5_000_000, 10_000_000)
MAX_COPIES = 4
MEGABYTE = 10**6


def measure(size: int) -> dict[str, float]:
    """Seconds and peak megabytes, inputs included, of one solve; seconds of one numpy pass. The best of three each."""
    rng = np.random.default_rng(0)
    solve_copies(np.ones(10), np.full(10, 9, dtype=np.int32), rng.random(10), 45, MAX_COPIES)  # compiles
    before = peak_megabytes()
    weights = rng.random(size)
    weights *= 5
    np.exp(weights, out=weights)
    tokens = rng.integers(1, 2000, size, dtype=np.int32)
    uniforms = rng.random(size)
    budget = int(tokens.sum(dtype=np.int64)) // 5
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        solution = solve_copies(weights, tokens, uniforms, budget, MAX_COPIES)
        seconds.append(time.perf_counter() - start)
    peak = peak_megabytes() - before
    assert 0 <= budget - solution.realised_tokens < solution.next_tokens
    passes = []
    for _ in range(3):
        start = time.perf_counter()
        realised = int((np.minimum(np.floor(weights * solution.kappa + uniforms), MAX_COPIES) * tokens).sum())
        passes.append(time.perf_counter() - start)
    assert realised == solution.realised_tokens
    return {"samples": size, "seconds": min(seconds), "peak_mb": peak, "numpy_pass_seconds": min(passes)}


def peak_megabytes() -> float:
    """Largest resident memory of this process so far; getrusage would count its parent's before it was started."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / MEGABYTE


def run() -> dict[str, float]:
    """Measure every size, each in a fresh process, print a table, and return the figures of the largest."""
    rows = []
    for size in SIZES:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            rows.append(pool.apply(measure, (size,)))
    print(table(rows))
    first, last = rows[0], rows[-1]
    return {
        "solver_seconds_10m": round(last["seconds"], 3),
        "solver_peak_mb_10m": round(last["peak_mb"], 1),
        "solver_time_per_sample_10m_over_1m": round(last["seconds"] / last["samples"] / (first["seconds"] / first["samples"]), 3),
        "solver_over_numpy_pass_10m": round(last["seconds"] / last["numpy_pass_seconds"], 2),
    }


def table(rows: list[dict[str, float]]) -> str:
    """The rows as text. Time per sample grows once the arrays outgrow the cache, and so does the numpy pass next to it."""
    head = ("samples", "seconds", "peak MB", "bytes/sample", "ns/sample", "numpy pass s", "passes")
    lines = [" ".join(f"{title:>12}" for title in head)]
    for row in rows:
        cells = (
            f"{row['samples']:,}",
            f"{row['seconds']:.3f}",
            f"{row['peak_mb']:.1f}",
            f"{row['peak_mb'] * MEGABYTE / row['samples']:.1f}",
            f"{row['seconds'] * 1e9 / row['samples']:.1f}",
            f"{row['numpy_pass_seconds']:.3f}",
            f"{row['seconds'] / row['numpy_pass_seconds']:.1f}",
        )
        lines.append(" ".join(f"{cell:>12}" for cell in cells))
    return "\n".join(lines)


if __name__ == "__main__":
    print(json.dumps(run()))
