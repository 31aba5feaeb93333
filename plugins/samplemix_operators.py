"""The operator that runs one step of the pipeline as an Airflow task."""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


class SampleMixStepOperator(BaseOperator):
    """Run one step of samplemix_core.pipeline.

    The run's configuration is the DAG run's params; `inputs` are the small results (keys and counts) of earlier steps.
    A BaseOperator and not a decorated function, because only then does Airflow call `on_kill`: marking the task or its
    run as failed cancels the step's work on the Dask cluster.

    :param step: name of a step in samplemix_core.pipeline.steps
    :param inputs: the results of earlier tasks that the step takes, by name (templated)
    :param group: which part of the shards this task takes, for steps that are mapped over groups of shards
    """

    template_fields = ("inputs", "group")
    template_fields_renderers: ClassVar[dict[str, str]] = {"inputs": "json", "group": "json"}
    ui_color = "#dbe9f6"

    def __init__(self, *, step: str, inputs: Mapping[str, Any] | None = None, group: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.inputs = inputs or {}
        self.group = group
        self._cancelled: threading.Event | None = None

    def execute(self, context: "Context") -> Any:
        """Run the step in this process; its result becomes the task's XCom.

        An error that can't pass (a wrong setting, degenerate clusters, a budget nobody can meet) fails the task without retries.
        """
        from airflow.sdk.exceptions import AirflowFailException
        from pydantic_core import to_jsonable_python

        from samplemix_core.config import RunConfig, load_config
        from samplemix_core.errors import SampleMixError
        from samplemix_core.pipeline.progress import LogProgress
        from samplemix_core.pipeline.run import RunContext
        from samplemix_core.pipeline.steps import BY_NAME
        from samplemix_core.settings import Settings

        self._cancelled = threading.Event()
        params = dict(context["params"])
        results = dict(self.inputs)
        if self.group is not None:
            results["group"] = self.group
        try:
            run = RunContext(
                config=load_config(RunConfig, {name: params[name] for name in RunConfig.model_fields if name in params}),
                settings=Settings.load(),
                report=LogProgress(self.log.info),
                cancelled=self._cancelled,
                run_id=context["run_id"],
            )
            return to_jsonable_python(BY_NAME[self.step].call(run, results))
        except SampleMixError as error:
            if error.may_pass:
                raise
            raise AirflowFailException(str(error)) from error

    def on_kill(self) -> None:
        """Tell the step to cancel its Dask work and stop; it notices within half a second."""
        if self._cancelled is not None:
            self._cancelled.set()
