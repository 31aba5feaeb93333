"""Building blocks of the DAGs: the assets, the operators that run the pipeline's steps, and a DAG's chain of tasks."""

import logging
import threading
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import Asset, BaseOperator, Param, TriggerRule, chain, get_parsing_context

from samplemix_core.config.form import DRY_RUN, DRY_RUN_SCHEMA, Upkeep, form_schema
from samplemix_core.policies.registry import all_parameters
from samplemix_core.steps import BY_FUNCTION, CHECK_DRIFT, GROUPS, MIX, PUBLISH, UPKEEP, DryRun, News, Step, Task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from airflow.sdk import Context

ASSETS = {news: Asset(name=news, uri=f"samplemix://{news.removeprefix('samplemix_')}") for news in News}
"""The results that steps announce, as assets."""

log = logging.getLogger(__name__)

WEBHOOK = "SAMPLEMIX_WEBHOOK_URL"


def tell_failure(context: "Context") -> None:
    """Say in the task's log, and to the webhook if there is one, what failed where, and what to do.

    The webhook is posted {"text": ...}, as Slack and its imitators take it. Its address is a secret and is never logged.
    """
    import os

    import httpx

    task, error = context["ti"], context.get("exception")
    configured = getattr(context["task"], "configured", None)
    about = configured if isinstance(configured, dict) else {}
    where = "/".join(filter(None, (about.get("corpus"), about.get("crawl"))))
    part = f" [{task.map_index}]" if task.map_index is not None and task.map_index >= 0 else ""
    text = f"{task.dag_id} failed in {task.task_id}{part}{f' for {where}' if where else ''}, run {context['run_id']}: {error}"
    log.error("%s", text)
    if task.task_id != _REFIT.name:
        # By then the crawl is in a version.
        _note_failure(str(context["run_id"]), f"failed in {task.task_id}: {error}")
    url = os.environ.get(WEBHOOK)
    if url:
        try:
            httpx.post(url, json={"text": f"{text}\n{task.log_url}"}, timeout=10).raise_for_status()
        except (httpx.HTTPError, httpx.InvalidURL) as failure:
            log.error("could not post to the webhook: %s; check %s and the service there", type(failure).__name__, WEBHOOK)


def _note_failure(run_id: str, reason: str) -> None:
    """Record with the crawl that the run took why it is not in a version."""
    from samplemix_core.database import corpora
    from samplemix_core.deployment import Deployment
    from samplemix_core.errors import SampleMixError

    try:
        with Deployment.load().transaction() as cursor:
            corpora.note_failure(cursor, run_id, reason)
    except SampleMixError as error:
        log.error("the crawl was not marked: %s", error)


DEFAULT_ARGS: dict[str, Any] = {
    "on_failure_callback": tell_failure,
    "owner": "samplemix",
    "retries": 2,
    "retry_delay": timedelta(seconds=5),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=5),
    "execution_timeout": timedelta(hours=24),
}


@contextmanager
def final_errors() -> "Iterator[None]":
    """Have an error that can't pass (a wrong setting, degenerate clusters, an impossible budget) fail the task without retries."""
    from airflow.sdk.exceptions import AirflowFailException

    from samplemix_core.errors import SampleMixError

    try:
        yield
    except SampleMixError as error:
        if error.may_pass:
            raise
        raise AirflowFailException(str(error)) from error


LAND_CRAWL_DAG, FIT_DIVERSITY_DAG = "samplemix_land_crawl", "samplemix_fit_diversity"


def release_lost_crawls(context: "Context") -> None:
    """Let crawls land again if their run was deleted in Airflow before it published a version with them."""
    from datetime import UTC, datetime

    from samplemix_core.database import corpora
    from samplemix_core.database.connection import transaction
    from samplemix_core.deployment import Deployment

    database = Deployment.load().database
    with transaction(database) as cursor:
        runs = corpora.unfinished_runs(cursor)
    for run in runs:
        if not context["ti"].get_dr_count(dag_id=LAND_CRAWL_DAG, run_ids=[run]):
            with transaction(database) as cursor:
                released = corpora.release_crawls(cursor, run, datetime.now(UTC))
            for crawl in released:
                log.warning("crawl %s/%s lands again: %s", crawl.corpus, crawl.snapshot, crawl.reason)


class SampleMixConfigureOperator(BaseOperator):
    """Fix the run's configuration, once: all its tasks take this result, whatever is changed meanwhile.

    :param source: form (the DAG run's params), crawl (the DAG run's partition), or landed (the next crawl that has landed; the run
        ends as skipped if there is none)
    """

    ui_color = "#e8f0e4"

    def __init__(self, *, source: Literal["form", "crawl", "landed"], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.source = source

    def execute(self, context: "Context") -> Any:
        """Return a Configured as JSON."""
        from airflow.sdk.exceptions import AirflowSkipException

        from samplemix_core.deployment import Deployment
        from samplemix_core.pipeline import configure

        deployment = Deployment.load()
        with final_errors():
            if self.source == "form":
                found = configure.from_form(deployment, dict(context["params"]))
            elif self.source == "crawl":
                found = configure.of_crawl(deployment, context["dag_run"].partition_key)
            else:
                release_lost_crawls(context)
                landed = configure.next_landed(deployment, context["run_id"])
                if landed is None:
                    raise AirflowSkipException("No crawl waits: another run has taken it.")
                found = landed
        self.log.info("corpus %s, crawl %s: %s", found.corpus or "without a name", found.crawl or "all", found.config)
        return found.model_dump(mode="json")


class Cancellable(BaseOperator):
    """An operator whose work ends when its task or its run is marked as failed.

    Its kinds are BaseOperators and not decorated functions, because only then does Airflow call `on_kill`.
    """

    _cancelled: threading.Event | None = None

    def begin(self) -> threading.Event:
        """The event that is set when the work is to end. It isn't made before: tasks are copied, which it can't be."""
        self._cancelled = threading.Event()
        return self._cancelled

    def on_kill(self) -> None:
        """Tell the work to end, on the Dask cluster too; it notices within half a second, and keeps what is done."""
        if self._cancelled is not None:
            self._cancelled.set()


class SampleMixStepOperator(Cancellable):
    """Run one step of samplemix_core.pipeline.

    `inputs` are the small results (keys and counts) of earlier steps.

    :param step: the function of a step in samplemix_core.steps
    :param configured: what SampleMixConfigureOperator returned (templated)
    :param inputs: the results of earlier tasks that the step takes, by name (templated)
    :param group: which part of the shards this task takes, for steps that are mapped over groups of shards

    A dry run skips the steps that are not for it, and any other run skips those that are only for dry runs.
    """

    template_fields = ("configured", "inputs", "group")
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(template_fields, "json")
    ui_color = "#dbe9f6"

    def __init__(
        self, *, step: str, configured: Any, inputs: Mapping[str, Any] | None = None, group: Any = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.step = step
        self.configured = configured
        self.inputs = inputs or {}
        self.group = group

    def execute(self, context: "Context") -> Any:
        """Run the step in this process; its result becomes the task's XCom, and the event of its asset, if any."""
        from airflow.sdk.exceptions import AirflowSkipException
        from pydantic_core import to_jsonable_python

        from samplemix_core.deployment import Deployment
        from samplemix_core.frozen import load_config
        from samplemix_core.pipeline.context import RunContext
        from samplemix_core.pipeline.handoff import Configured
        from samplemix_core.progress import LogProgress

        cancelled = self.begin()
        step, results = BY_FUNCTION[self.step], dict(self.inputs)
        if self.group is not None:
            results["group"] = self.group
        with final_errors():
            configured = load_config(Configured, dict(self.configured))
            skipped = DryRun.SKIPPED if configured.dry_run else DryRun.ITS_END
            if step.dry_run is skipped:
                raise AirflowSkipException("This is a dry run." if configured.dry_run else "This is not a dry run.")
            run = RunContext(
                config=configured.config,
                deployment=Deployment.load(),
                report=LogProgress(self.log.info),
                cancelled=cancelled,
                run_id=context["run_id"],
                corpus=configured.corpus,
                crawl=configured.crawl,
            )
            result = to_jsonable_python(run.do(step, results))
        if step.announces is not None:
            event = context["outlet_events"][ASSETS[step.announces]]
            event.extra = {"corpus": configured.corpus or configured.config.corpus_uri, **result}
            if step.announces is News.SCORES and configured.corpus is not None:
                event.add_partitions(_partitions(configured.corpus, results["registered"]["snapshots"], self.log.warning))
        return result


def _partitions(corpus: str, snapshots: "Iterable[str]", warn: "Callable[[str], None]") -> list[str]:
    """Return these crawls' names as partitions; one that Airflow could not keep is left out, with a warning."""
    from samplemix_core.corpus.crawls import partition_key
    from samplemix_core.errors import CorpusError

    found = []
    for snapshot in snapshots:
        try:
            found.append(partition_key(corpus, snapshot))
        except CorpusError as error:
            warn(str(error))
    return found


class SampleMixApprovalOperator(ApprovalOperator):
    """Where the configuration wants it, show a person the draft and wait for approval; else go on at once.

    While it waits, it takes neither a process nor a slot. If the draft is rejected, what comes after is skipped; after
    APPROVAL_DAYS without an answer the task fails.

    :param configured: what SampleMixConfigureOperator returned (templated)
    :param draft: what the step mix returned (templated)
    """

    template_fields = (*ApprovalOperator.template_fields, "configured", "draft")
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(("configured", "draft"), "json")
    ui_color = "#f7ead0"

    def __init__(self, *, configured: Any, draft: Any, **kwargs: Any) -> None:
        super().__init__(subject="Publish the draft?", response_timeout=timedelta(days=APPROVAL_DAYS), **kwargs)
        self.configured = configured
        self.draft = draft

    def execute(self, context: "Context") -> Any:
        """Ask, and leave the process; execute_complete goes on once there is an answer."""
        from samplemix_core.deployment import Deployment
        from samplemix_core.frozen import load_config
        from samplemix_core.pipeline import approval
        from samplemix_core.pipeline.drafts import read_draft
        from samplemix_core.pipeline.handoff import Configured, DraftRef

        with final_errors():
            if not load_config(Configured, dict(self.configured)).config.approval:
                self.log.info("No approval is asked for.")
                return
            found = load_config(DraftRef, dict(self.draft))
            draft = read_draft(Deployment.load().state, found.draft)
            self.subject = approval.subject(draft.manifest)
            self.body = approval.described(draft.manifest, draft.plan, found.warnings)
        self._require_own_question(context)
        super().execute(context)

    def _require_own_question(self, context: "Context") -> None:
        """Fail if people would be asked about another draft: Airflow keeps a task's first question, whatever is asked later."""
        from airflow.sdk.exceptions import AirflowFailException
        from airflow.sdk.execution_time.comms import CreateHITLDetailPayload
        from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

        question = CreateHITLDetailPayload(
            ti_id=context["ti"].id,
            options=self.options,
            subject=self.subject,
            body=self.body,
            params=self.serialized_params,
            assigned_users=[],
        )
        shown: Any = SUPERVISOR_COMMS.send(msg=question)
        if (shown.subject, shown.body) != (self.subject, self.body):
            raise AirflowFailException(
                "This task has asked about another draft before, and Airflow would show that one again. Trigger a new run, for"
                " example of samplemix_build_mixture: scores are kept."
            )

    def process_trigger_event_error(self, event: dict[str, Any]) -> None:
        """Fail for good: asking again would outlast the draft."""
        from airflow.sdk.exceptions import AirflowFailException

        raise AirflowFailException(
            f"Nobody approved or rejected the draft in {APPROVAL_DAYS} days. Trigger a new run to ask again."
        )

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> Any:
        """Go on, or skip what comes after. A crawl that the run took is marked with who rejected it."""
        # Skipping ends this method by raising, so the mark comes first.
        if self.REJECT in event.get("chosen_options", ()):
            reason = f"rejected by {(event.get('responded_by_user') or {}).get('name') or 'somebody'}"
            self.log.info("the draft was %s", reason)
            _note_failure(str(context["run_id"]), reason)
        answer = super().execute_complete(context, event)
        # Times aren't JSON.
        return {"chosen_options": answer["chosen_options"], "responded_by_user": answer["responded_by_user"]}


class SampleMixRefitOperator(TriggerDagRunOperator):
    """If a landed crawl drifts, and its corpus's settings want it, have the corpus's clusters fitted again by a run of its own.

    :param configured: what SampleMixConfigureOperator returned (templated)
    :param drift: what the step check_drift returned (templated)
    """

    template_fields = (*TriggerDagRunOperator.template_fields, "configured", "drift")
    template_fields_renderers: ClassVar[dict[str, str]] = dict.fromkeys(("conf", "configured", "drift"), "json")
    ui_color = "#e4ecf7"

    def __init__(self, *, configured: Any, drift: Any, **kwargs: Any) -> None:
        # One run for each landing, however often this task is cleared.
        run_id = "drift__{{ run_id }}"
        super().__init__(trigger_dag_id=FIT_DIVERSITY_DAG, trigger_run_id=run_id, skip_when_already_exists=True, **kwargs)
        self.configured = configured
        self.drift = drift

    def execute(self, context: "Context") -> None:
        """Trigger the run, or skip: no crawl drifts, or it is not wanted."""
        from airflow.sdk.exceptions import AirflowSkipException

        from samplemix_core.frozen import load_config
        from samplemix_core.pipeline.handoff import Configured, DriftFound

        with final_errors():
            configured = load_config(Configured, dict(self.configured))
            over = load_config(DriftFound, dict(self.drift)).drifted.get(configured.crawl or "")
            reads_diversity = any(policy.reads_diversity for policy in configured.config.policies)
        if over is None:
            raise AirflowSkipException(f"Crawl {configured.crawl} doesn't drift.")
        if not reads_diversity:
            raise AirflowSkipException("The corpus's policy doesn't read diversity.")
        self.log.info("crawl %s drifts: %s", configured.crawl, "; ".join(over))
        if not configured.config.diversity.refit_on_drift:
            raise AirflowSkipException("The corpus's diversity.refit_on_drift is off: see samplemix_fit_diversity.")
        self.conf = {"corpus_uri": configured.corpus, "diversity": {"refit": True}}
        super().execute(context)


APPROVAL_DAYS = 6
"""Drafts are kept for a week."""


class SampleMixMaintenanceOperator(BaseOperator):
    """Do the part of the upkeep that the task is named after, as the DAG run's params say."""

    ui_color = "#f3ecd9"

    def execute(self, context: "Context") -> Any:
        """Return what was found, and whether anything was done about it."""
        from samplemix_core.deployment import Deployment
        from samplemix_core.frozen import load_config
        from samplemix_core.operations.maintenance import keep_up

        if self.task_id == "crawls" and not context["params"]["dry_run"]:
            release_lost_crawls(context)
        with final_errors():
            wanted = load_config(Upkeep, dict(context["params"]), "form")
            (kept,) = keep_up(Deployment.load(), wanted, [task for task in UPKEEP if task.name == self.task_id])
        self.log.info(
            "%s %s, %s bytes: %s", f"{kept.found:,}", kept.what, f"{kept.bytes:,}", "done" if kept.done else "left as they are"
        )
        return kept.model_dump(mode="json")


LANGUAGE_MODEL = "samplemix_llm"
"""The connection that says where a language model is: its host is the base URL, its password the key."""


class SampleMixQualityOperator(Cancellable):
    """Do the part of making a quality model that the task is named after, annotate or train, as the DAG run's params say.

    :param asked: what annotate returned (templated); its annotator's labels are trained on too
    """

    template_fields = ("asked",)
    ui_color = "#e6e0f2"

    def __init__(self, *, asked: Any = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.asked = asked

    def execute(self, context: "Context") -> Any:
        """Return what became of the documents, or how good the model is."""
        from airflow.sdk.exceptions import AirflowSkipException

        from samplemix_core.config.form import QualityForm
        from samplemix_core.deployment import Deployment
        from samplemix_core.frozen import load_config
        from samplemix_core.models import remote as quality
        from samplemix_core.progress import LogProgress

        cancelled, deployment, report = self.begin(), Deployment.load(), LogProgress(self.log.info)
        with final_errors():
            wanted = load_config(QualityForm, dict(context["params"]))
            if self.task_id == "annotate":
                asking = wanted.annotation_config()
                if asking is None:
                    raise AirflowSkipException("No language model is to be asked.")
                return quality.ask(asking, deployment, _endpoint(), report, cancelled, dry_run=wanted.dry_run)
            if wanted.dry_run and self.asked:
                raise AirflowSkipException("In a dry run the labels are not there to be trained on.")
            training = wanted.training_config(*([self.asked["annotator"]] if self.asked else []))
            return quality.train_on_worker(training, deployment, report, cancelled, dry_run=wanted.dry_run)


def _endpoint() -> tuple[str | None, str | None]:
    """Base URL and key of the connection for language models; nothing if there is none."""
    from airflow.sdk import Connection
    from airflow.sdk.exceptions import AirflowNotFoundException

    try:
        found = Connection.get(LANGUAGE_MODEL)
    except AirflowNotFoundException:
        return None, None
    return found.host, found.password


class SampleMixExportOperator(Cancellable):
    """Export a version of a mixture on the Dask cluster, as the DAG run's params say."""

    ui_color = "#f2e6d8"

    def execute(self, context: "Context") -> Any:
        """Return what the export holds; in a dry run, what it would hold."""
        from dataclasses import asdict

        from samplemix_core.config.export import ExportForm
        from samplemix_core.database.query import ask
        from samplemix_core.deployment import Deployment
        from samplemix_core.exports.exporting import describe_export, export_mixture, require_place
        from samplemix_core.frozen import load_config
        from samplemix_core.progress import LogProgress

        cancelled, deployment, report = self.begin(), Deployment.load(), LogProgress(self.log.info)
        with final_errors():
            wanted = load_config(ExportForm, dict(context["params"]), "form")
            corpora = [str(row["uri"]) for row in ask(deployment.require("reader_database_url"), "corpora")]
            require_place(deployment, wanted.uri, corpora)
            what = deployment, wanted.mixture, wanted.version, wanted.uri, wanted.export
            if wanted.dry_run:
                return describe_export(*what)
            return asdict(export_mixture(*what, report, cancelled))


class SampleMixEvaluationOperator(Cancellable):
    """Compare a version with other mixtures on the Dask cluster, as the DAG run's params say."""

    ui_color = "#f2e6d8"

    def execute(self, context: "Context") -> Any:
        """Return the comparison's number, and what can be concluded."""
        from samplemix_core.config.evaluation import EvaluationForm
        from samplemix_core.deployment import Deployment
        from samplemix_core.frozen import load_config
        from samplemix_core.pipeline.context import RunContext
        from samplemix_core.pipeline.evaluate import Base, entrants, evaluate
        from samplemix_core.progress import LogProgress
        from samplemix_core.reading.versions import open_version

        cancelled, deployment, report = self.begin(), Deployment.load(), LogProgress(self.log.info)
        with final_errors():
            wanted = load_config(EvaluationForm, dict(context["params"]), "form")
            version = open_version(deployment, wanted.mixture, wanted.version)
            own, compared = entrants(deployment, version, wanted.policies, wanted.beside)
            run_id = str(context["run_id"])
            run = RunContext(own, deployment, report, cancelled, run_id=run_id, step="evaluate")
            number, comparison = evaluate(run, Base.of(deployment, version), compared, wanted.evaluation)
            said = comparison.said()
            for line in said:
                self.log.info("%s", line)
            return {"comparison": number, "said": said}


def step_tasks(steps: Sequence[Step], configured: BaseOperator, *, refits: bool = False) -> None:
    """Make a task of each step, one after another, in the DAG that is being defined, after the task that configures the run.

    The step that ends a dry run, if it is among them, is on its own branch. If the DAG `refits`, the task that has clusters fitted
    again comes last.
    """
    tasks: list[Any] = [configured]
    results: dict[str, Any] = {}
    for step in steps:
        if step.gives == PUBLISH.gives:
            own = {
                "configured": configured.output,
                "draft": results[MIX.gives],
                "doc_md": f"{_APPROVE.what.capitalize()}. Cleared: {_APPROVE.again}.",
            }
            tasks.append(SampleMixApprovalOperator(task_id=_APPROVE.name, **own))
        options: dict[str, Any] = {
            "task_id": step.name,
            "step": step.function,
            "configured": configured.output,
            "inputs": {name: results[name] for name in step.takes},
            "doc_md": f"{step.what.capitalize()}. Cleared or retried: {step.again}.",
        }
        if step.pool is not None:
            options["pool"] = step.pool.pool
        if step.announces is not None:
            options["outlets"] = [ASSETS[step.announces]]
        if step.mapped:
            shown = "group {{ task.group['index'] + 1 }} of {{ task.group['count'] }}"
            tasks.append(SampleMixStepOperator.partial(**options, map_index_template=shown).expand(group=results[GROUPS]))
        else:
            tasks.append(SampleMixStepOperator(**options))
        results[step.gives] = tasks[-1].output
        if step.dry_run is DryRun.ITS_END:
            tasks.pop()  # Its input already puts it after register.
    if refits:
        # Also after a draft that was rejected, which skips what comes after it; not if there was no crawl, which skips all.
        own = {
            "configured": configured.output,
            "drift": results[CHECK_DRIFT.gives],
            "trigger_rule": TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        }
        doc = f"{_REFIT.what.capitalize()}. Cleared: {_REFIT.again}."
        tasks.append(SampleMixRefitOperator(task_id=_REFIT.name, doc_md=doc, **own))
    chain(*tasks)


def form_params(*names: str) -> dict[str, Param]:
    """Params for these fields of a run's configuration, or for all and a dry run. `policy` brings the policies' parameters."""
    schemas = form_schema(_corpora())
    wanted = {*names, *(all_parameters() if "policy" in names else ())}
    chosen = {name: schemas[name] for name in schemas if name in wanted} if names else {**schemas, DRY_RUN: DRY_RUN_SCHEMA}
    return params(chosen)


def params(schemas: Mapping[str, Mapping[str, Any]]) -> dict[str, Param]:
    """A form of Airflow from the JSON schema of each field."""
    return {
        name: Param(schema["default"], **{key: value for key, value in schema.items() if key != "default"})
        for name, schema in schemas.items()
    }


def _corpora() -> list[str]:
    """Names of saved corpora, for the form to suggest. None when a task parses its DAG, or if Postgres can't be asked."""
    from samplemix_core.database.corpora import corpus_names
    from samplemix_core.deployment import Deployment
    from samplemix_core.errors import SampleMixError

    if get_parsing_context().dag_id is not None:
        return []
    try:
        with Deployment.load().transaction() as cursor:
            return corpus_names(cursor)
    except SampleMixError:
        return []


_CONFIGURE = Task(
    "configure",
    "determines the corpus, the crawl and the settings",
    "does so again, by the corpus's current settings",
)
_REFIT = Task(
    "refit",
    "if the crawl drifts and `refit_on_drift` is on, starts a run that fits the corpus's clusters again",
    "skips: that run is there already",
)
_APPROVE = Task(
    "approve",
    "with `approval`, shows a person the draft and waits until it is approved or rejected",
    "asks again about the same draft; for another one, trigger a new run",
)


def task_table(tasks: "Iterable[Task]") -> str:
    """Tasks in Markdown, each with what it does."""
    rows = (f"| {task.name} | {task.what} | {task.again} |" for task in tasks)
    return "\n".join(("| task | what it does | when it is cleared or retried |", "|---|---|---|", *rows))


def _all_tasks(steps: "Iterable[Step]", *, refits: bool) -> "Iterator[Task]":
    yield _CONFIGURE
    for step in steps:
        if step.gives == PUBLISH.gives:
            yield _APPROVE
        yield step
    if refits:
        yield _REFIT


def documentation(title: str, what: str, steps: Sequence[Step], *, refits: bool = False) -> str:
    """A DAG's page: what it is for, and a table of its tasks."""
    return f"""
### {title}
{what}

{task_table(_all_tasks(steps, refits=refits))}

Mark the run as failed to cancel it: its work on the Dask cluster is cancelled too. What is done is kept: clear a task, or trigger
it again with the same configuration, to go on where it stopped.
"""
