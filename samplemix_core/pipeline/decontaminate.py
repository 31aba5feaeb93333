"""Search the corpus for the benchmarks that are to be kept out: each shard once for each benchmark, one Dask task a shard.

They are the configuration's, and the targets that were drawn from the corpus.
"""

from collections.abc import Sequence

from samplemix_core.compute.fanout import Outcome, Work, connect, fan_out, require_all
from samplemix_core.database.benchmarks import Benchmark, find_benchmarks, unchecked
from samplemix_core.database.ledger import shard_states
from samplemix_core.database.scope import Scope
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.handoff import DecontaminationCounts, Registered
from samplemix_core.worker.jobs import BenchmarkFile, DecontaminateTask


def decontaminate(run: RunContext, registered: Registered) -> DecontaminationCounts:
    """Search the scored shards of the run for the texts of its benchmarks; those that were searched are skipped."""
    with run.deployment.transaction() as cursor:
        benchmarks = find_benchmarks(cursor, [*run.config.decontaminate, *registered.held_out])
    if not benchmarks:
        run.tell(0, 0, "no benchmark is to be kept out")
        return DecontaminationCounts(shards=0, skipped=0, contaminated={})
    return search(run, registered.corpus_id, registered.scope, benchmarks)


def search(run: RunContext, corpus_id: int, scope: Scope, benchmarks: Sequence[Benchmark]) -> DecontaminationCounts:
    """Search a corpus's scored shards for these benchmarks, where that wasn't done before."""
    with run.alone("decontaminate", corpus_id, *sorted(benchmark.benchmark_id for benchmark in benchmarks)):
        with run.deployment.transaction() as cursor:
            scored = [state for state in shard_states(cursor, scope) if state.is_scored]
            todo = unchecked(cursor, benchmarks, scored)
        work = [
            Work(
                state.shard.path,
                (
                    DecontaminateTask(
                        run=run.name,
                        corpus_uri=run.config.corpus_uri,
                        reader=run.config.reader,
                        shard=state.shard,
                        benchmarks=tuple(
                            BenchmarkFile(each.benchmark_id, each.artifact_key, each.artifact_sha256)
                            for each in todo[state.shard.shard_id]
                        ),
                    ),
                ),
                cost=state.shard.size_bytes,
            )
            for state in scored
            if state.shard.shard_id in todo
        ]
        skipped = len(scored) - len(work)
        run.tell(skipped, len(scored))
        names = {benchmark.benchmark_id: benchmark.name for benchmark in benchmarks}
        contaminated, outcomes = dict.fromkeys(names.values(), 0), list[Outcome]()
        if work:
            with connect(run.deployment) as client:
                for outcome in fan_out(client, "samplemix_core.worker.decontaminate:search_shard", work, run.cancelled):
                    outcomes.append(outcome)
                    for benchmark_id, count in ({} if outcome.error else outcome.result).items():
                        contaminated[names[benchmark_id]] += count
                    run.tell(skipped + len(outcomes), len(scored))
        require_all(outcomes, "shards", "were not searched", "the shards that were searched stay so")
    found = ", ".join(f"{count:,} texts hold something of {name}" for name, count in contaminated.items())
    run.tell(len(scored), len(scored), f"newly searched: {found}" if work else "searched before")
    return DecontaminationCounts(shards=len(scored), skipped=skipped, contaminated=contaminated)
