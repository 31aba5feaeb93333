"""Scoring through Dask on two worker processes against the same function called directly in one.

Both read real documents of this machine from S3, write embeddings to S3 and scores to Postgres, with one thread per process.
Rounds are paired: each scores a fresh copy of the corpus both ways, in turns.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from uuid import uuid4

DOCUMENTS = 1600
SHARDS = 16
ROUNDS = 3
ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    # Like for like: the embedded workers run with these.
    "MALLOC_TRIM_THRESHOLD_": "1073741824",
    "MALLOC_MMAP_THRESHOLD_": "33554432",
    "SAMPLEMIX_DASK_WORKERS": "2",
}


def collect_shards(directory: Path) -> dict[str, bytes]:
    """Real documents in shards of equal make-up, so that the last shard to end is not a long one."""
    from samplemix_core.corpus.streams import zstd
    from samplemix_core.demo.corpus import collect

    collect(directory, "s1", DOCUMENTS)
    lines = [line for path in sorted(directory.rglob("*.zst")) for line in zstd.decompress(path.read_bytes()).splitlines()]
    lines.sort(key=len)
    return {f"s1/all/part-{i:05d}.jsonl": b"\n".join(lines[i::SHARDS]) for i in range(SHARDS)}


def measure(home: Path) -> None:
    """In a process of one thread, print the seconds of each round, direct and through Dask, as JSON."""
    from samplemix_core.compute.fanout import connect
    from samplemix_core.config.run import RunConfig
    from samplemix_core.database import ledger
    from samplemix_core.database.connection import transaction
    from samplemix_core.database.migrate import migrate
    from samplemix_core.frozen import load_config
    from samplemix_core.local.owner import Owner
    from samplemix_core.local.stack import Stack
    from samplemix_core.objects import open_store
    from samplemix_core.pipeline.context import RunContext
    from samplemix_core.pipeline.register import register
    from samplemix_core.pipeline.score import plan_tasks, score, score_tasks
    from samplemix_core.worker.score import plan_shard, score_block

    os.environ["SAMPLEMIX_HOME"] = str(home)
    stack = Stack(home, ports="free", owner=Owner.of(os.getpid()))
    settings = stack.up({"postgres", "s3", "dask"})
    try:
        migrate(settings.database)
        files = collect_shards(home / "corpus")

        def fresh() -> RunContext:
            uri = f"{settings.state_root}/corpora/{uuid4().hex}"
            for path, data in files.items():
                open_store(uri, settings).put(path, data)
            config = load_config(
                RunConfig,
                {
                    "corpus_uri": uri,
                },
            )
            return RunContext(config, settings, lambda progress: None, threading.Event())

        def direct() -> float:
            run = fresh()
            registered = register(run)
            with transaction(settings.database) as cursor:
                shards = [state.shard for state in ledger.shard_states(cursor, registered.scope)]
            start = time.perf_counter()
            for plan in plan_tasks(run, registered, shards):
                plan_shard(plan)
            for task in score_tasks(run, registered, shards):
                score_block(task)
            return time.perf_counter() - start

        def through_dask() -> float:
            run = fresh()
            registered = register(run)
            start = time.perf_counter()
            score(run, registered)
            return time.perf_counter() - start

        with connect(settings) as client:
            client.wait_for_workers(2, timeout=60)
        direct(), through_dask()  # loads models, compiles
        print(json.dumps([[direct(), through_dask()] for _ in range(ROUNDS)]))
    finally:
        stack.destroy()


def run() -> dict[str, float]:
    """Measure, print a table, and return the median over the rounds of direct time over Dask's."""
    with tempfile.TemporaryDirectory(prefix="samplemix-bench-") as directory:
        command = [sys.executable, "-m", "bench.scoring", str(Path(directory) / "home")]
        done = subprocess.run(command, env=os.environ | ONE_THREAD, stdout=subprocess.PIPE, text=True, check=True)
    rounds = json.loads(done.stdout.splitlines()[-1])
    print(f"{'round':>6} {'one process, docs/s':>20} {'two workers, docs/s':>20} {'ratio':>6}")
    for number, (one, two) in enumerate(rounds, 1):
        print(f"{number:>6} {DOCUMENTS / one:>20.0f} {DOCUMENTS / two:>20.0f} {one / two:>6.2f}")
    return {"scoring_two_workers_over_one": round(statistics.median(one / two for one, two in rounds), 3)}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(Path(sys.argv[1]))
    else:
        print(json.dumps(run()))
