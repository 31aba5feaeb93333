"""Annotate documents of a corpus with a language model: choose them from the ledger, ask, and keep answer by answer."""

import asyncio
import logging
import re
import threading
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import islice
from typing import Any

from samplemix_core.config.quality import AnnotationConfig
from samplemix_core.database.annotations import (
    ChosenSample,
    Document,
    Judged,
    Refused,
    ScoredShard,
    asked_before,
    save_answers,
    scored_shards,
)
from samplemix_core.database.connection import transaction
from samplemix_core.database.labels import ensure_annotator, list_annotators
from samplemix_core.deployment import Deployment
from samplemix_core.errors import (
    CancelledRunError,
    ConfigError,
    CostError,
    ModelError,
    ServiceError,
)
from samplemix_core.frozen import load_config
from samplemix_core.identity import fingerprint
from samplemix_core.models.chosen import choose, read_chosen
from samplemix_core.models.language_model import CHARACTERS_OF_A_TOKEN, LanguageModel
from samplemix_core.progress import Progress, Report
from samplemix_core.quality.labels import MALFORMED, Reject
from samplemix_core.quality.prompt import instructions
from samplemix_core.quality.rubric import DEFAULT_RUBRIC, Rubric

log = logging.getLogger(__name__)

PASSING = (Reject.NO_ANSWER.value, Reject.REQUEST_REFUSED.value)
"""Reasons that may lie with the endpoint and not the document, so the next run asks again."""

OUTPUT_TOKENS = 120
"""In an answer: a sentence and a number for each dimension."""

_READ_AT_ONCE = 32

LEAST_STREAK = 10
"""Asking ends after this many documents in a row without a usable answer, and at least twice as many as are in flight."""


@dataclass
class AnnotationResult:
    """What became of the documents: documents = known + set_aside_before + judged + set aside + unread.

    known: judged before; unread: no longer in their shards as they were scored. Tokens and cost cover all questions of this run,
    and cost is None without prices. A dry run's estimate has judged nothing.
    """

    annotator: str
    documents: int
    known: int = 0
    set_aside_before: int = 0
    judged: int = 0
    unread: int = 0
    set_aside: Counter[str] = field(default_factory=Counter)
    requests: int = 0
    turned_away: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


@dataclass(frozen=True)
class _Plan:
    """The samples to ask about, shard by shard, and the result so far."""

    annotator: str
    spec: dict[str, Any]
    rubric: Rubric
    chosen: list[tuple[ScoredShard, list[ChosenSample]]]
    found: AnnotationResult


def annotate(
    config: AnnotationConfig,
    deployment: Deployment,
    report: Report = lambda _: None,
    *,
    dry_run: bool = False,
    cancelled: threading.Event | None = None,
) -> AnnotationResult:
    """Ask a model about documents of a corpus, and keep each answer as it comes. Running it again asks about the rest.

    With `dry_run` nothing is asked, and tokens and cost are estimates. Raises CorpusError if nothing is scored, ConfigError if the
    endpoint can't be used as configured, ServiceError if it stops answering, ModelError if its answers can't be used, CostError at
    the limit of cost, CancelledRunError if `cancelled` is set. Answers are kept in any case.
    """
    plan = _plan(config, deployment)
    left = [sample for _, samples in plan.chosen for sample in samples]
    found = plan.found
    if dry_run:
        of_prompt = len(instructions(plan.rubric)) // CHARACTERS_OF_A_TOKEN
        most = config.most_characters // CHARACTERS_OF_A_TOKEN
        found.input_tokens = sum(of_prompt + min(sample.n_tokens, most) for sample in left)
        found.output_tokens = OUTPUT_TOKENS * len(left)
    elif left:
        with deployment.transaction() as cursor:
            annotator_id = ensure_annotator(cursor, plan.annotator, plan.rubric, plan.spec)
        with closing(read_chosen(plan.chosen, deployment)) as documents:
            asyncio.run(_ask_all(config, plan, annotator_id, documents, deployment, report, cancelled or threading.Event()))
    found.cost = _cost(config, found)
    return found


def _cost(config: AnnotationConfig, found: AnnotationResult) -> float | None:
    if config.input_price is None or config.output_price is None:
        return None
    return (found.input_tokens * config.input_price + found.output_tokens * config.output_price) / 1e6


def _plan(config: AnnotationConfig, deployment: Deployment) -> _Plan:
    rubric = load_config(Rubric, config.rubric, "rubric") if config.rubric else DEFAULT_RUBRIC
    spec = {
        "kind": "llm",
        "prompt": fingerprint(instructions(rubric)),
        **config.identity(),
    }
    name = config.annotator or f"{re.sub(r'[^A-Za-z0-9._-]+', '-', config.model)}-{fingerprint(spec)[:6]}"
    with deployment.transaction() as cursor:
        shards = scored_shards(cursor, config.corpus, config.snapshots)
        chosen = choose(
            cursor,
            config.corpus,
            shards,
            config.documents,
            config.seed,
            strata="none" if config.strategy == "uniform" else "snapshot and domain",
        )
        # A text that occurs several times is asked about once.
        first = {sample.content_hash: sample for _, samples in reversed(chosen) for sample in reversed(samples)}
        annotators = {each.name: each.annotator_id for each in list_annotators(cursor)}
        again = list(Reject) if config.retry_refused else PASSING
        known, refused = asked_before(cursor, annotators.get(name, 0), first.keys(), again)
    left = [
        (shard, [s for s in samples if first[s.content_hash] is s and s.content_hash not in known | refused])
        for shard, samples in chosen
    ]
    found = AnnotationResult(name, documents=len(first), known=len(known), set_aside_before=len(refused))
    return _Plan(name, spec, rubric, [(shard, samples) for shard, samples in left if samples], found)


class _Writer:
    """Keeps answers: those that arrive while others are written are written together. keep() returns once its answer is kept."""

    def __init__(self, annotator_id: int, deployment: Deployment) -> None:
        self._annotator_id, self._database = annotator_id, deployment.database
        self._arrived: list[tuple[Judged | Refused, asyncio.Future[None]]] = []
        self._writing = asyncio.Lock()

    async def keep(self, answer: Judged | Refused) -> None:
        kept = asyncio.get_running_loop().create_future()
        self._arrived.append((answer, kept))
        async with self._writing:
            if kept.done():
                kept.result()
                return
            part, self._arrived = self._arrived, []
            try:
                await asyncio.to_thread(self._save, [each for each, _ in part])
            except BaseException as error:
                for _, waiting in part:
                    if waiting is not kept and not waiting.done():
                        waiting.set_exception(error)
                raise
            for _, waiting in part:
                waiting.set_result(None)

    def _save(self, answers: list[Judged | Refused]) -> None:
        with transaction(self._database) as cursor:
            save_answers(cursor, self._annotator_id, answers)


async def _ask_all(
    config: AnnotationConfig,
    plan: _Plan,
    annotator_id: int,
    documents: Iterator[Document | None],
    deployment: Deployment,
    report: Report,
    cancelled: threading.Event,
) -> None:
    """Ask about all remaining documents, several at once. Each task takes the next one when its answer is kept."""
    found = plan.found
    total, begun = found.documents, found.known + found.set_aside_before
    reading, read = asyncio.Lock(), deque[Document | None]()
    model, writer = LanguageModel(config, plan.rubric, deployment), _Writer(annotator_id, deployment)
    streak = 0

    def tell() -> None:
        found.requests, found.turned_away = model.requests, model.turned_away
        found.input_tokens, found.output_tokens = model.input_tokens, model.output_tokens
        done = begun + found.judged + found.unread + sum(found.set_aside.values())
        said = f"{sum(found.set_aside.values()):,} set aside, {found.input_tokens + found.output_tokens:,} tokens"
        report(Progress("annotate", done, total, documents=done, message=said, unit="documents", share=done / total))

    async def work() -> None:
        nonlocal streak
        while True:
            if cancelled.is_set():
                raise CancelledRunError("Annotating was cancelled.", "All answers are kept: run it again to go on.")
            if _is_spent(config, found):
                return
            async with reading:
                if not read:
                    read.extend(await asyncio.to_thread(lambda: list(islice(documents, _READ_AT_ONCE))))
                if not read:
                    return
                document = read.popleft()
            if document is not None:
                answer = await model.judge(document)
                await writer.keep(answer)
                streak = _enter(found, answer, streak)
                if streak >= max(LEAST_STREAK, 2 * config.concurrency) and isinstance(answer, Refused):
                    raise _given_up(streak, answer, config, deployment)
            else:
                found.unread += 1
            tell()

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(config.concurrency, total - begun)):
                group.create_task(work())
    except ExceptionGroup as errors:
        # Not by except*: before 3.11.4, Python wraps what is raised there in a group again.
        known, others = errors.split((ConfigError, ModelError, ServiceError, CancelledRunError))
        if known is None or others is not None:
            raise
        raise known.exceptions[0] from None
    finally:
        await model.close()
    tell()
    _require_none_left(config, found, total - begun - found.judged - found.unread - sum(found.set_aside.values()))


def _is_spent(config: AnnotationConfig, found: AnnotationResult) -> bool:
    """Whether the cost limit is reached; answers in flight are still kept."""
    cost = _cost(config, found)
    return cost is not None and config.most_cost is not None and cost >= config.most_cost


def _require_none_left(config: AnnotationConfig, found: AnnotationResult, left: int) -> None:
    if left:
        aside = sum(found.set_aside.values())
        raise CostError(
            f"The cost limit, {config.most_cost:g}, is reached: for {_cost(config, found):,.2f} {found.judged:,} documents were"
            f" judged, {aside:,} set aside, and {left:,} are left.",
            "All answers are kept. Raise most_cost and run again, or train on the labels so far.",
        )


def _given_up(streak: int, last: Refused, config: AnnotationConfig, deployment: Deployment) -> ModelError | ServiceError:
    kept = "All answers are kept."
    if last.reason in MALFORMED:
        return ModelError(
            f"{streak} documents in a row got no answer of {config.model!r} that can be used, the last one: {last.detail}.",
            f"{kept} Try response_format 'json_object' or 'text', more most_output_tokens, or another model, then run again.",
        )
    return ServiceError(
        f"{streak} documents in a row got no answer from {deployment.llm_base_url}, the last one: {last.detail}.",
        f"{kept} Check the endpoint, or lower the concurrency, then run again.",
    )


def _enter(found: AnnotationResult, answer: Judged | Refused, streak: int) -> int:
    """Count an answer; return how many failures in a row may be the endpoint's or the model's fault."""
    if isinstance(answer, Judged):
        found.judged += 1
        return 0
    found.set_aside[answer.reason] += 1
    return streak + 1 if answer.reason in PASSING or answer.reason in MALFORMED else 0
