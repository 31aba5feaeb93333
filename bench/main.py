"""The main figures: scoring through Dask, encoding against sentence-transformers, the solver's time and memory."""

import json

from bench import encode, scoring, solver


def main() -> None:
    """Run the three benchmarks, one after another, and print their ratios as one line of JSON."""
    figures: dict[str, float | None] = {}
    for benchmark in (scoring, encode, solver):
        print(f"\n{(benchmark.__doc__ or '').splitlines()[0]}")
        figures |= benchmark.run()
    keys = (
        "scoring_two_workers_over_one",
        "encode_speedup_fp32",
        "encode_speedup_bf16",
        "solver_seconds_10m",
        "solver_peak_mb_10m",
    )
    print(json.dumps({key: figures[key] for key in keys}))


if __name__ == "__main__":
    main()
