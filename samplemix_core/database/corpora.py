"""Corpora by name, with their configuration, and their crawls: which have landed, and which run took them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from psycopg2.extras import Json

from samplemix_core.config.run import CorpusConfig
from samplemix_core.corpus.crawls import crawl_date, distinct_date
from samplemix_core.database.connection import HOLD, Cursor, Lock, Named, rows_as, scalar
from samplemix_core.errors import ConfigError, CorpusError
from samplemix_core.frozen import load_config, split_unknown

BY_HAND = "by hand"
"""Stands in for a marker's etag, for a crawl that a person has declared complete."""


@dataclass(frozen=True)
class NamedCorpus:
    """A corpus with a name. While it is paused, crawls that land wait."""

    config: CorpusConfig
    is_paused: bool = False

    @property
    def name(self) -> str:
        """The corpus's name."""
        return self.config.name


class CrawlState(StrEnum):
    """The state of a crawl: column `state` of table crawl."""

    WAITING = "waiting"
    """It is incomplete; its reason says why."""
    LANDED = "landed"
    TAKEN = "taken"
    """By a run, or it was there when its corpus was added."""
    REMOVED = "removed"


HERE = (CrawlState.LANDED, CrawlState.TAKEN)
"""Complete, and ready to be scored."""


@dataclass(frozen=True)
class Crawl:
    """A snapshot of a named corpus as a partition; see the table's comments for its fields."""

    corpus: str
    snapshot: str
    partition_date: datetime
    state: CrawlState
    reason: str | None
    marker: str | None
    marker_at: datetime | None
    files: int
    bytes: int
    landed_at: datetime | None
    taken_at: datetime | None
    run: str | None


def _crawl(*, state: str, **columns: Any) -> Crawl:
    return Crawl(state=CrawlState(state), **columns)


@dataclass(frozen=True)
class SnapshotObservation:
    """A snapshot as just observed: its marker, if it has one, its shards, and why it is incomplete (None if it is complete)."""

    snapshot: str
    marker: str | None
    marker_at: datetime | None
    files: int
    bytes: int
    reason: str | None


def add_corpus(cursor: Cursor, config: CorpusConfig) -> None:
    """Add a named corpus; raise ConfigError if the name is taken."""
    cursor.execute(
        "INSERT INTO corpus_config (name, config) VALUES (%s, %s) ON CONFLICT (name) DO NOTHING",
        (config.name, Json(config.model_dump(mode="json"))),
    )
    if cursor.rowcount == 0:
        raise _name_taken(config.name)


def require_free(cursor: Cursor, name: str) -> None:
    """Raise ConfigError if a corpus has this name."""
    if name in corpus_names(cursor):
        raise _name_taken(name)


def _name_taken(name: str) -> ConfigError:
    return ConfigError(f"There is a corpus {name!r} already.", f"'samplemix corpus set {name}' changes it; or choose another name.")


def set_corpus(cursor: Cursor, config: CorpusConfig) -> None:
    """Replace the configuration of an existing corpus; runs in progress keep theirs."""
    cursor.execute(
        "UPDATE corpus_config SET config = %s, updated_at = now() WHERE name = %s",
        (Json(config.model_dump(mode="json")), config.name),
    )


def pause_corpus(cursor: Cursor, name: str, *, paused: bool) -> None:
    """Pause a corpus, so that crawls that land wait, or resume it."""
    cursor.execute("UPDATE corpus_config SET is_paused = %s, updated_at = now() WHERE name = %s", (paused, name))


def remove_corpus(cursor: Cursor, name: str) -> None:
    """Forget a corpus's name, configuration and crawls. Scores and mixtures stay."""
    cursor.execute("DELETE FROM corpus_config WHERE name = %s", (name,))


def corpus_names(cursor: Cursor) -> list[str]:
    """Return the names of all corpora, sorted."""
    cursor.execute("SELECT name FROM corpus_config ORDER BY name")
    return [name for (name,) in cursor.fetchall()]


def uri_of(cursor: Cursor, corpus: str) -> str:
    """Return the URI of a corpus (name or URI) that is named or of which something is stored; raise QueryError if there is none."""
    if (named := find_corpus(cursor, corpus)) is not None:
        return named.config.run.corpus_uri
    cursor.execute("SELECT uri FROM corpus WHERE corpus_id = corpus_of(%s)", (corpus,))
    found: str = scalar(cursor)
    return found


def find_corpus(cursor: Cursor, name: str) -> NamedCorpus | None:
    """Return the corpus with this name; raise ConfigError if its configuration isn't valid in this version of SampleMix."""
    cursor.execute("SELECT name, config, is_paused FROM corpus_config WHERE name = %s", (name,))
    return next(iter(rows_as(cursor, _named_corpus)), None)


def usable_corpora(cursor: Cursor) -> tuple[dict[str, NamedCorpus], dict[str, ConfigError]]:
    """Return the corpora by name, and an error for each whose configuration isn't valid in this version of SampleMix."""
    usable, errors = {}, {}
    for name in corpus_names(cursor):
        try:
            found = find_corpus(cursor, name)
        except ConfigError as error:
            errors[name] = error
        else:
            assert found is not None
            usable[name] = found
    return usable, errors


def get_corpus(cursor: Cursor, name: str) -> NamedCorpus:
    """Return the corpus with this name; if there is none, raise ConfigError listing those that exist."""
    found = find_corpus(cursor, name)
    if found is None:
        raise _no_corpus(cursor, name)
    return found


def _no_corpus(cursor: Cursor, name: str) -> ConfigError:
    known = ", ".join(corpus_names(cursor)) or "none"
    return ConfigError(f"There is no corpus {name!r}; there are: {known}.", f"Add it: samplemix corpus add {name} URI.")


def known_settings(cursor: Cursor, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return a corpus's stored configuration as JSON values; and, by dotted name, the fields that this version doesn't have.

    Raises ConfigError if there is no such corpus.
    """
    cursor.execute("SELECT config FROM corpus_config WHERE name = %s", (name,))
    for (config,) in cursor.fetchall():
        return split_unknown(CorpusConfig, config)
    raise _no_corpus(cursor, name)


def _named_corpus(*, name: str, config: dict[str, Any], is_paused: bool) -> NamedCorpus:
    known, unknown = split_unknown(CorpusConfig, config)
    if unknown:
        raise ConfigError(
            f"The configuration of corpus {name!r} sets {', '.join(sorted(unknown))}, which SampleMix doesn't have.",
            f"Another version stored this. 'samplemix corpus set {name}' drops it and shows what it was.",
        )
    try:
        return NamedCorpus(load_config(CorpusConfig, known, f"configuration of corpus {name!r}"), is_paused)
    except ConfigError as error:
        raise ConfigError(error.what, f"Correct it: samplemix corpus set {name} --set FIELD=VALUE.") from None


def corpus_overview(cursor: Cursor) -> list[dict[str, Any]]:
    """Return a row for each named corpus: its settings, its number of crawls in each state, and its mixture's latest version."""
    cursor.execute(
        """
        SELECT name AS corpus, config->'run'->>'corpus_uri' AS uri, config->'run'->>'mixture_name' AS mixture,
               (SELECT max(version) FROM mixture WHERE mixture.name = config->'run'->>'mixture_name') AS version,
               config->'run'->'policy'->>'name' AS policy, config->'run'->>'budget' AS budget,
               config->'run'->'embedding'->>'encoder' AS encoder, is_paused AS paused,
               count(*) FILTER (WHERE state = 'taken') AS taken, count(*) FILTER (WHERE state = 'landed') AS landed,
               count(*) FILTER (WHERE state = 'waiting') AS waiting, count(*) FILTER (WHERE state = 'removed') AS removed
        FROM corpus_config LEFT JOIN crawl ON crawl.corpus = name
        GROUP BY name ORDER BY name
        """
    )
    return rows_as(cursor, Named)


def crawls(cursor: Cursor, corpus: str | None = None) -> list[Crawl]:
    """The crawls of one corpus or of all, by date."""
    cursor.execute(
        "SELECT * FROM crawl WHERE %(corpus)s::text IS NULL OR corpus = %(corpus)s ORDER BY partition_date", {"corpus": corpus}
    )
    return rows_as(cursor, _crawl)


def crawls_between(cursor: Cursor, earliest: datetime, latest: datetime) -> list[Crawl]:
    """Return the landed crawls with dates from `earliest` to `latest`, inclusive, by date."""
    cursor.execute(
        "SELECT * FROM crawl WHERE partition_date BETWEEN %s AND %s AND state IN ('landed', 'taken') ORDER BY partition_date",
        (earliest, latest),
    )
    return rows_as(cursor, _crawl)


def landed_crawls(cursor: Cursor, of: Iterable[str]) -> list[Crawl]:
    """Return the crawls of these corpora that wait for a run, longest-waiting first; paused corpora are left out."""
    cursor.execute(
        "SELECT crawl.* FROM crawl JOIN corpus_config ON name = corpus WHERE state = 'landed' AND NOT is_paused AND name = ANY(%s)"
        " ORDER BY landed_at, partition_date",
        (list(of),),
    )
    return rows_as(cursor, _crawl)


def find_crawl(cursor: Cursor, corpus: str, snapshot: str) -> Crawl | None:
    """One crawl, if it is known."""
    cursor.execute("SELECT * FROM crawl WHERE corpus = %s AND snapshot = %s", (corpus, snapshot))
    return next(iter(rows_as(cursor, _crawl)), None)


def note_observed(
    cursor: Cursor,
    corpus: str,
    observations: Sequence[SnapshotObservation],
    now: datetime,
    *,
    first_seen_state: CrawlState = CrawlState.LANDED,
) -> list[Crawl]:
    """Record a corpus's snapshots as observed; returns the crawls whose state, or reason for waiting, changed.

    A complete snapshot lands, unless it had already landed with the same marker; one never seen before gets `first_seen_state`. An
    incomplete one waits, whatever it was before.
    """
    cursor.execute(HOLD, (Lock.CRAWLS,))
    known = {crawl.snapshot: crawl for crawl in crawls(cursor, corpus)}
    cursor.execute("SELECT partition_date FROM crawl")
    dates = {date for (date,) in cursor.fetchall()}
    changed = []
    for observed in observations:
        before = known.get(observed.snapshot)
        if observed.reason is not None:
            state = CrawlState.WAITING
        elif before is None:
            state = first_seen_state
        elif before.state in HERE and before.marker == observed.marker:
            state = before.state
        else:
            state = CrawlState.LANDED
        date = before.partition_date if before else distinct_date(crawl_date(observed.snapshot, observed.marker_at or now), dates)
        dates.add(date)
        cursor.execute(
            """
            INSERT INTO crawl (corpus, snapshot, partition_date, state, reason, marker, marker_at, files, bytes, landed_at)
            VALUES (%(corpus)s, %(snapshot)s, %(date)s, %(state)s, %(reason)s, %(marker)s, %(marker_at)s, %(files)s, %(bytes)s,
                    CASE WHEN %(state)s <> 'waiting' THEN %(now)s END)
            ON CONFLICT (corpus, snapshot) DO UPDATE SET
                landed_at = CASE WHEN EXCLUDED.state = 'landed' AND crawl.state <> 'landed' THEN %(now)s ELSE crawl.landed_at END,
                run = CASE WHEN EXCLUDED.state = 'landed' THEN NULL ELSE crawl.run END,
                reason = CASE WHEN EXCLUDED.state = 'taken' THEN crawl.reason ELSE EXCLUDED.reason END,
                state = EXCLUDED.state, marker = EXCLUDED.marker, marker_at = EXCLUDED.marker_at,
                files = EXCLUDED.files, bytes = EXCLUDED.bytes
            """,
            {**vars(observed), "corpus": corpus, "date": date, "state": state, "now": now},
        )
        if before is None or before.state != state or (state is CrawlState.WAITING and before.reason != observed.reason):
            found = find_crawl(cursor, corpus, observed.snapshot)
            assert found is not None
            changed.append(found)
    return changed


def note_removed(cursor: Cursor, corpus: str, snapshots: Sequence[str]) -> None:
    """Note that these snapshots are gone from the store."""
    cursor.execute(
        "UPDATE crawl SET state = 'removed', reason = 'its files are gone' WHERE corpus = %s AND snapshot = ANY(%s)",
        (corpus, list(snapshots)),
    )


def accept_crawl(cursor: Cursor, corpus: str, observed: SnapshotObservation, now: datetime) -> Crawl:
    """Land a snapshot that a person says is complete, even if a run has taken it; raise CorpusError if it has no files."""
    if not observed.files:
        raise CorpusError(f"Corpus {corpus!r} has no snapshot {observed.snapshot!r}.", f"See 'samplemix corpus show {corpus}'.")
    note_observed(cursor, corpus, [observed], now)
    cursor.execute(f"{_LET_LAND} AND corpus = %s AND snapshot = %s", (now, None, corpus, observed.snapshot))
    found = find_crawl(cursor, corpus, observed.snapshot)
    assert found is not None
    return found


def take_crawl(cursor: Cursor, run: str, now: datetime, of: Iterable[str]) -> Crawl | None:
    """Give a run the crawl of these corpora that landed longest ago; None if there is none. Those of paused corpora wait.

    A run that asks again gets the crawl that it already has.
    """
    cursor.execute("UPDATE crawl SET reason = NULL WHERE run = %s AND state = 'taken' RETURNING *", (run,))
    held = rows_as(cursor, _crawl)
    if held:
        return held[0]
    cursor.execute(
        """
        UPDATE crawl SET state = 'taken', run = %s, taken_at = %s
        WHERE (corpus, snapshot) = (
            SELECT corpus, snapshot FROM crawl JOIN corpus_config ON name = corpus
            WHERE state = 'landed' AND NOT is_paused AND name = ANY(%s)
            ORDER BY landed_at, partition_date LIMIT 1 FOR UPDATE OF crawl SKIP LOCKED
        )
        RETURNING *
        """,
        (run, now, list(of)),
    )
    return next(iter(rows_as(cursor, _crawl)), None)


def unfinished_runs(cursor: Cursor) -> list[str]:
    """Return the runs that took a crawl which no version published since then contains."""
    cursor.execute(
        """
        SELECT DISTINCT run
        FROM crawl JOIN corpus_config ON name = corpus
        WHERE state = 'taken' AND run IS NOT NULL AND NOT EXISTS (
            SELECT FROM mixture
            JOIN mixture_snapshot USING (mixture_id)
            JOIN snapshot USING (snapshot_id)
            JOIN corpus AS stored ON stored.corpus_id = snapshot.corpus_id
            WHERE snapshot.name = crawl.snapshot AND stored.uri = config -> 'run' ->> 'corpus_uri'
                AND mixture.created_at >= taken_at
        )
        ORDER BY run
        """
    )
    return [run for (run,) in cursor.fetchall()]


def release_crawls(cursor: Cursor, run: str, now: datetime) -> list[Crawl]:
    """Let the crawls taken by a run that no longer exists land again; returns them."""
    reason = f"its run {run} is gone"
    cursor.execute(f"{_LET_LAND} AND run = %s RETURNING *", (now, reason, run))
    return rows_as(cursor, _crawl)


_LET_LAND = "UPDATE crawl SET state = 'landed', run = NULL, taken_at = NULL, landed_at = %s, reason = %s WHERE state = 'taken'"


def note_failure(cursor: Cursor, run: str, reason: str) -> None:
    """Record with the crawl that a run took why the run failed; cleared when the same run is tried again."""
    cursor.execute("UPDATE crawl SET reason = %s WHERE run = %s", (reason[:1000], run))
