"""Configure a run: from a form's values, a crawl given as a partition, or the next crawl that has landed."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from samplemix_core.config.form import DRY_RUN
from samplemix_core.config.run import RunConfig, merged
from samplemix_core.corpus.crawls import parse_partition_key, partition_key
from samplemix_core.database import corpora
from samplemix_core.database.connection import transaction
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, CorpusError
from samplemix_core.frozen import NAME, load_config
from samplemix_core.pipeline.handoff import Configured
from samplemix_core.policies.registry import all_parameters
from samplemix_core.settings import CORPUS_PLACES, is_among


def named_values(deployment: Deployment, corpus: str) -> dict[str, Any]:
    """Return the settings of the corpus with this name, as JSON values; none if there is no such corpus, or no database."""
    if not NAME.fullmatch(corpus) or deployment.database_url is None:
        return {}
    with transaction(deployment.database_url) as cursor:
        found = corpora.find_corpus(cursor, corpus)
    return found.config.run.model_dump(mode="json") if found is not None else {}


def from_form(deployment: Deployment, values: Mapping[str, Any]) -> Configured:
    """Configure a run from a form: `corpus_uri` is a corpus's name or place, and empty fields take the corpus's settings.

    Raises ConfigError naming each bad value, for a name that no corpus has, and for a place where corpora may not lie: permission
    to fill in a form is not permission to read every file on the machine.
    """
    fields = RunConfig.model_fields.keys() | all_parameters().keys()
    filled = {name: value for name, value in values.items() if name in fields and value not in (None, "", [], {})}
    place = str(filled.get("corpus_uri", "")).strip()
    named = named_values(deployment, place)
    if NAME.fullmatch(place) and not named:
        with deployment.transaction() as cursor:
            corpora.get_corpus(cursor, place)  # Raises an error that lists the corpora.
    own = {name: value for name, value in filled.items() if not (named and name == "corpus_uri")}
    config = load_config(RunConfig, merged(named, own))
    if not named and not is_among(config.corpus_uri, deployment.corpus_places):
        raise ConfigError(
            f"The form may not name {config.corpus_uri}: corpora may lie in {', '.join(deployment.corpus_places) or 'no place'}.",
            f"Give the corpus a name where the platform runs ('samplemix corpus add'), or add its place to {CORPUS_PLACES}.",
        )
    return Configured(corpus=place if named else None, config=config, dry_run=bool(values.get(DRY_RUN)))


def of_crawl(deployment: Deployment, key: str | None) -> Configured:
    """Configure the scoring of a crawl, given as a partition 'corpus/snapshot', by its corpus's configuration.

    Raises ConfigError if the key isn't a partition or its corpus is unknown, CorpusError if the crawl is unknown or hasn't landed.
    """
    try:
        corpus, snapshot = parse_partition_key(key or "")
    except ValueError:
        raise ConfigError(
            f"This run has no crawl: its partition key is {key!r}.",
            "Press Backfill and choose dates, or trigger it with a partition key such as web/crawl-a.",
        ) from None
    with deployment.transaction() as cursor:
        named, crawl = corpora.get_corpus(cursor, corpus), corpora.find_crawl(cursor, corpus, snapshot)
    if crawl is None or crawl.state not in corpora.HERE:
        what = "is not known" if crawl is None else f"is {crawl.state}: it {crawl.reason}"
        raise CorpusError(
            f"Crawl {partition_key(corpus, snapshot)} {what}.",
            f"See 'samplemix corpus show {corpus}', and 'corpus scan' or 'accept'.",
        )
    return Configured(corpus=corpus, crawl=snapshot, config=named.config.run)


def next_landed(deployment: Deployment, run_id: str) -> Configured | None:
    """Take the next landed crawl for this run, the same one if it asks again; None if none waits.

    A corpus whose configuration can't be used doesn't hold up the others.
    """
    with deployment.transaction() as cursor:
        usable, _ = corpora.usable_corpora(cursor)
        crawl = corpora.take_crawl(cursor, run_id, datetime.now(UTC), usable)
        if crawl is None:
            return None
        config = corpora.get_corpus(cursor, crawl.corpus).config.run
    return Configured(corpus=crawl.corpus, crawl=crawl.snapshot, config=config)
