"""List the corpus's shards and enter them, and the models that will score them, into the ledger."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from operator import attrgetter
from typing import Any

from samplemix_core.compute.fanout import Work, call_one, connect
from samplemix_core.config.run import COMPOSITE, RunConfig
from samplemix_core.corpus.shards import Selection, UnreadFile, describe_unread, select_snapshots, unread_counts
from samplemix_core.database import corpora, registration
from samplemix_core.database.connection import Cursor
from samplemix_core.database.quality_models import QualityModel, find_quality_model, quality_models
from samplemix_core.database.scope import Group
from samplemix_core.database.targets import find_targets, held_out
from samplemix_core.deployment import Deployment
from samplemix_core.errors import CancelledRunError, ConfigError, CorpusError
from samplemix_core.identity import canonical_json
from samplemix_core.objects.interface import ObjectInfo
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.handoff import Registered
from samplemix_core.scorers.composite import CompositeSpec

SHARDS_PER_GROUP = 32
MAX_GROUPS = 200
_READS_AT_ONCE = 4
URGENT = 2**50
"""More than any shard's cost, so that a question about models doesn't queue behind another run's shards."""


def list_corpus(config: RunConfig, deployment: Deployment, corpus: str | None = None) -> Selection:
    """List the shards of the run's snapshots and the files that are not read; raise CorpusError as select_snapshots does.

    If the configuration names no snapshots, these are all snapshots, or for a named `corpus` those that have landed.
    """
    wanted = config.snapshots
    if corpus is not None and not wanted:
        with deployment.transaction() as cursor:
            crawls = corpora.crawls(cursor, corpus)
        wanted = tuple(sorted(crawl.snapshot for crawl in crawls if crawl.state in corpora.HERE))
        if not wanted:
            raise CorpusError(
                f"No crawl of corpus {corpus!r} has landed.",
                f"See 'samplemix corpus show {corpus}'; 'corpus accept' takes one as it is.",
            )
    store = deployment.store(config.corpus_uri)
    of_one = list(store.list(f"{wanted[0]}/")) if len(wanted) == 1 else []
    # If the one wanted is missing, all are listed, for the error to name.
    objects = {item.key: item for item in of_one or store.list()}
    selection = select_snapshots(objects, wanted, config.reader)
    return selection if not of_one else replace(selection, whole=False)


def plan_corpus(
    config: RunConfig, deployment: Deployment, corpus: str | None = None
) -> tuple[list[dict[str, Any]], list[UnreadFile]]:
    """Return what a run would read, each snapshot's shards and their size, and the files it would not. Nothing is written."""
    listing = list_corpus(config, deployment, corpus)
    snapshots = [
        {"snapshot": name, "shards": len(shards), "bytes": sum(info.size for info in shards)}
        for name, shards in listing.snapshots.items()
    ]
    return snapshots, listing.unread


def register(run: RunContext) -> Registered:
    """Enter the corpus, its snapshots and shards, the encoder and the composite score into the ledger; find other scorers there.

    Running it again changes nothing. A shard whose file was replaced is a new shard, to be scored. Raises CorpusError, naming it,
    if a shard vanished.
    """
    one = {"snapshots": (run.crawl,)} if run.crawl is not None else {}
    listing = list_corpus(run.config.model_copy(update=one), run.deployment, run.corpus)
    models = _describe_models(run)
    with run.deployment.transaction() as cursor:
        corpus = registration.register_corpus(
            cursor,
            uri=run.config.corpus_uri,
            reader=run.config.reader.identity(),
            tokenizer=models["tokenizer"],
            tokenizer_id=models["tokenizer_id"],
        )
        first, *others = _quality_models(cursor, run.config.scorers, models)
        unread = [
            entry
            for snapshot, shards in listing.snapshots.items()
            for entry in registration.unread_entries(cursor, corpus.corpus_id, snapshot, shards)
        ]
    _read_etags(run, unread)
    gate = run.config.gate
    with run.deployment.transaction() as cursor:
        drawn = held_out(cursor, run.config.corpus_uri)
        if gate.most_worse is not None and not find_targets(cursor, gate.targets) and not drawn:
            raise ConfigError(
                f"The gate has no target: none was drawn from {run.config.corpus_uri}, and gate.targets names none.",
                "Draw one with 'samplemix target draw', or add one with 'samplemix target add' and name it in gate.targets.",
            )
        snapshots = [
            registration.register_snapshot(cursor, corpus.corpus_id, snapshot, shards)
            for snapshot, shards in listing.snapshots.items()
        ]
        registration.register_unread(cursor, corpus.corpus_id, listing)
        registered = Registered(
            corpus_id=corpus.corpus_id,
            corpus_key=corpus.corpus_key,
            encoder_id=registration.ensure_encoder(cursor, models["encoder_key"], models["encoder"]),
            encoder_key=models["encoder_key"],
            device=models["encoder"]["device"],
            precision=models["encoder"]["precision"],
            batch_tokens=models["batch_tokens"],
            tokenizer=models["tokenizer"],
            tokenizer_id=models["tokenizer_id"],
            quality_model_id=first.quality_model_id,
            quality_model_key=first.key,
            quality_low=first.low,
            quality_high=first.high,
            other_quality_model_ids=tuple(model.quality_model_id for model in others),
            snapshots=tuple(listing.snapshots),
            snapshot_ids=tuple(snapshot.snapshot_id for snapshot in snapshots),
            shards=listing.shards,
            unread=unread_counts(listing.unread),
            last_shard_id=max(snapshot.last_shard_id for snapshot in snapshots),
            held_out=drawn,
        )
    replaced = [path for snapshot in snapshots for path in snapshot.replaced]
    message = _registered_message(listing, models["tokenizer"], first, others, replaced)
    run.tell(listing.shards, listing.shards, message)
    return registered


def _registered_message(
    listing: Selection, tokenizer: str, first: QualityModel, others: Sequence[QualityModel], replaced: Sequence[str]
) -> str:
    size = sum(item.size for shards in listing.snapshots.values() for item in shards)
    message = f"snapshots {', '.join(listing.snapshots)}; {size / 1e6:,.1f} MB; tokens of {tokenizer}"
    if first.name != COMPOSITE or others:
        message += f"; quality by {first.name} ({first.key[:12]})"
    if others:
        message += f", and beside it by {', '.join(f'{model.name} ({model.key[:12]})' for model in others)}"
    if replaced:
        message += f"; replaced by new files since, and scored again: {registration.some_of(replaced)}"
    if listing.unread:
        message += f"; {describe_unread(listing.unread)}"
    return message


def _quality_models(cursor: Cursor, names: Sequence[str], models: Mapping[str, Any]) -> list[QualityModel]:
    """Return the quality models with these names, in order. Raises ModelError if one reads vectors of another encoder."""
    found: list[QualityModel] = []
    for name in names:
        if name == COMPOSITE:
            low, high = models["composite_range"]
            key = CompositeSpec.model_validate_json(canonical_json(models["composite"])).key
            model_id = registration.ensure_quality_model(cursor, key, models["composite"], q_low=low, q_high=high)
            model = quality_models(cursor, ids=[model_id])[model_id]
        else:
            model = find_quality_model(cursor, name)
            asked = [model]
            while asked:
                each = asked.pop()
                specification = each.specification
                specification.require_encoder(each.name, models["family"])
                asked += quality_models(cursor, keys=specification.made_of).values()
        if model in found:
            raise ConfigError(f"The scorers {', '.join(names)} name one quality model twice, as {name}.", "Name each once.")
        found.append(model)
    return found


def _read_etags(run: RunContext, unread: Sequence[ObjectInfo]) -> None:
    """Read files of a directory for their etags, with no transaction open, because it takes as long as the disk does."""
    if not unread:
        return
    message = f"reading {sum(entry.size for entry in unread) / 1e6:,.1f} MB of new files, to know them by their content"
    run.tell(0, len(unread), message, unit="files")
    with ThreadPoolExecutor(_READS_AT_ONCE) as pool:
        for done, _ in enumerate(pool.map(attrgetter("etag"), unread), start=1):
            if run.cancelled.is_set():
                pool.shutdown(wait=False, cancel_futures=True)
                raise CancelledRunError("Cancelled while files were read.", "Run again to continue.")
            run.tell(done, len(unread), unit="files")


def _describe_models(run: RunContext) -> dict[str, Any]:
    """Have a worker describe the models, because that is where they are used; a corpus keeps the encoder it has."""
    with run.deployment.transaction() as cursor:
        known = registration.known_encoders(cursor, run.config.corpus_uri)
    with connect(run.deployment) as client:
        # Ask where the models will be used: on a worker with a GPU, if the configuration insists on one.
        work = Work(
            "the models",
            (run.config.embedding, run.config.tokenizer, known),
            cost=URGENT,
            resources=run.config.embedding.worker_resources,
        )
        models: dict[str, Any] = call_one(client, "samplemix_core.worker.models:describe_models", work, run.cancelled)
    return models


def shard_groups(run: RunContext, registered: Registered) -> list[Group]:
    """Split the shards into groups for mapped tasks: at most MAX_GROUPS, at least two where possible."""
    count = min(MAX_GROUPS, registered.shards, max(2, -(-registered.shards // SHARDS_PER_GROUP)))
    return [Group(index=index, count=count) for index in range(count)]
