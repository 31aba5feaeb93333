"""The gate: where it is asked for, a draft is published only if a small model learns from it as from every document alike."""

from dataclasses import replace

from pydantic import ValidationError

from samplemix_core.config.budget import Budget
from samplemix_core.config.evaluation import EvaluationConfig, GateConfig
from samplemix_core.errors import GateError, ManifestError
from samplemix_core.frozen import FrozenModel
from samplemix_core.identity import fingerprint
from samplemix_core.manifest.format import EvaluationRecord, GainRecord
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.drafts import read_draft
from samplemix_core.pipeline.handoff import DraftRef

_RESULT = "gate.json"
_DRAFT = "draft"


class Gated(FrozenModel):
    """What a draft showed: the comparison's number, and its record for the manifest, for what was asked of it.

    None of these where nothing is required.
    """

    comparison: int | None = None
    record: EvaluationRecord | None = None
    asked: GateConfig | None = None


def gate(run: RunContext, draft: DraftRef) -> Gated:
    """Compare a draft with every document alike, and keep what comes of it beside the draft, for publishing.

    Raises GateError if the draft is worse on any target than the configuration allows, in the mean over draws.
    """
    wanted, store = run.config.gate, run.deployment.mixtures.store
    if wanted.most_worse is None:
        run.tell(1, 1, "nothing is required", unit="drafts")
        return Gated()
    # These take seconds to import, and most runs ask for nothing.
    from samplemix_core.pipeline.evaluate import Base, Entrant, evaluate
    from samplemix_core.pipeline.plan import Known

    # What it showed when something else was asked.
    store.delete(f"{draft.draft}/{_RESULT}")
    read = read_draft(store, draft.draft)
    manifest = read.manifest
    with run.deployment.transaction() as cursor:
        known = Known.of_run(cursor, read.registered, read.cluster_model)
    base = Base(manifest.name, None, manifest.budget_tokens, frozenset(read.registered.snapshots), known)
    counts_documents = any(policy.counts_documents for policy in run.config.policies)
    budget = run.config.budget if counts_documents else Budget(tokens=manifest.budget_tokens)
    own = run.config.model_copy(update={"budget": budget})
    config = EvaluationConfig(targets=wanted.targets, tokens=wanted.tokens, draws=wanted.draws)
    number, found = evaluate(replace(run, config=own), base, {_DRAFT: Entrant(own)}, config)
    if _DRAFT in found.unsolved:
        raise GateError(f"The draft can't be evaluated: {found.unsolved[_DRAFT]}", "Choose other targets for the gate.")
    contender = found.contenders[1]
    record = EvaluationRecord(
        key=fingerprint(
            {
                **{"method": found.method, "vocabulary": found.vocabulary, "tokens": found.tokens, "draws": found.draws},
                **{"targets": sorted(target.key for target in found.targets), "mixture": draft.content_digest},
            }
        ),
        **{"method": found.method, "tokens": found.tokens, "draws": found.draws, "most_worse": wanted.most_worse},
        gains=tuple(
            GainRecord(target=gain.target, view=gain.view, steps=gain.steps.mean, error=gain.steps.error)
            for gain in contender.gains
        ),
    )
    least = 1 - wanted.most_worse
    worse = [gain for gain in record.gains if gain.steps < least]
    if worse:
        named = ", ".join(f"{gain.target} ({gain.view}) {_shown(gain)}" for gain in sorted(worse, key=lambda gain: gain.steps))
        raise GateError(
            f"The draft was not published: its steps ratio against every document alike is under {least:g} on {named}.",
            f"Comparison {number} has the figures. Choose a gentler policy ('samplemix mixture frontier' places several), or allow"
            " more with gate.most_worse.",
        )
    gated = Gated(comparison=number, record=record, asked=wanted)
    store.put(f"{draft.draft}/{_RESULT}", gated.model_dump_json().encode())
    worst = min(record.gains, key=lambda gain: gain.steps)
    run.tell(1, 1, f"passed; the least gain is on {worst.target} ({worst.view}): {_shown(worst)}", unit="drafts")
    return gated


def _shown(gain: GainRecord) -> str:
    return f"{gain.steps:.2f}" if gain.error is None else f"{gain.steps:.2f} +- {gain.error:.2f}"


def passed(run: RunContext, draft: DraftRef) -> Gated:
    """What a draft showed at the gate. Raises ManifestError if something is required of it, and it wasn't there."""
    wanted, store = run.config.gate, run.deployment.mixtures.store
    if wanted.most_worse is None:
        return Gated()
    key = f"{draft.draft}/{_RESULT}"
    if store.head(key) is not None:
        try:
            found = Gated.model_validate_json(store.get(key)[0])
        except ValidationError as error:
            raise ManifestError(f"{store.uri}/{key} is damaged: {error}.", "Run the step gate again.") from None
        if found.asked == wanted:
            return found
    raise ManifestError("The draft has not passed the gate that the configuration asks for.", "Run the step gate first.")
