"""The steps by name, over plain JSON values: what Airflow's tasks call."""

from collections.abc import Callable, Sequence
from typing import Any

from samplemix_core.pipeline import diversity, mix, publish, register, score
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.handoff import ClusterModelRef, DraftRef, PublishedRef, Registered, as_xcom

Json = dict[str, Any]


def _register(run: RunContext) -> Json:
    return as_xcom(register.register(run))


def _shard_groups(run: RunContext, registered: Json) -> list[list[int]]:
    return register.shard_groups(Registered.model_validate(registered))


def _score(run: RunContext, registered: Json, group: Sequence[int]) -> Json:
    return as_xcom(score.score(run, Registered.model_validate(registered), (group[0], group[1])))


def _check_loss(run: RunContext, registered: Json) -> Json:
    return as_xcom(score.check_loss(run, Registered.model_validate(registered)))


def _fit_diversity(run: RunContext, registered: Json) -> Json:
    return as_xcom(diversity.fit_diversity(run, Registered.model_validate(registered)))


def _assign(run: RunContext, registered: Json, cluster_model: Json, group: Sequence[int]) -> Json:
    model = ClusterModelRef.model_validate(cluster_model)
    return as_xcom(diversity.assign_clusters(run, Registered.model_validate(registered), model, (group[0], group[1])))


def _measure_clusters(run: RunContext, registered: Json, cluster_model: Json) -> Json:
    model = ClusterModelRef.model_validate(cluster_model)
    return as_xcom(diversity.measure_clusters(run, Registered.model_validate(registered), model))


def _mix(run: RunContext, registered: Json, cluster_model: Json) -> Json:
    model = ClusterModelRef.model_validate(cluster_model)
    return as_xcom(mix.mix(run, Registered.model_validate(registered), model))


def _publish(run: RunContext, draft: Json) -> Json:
    return as_xcom(publish.publish(run, DraftRef.model_validate(draft)))


def _verify(run: RunContext, published: Json) -> Json:
    return publish.verify(run, PublishedRef.model_validate(published))


STEPS: dict[str, Callable[..., Any]] = {
    "register": _register,
    "shard_groups": _shard_groups,
    "score": _score,
    "check_loss": _check_loss,
    "fit_diversity": _fit_diversity,
    "assign": _assign,
    "measure_clusters": _measure_clusters,
    "mix": _mix,
    "publish": _publish,
    "verify": _verify,
}
