"""How a mixture version differs from its parent: samples, tokens by domain, and what was kept of each new crawl."""

from collections.abc import Iterator
from typing import Any

from psycopg2.extras import Json

from samplemix_core.database.connection import Cursor, Named, rows_as
from samplemix_core.errors import ManifestError
from samplemix_core.frozen import FrozenModel

_SHOWN = 20


class DomainChange(FrozenModel):
    """Tokens of a domain in a version and in its parent."""

    domain: str
    tokens_before: int
    tokens: int


class CrawlKept(FrozenModel):
    """A snapshot that the parent didn't include: its scored documents and their tokens, and what the version holds of them."""

    snapshot: str
    documents: int
    tokens: int
    kept: int
    copies: int
    kept_tokens: int


class Changes(FrozenModel):
    """A version compared with its parent; in a first version, every sample entered. Domains are sorted by change in tokens."""

    mixture: str
    version: int
    parent_version: int | None
    entered: int
    departed: int
    more_copies: int
    fewer_copies: int
    same_copies: int
    domains: tuple[DomainChange, ...]
    crawls: tuple[CrawlKept, ...]

    def lines(self) -> Iterator[str]:
        """Yield lines for people: a sentence and one or two tables."""
        against = f"against version {self.parent_version}" if self.parent_version is not None else "the first version"
        yield (
            f"{self.mixture} version {self.version}, {against}: {self.entered:,} samples entered, {self.departed:,} departed,"
            f" {self.more_copies:,} have more copies, {self.fewer_copies:,} fewer, {self.same_copies:,} as many as before"
        )
        if self.crawls:
            yield f"{'new crawl':<24}{'documents':>12}{'kept':>12}{'share':>8}{'copies':>12}{'tokens':>16}{'kept tokens':>16}"
            for crawl in self.crawls:
                yield (
                    f"{crawl.snapshot:<24}{crawl.documents:>12,}{crawl.kept:>12,}{crawl.kept / max(1, crawl.documents):>8.1%}"
                    f"{crawl.copies:>12,}{crawl.tokens:>16,}{crawl.kept_tokens:>16,}"
                )
        yield f"{'domain':<24}{'tokens before':>16}{'tokens':>16}{'change':>16}"
        for domain in self.domains[:_SHOWN]:
            yield f"{domain.domain:<24}{domain.tokens_before:>16,}{domain.tokens:>16,}{domain.tokens - domain.tokens_before:>+16,}"
        if len(self.domains) > _SHOWN:
            yield f"and {len(self.domains) - _SHOWN} domains that changed less"


def version_changes(cursor: Cursor, mixture: str, version: int) -> Changes:
    """Return what a recorded version changed, either from the table or counted now and stored there.

    Counting makes one pass over the samples of both versions and one over those of the new snapshots. Raises ManifestError if the
    version or its parent is not recorded in this database.
    """
    cursor.execute(
        "SELECT mixture_id, parent_version FROM mixture WHERE name = %s AND version = %s FOR NO KEY UPDATE", (mixture, version)
    )
    found = rows_as(cursor, Named)
    if not found:
        raise ManifestError(f"Version {version} of mixture {mixture!r} is not recorded in this database.", "Publish it from here.")
    mixture_id, parent_version = found[0]["mixture_id"], found[0]["parent_version"]
    cursor.execute("SELECT mixture_id FROM mixture WHERE name = %s AND version = %s", (mixture, parent_version))
    parent_id = next((parent for (parent,) in cursor.fetchall()), None)
    if parent_version is not None and parent_id is None:
        raise ManifestError(
            f"Version {parent_version} of mixture {mixture!r}, the parent of {version}, is not recorded in this database.",
            "Only versions that were published from here can be compared.",
        )
    cursor.execute("SELECT * FROM mixture_change WHERE mixture_id = %s", (mixture_id,))
    known = rows_as(cursor, Named)
    if not known:
        ids = {"new": mixture_id, "old": parent_id}
        known = [{**ids, **_samples(cursor, ids), "domains": _domains(cursor, ids), "crawls": _crawls(cursor, ids)}]
        cursor.execute(
            """
            INSERT INTO mixture_change VALUES (%(new)s, %(old)s, %(entered)s, %(departed)s, %(more_copies)s, %(fewer_copies)s,
                                               %(same_copies)s, %(domains)s, %(crawls)s)
            """,
            {**known[0], "domains": Json(known[0]["domains"]), "crawls": Json(known[0]["crawls"])},
        )
    values = {name: value for name, value in known[0].items() if name in Changes.model_fields}
    return Changes(mixture=mixture, version=version, parent_version=parent_version, **values)


def _samples(cursor: Cursor, ids: dict[str, Any]) -> dict[str, int]:
    cursor.execute(
        """
        SELECT count(*) FILTER (WHERE old.row IS NULL) AS entered, count(*) FILTER (WHERE new.row IS NULL) AS departed,
               count(*) FILTER (WHERE new.copies > old.copies) AS more_copies,
               count(*) FILTER (WHERE new.copies < old.copies) AS fewer_copies,
               count(*) FILTER (WHERE new.copies = old.copies) AS same_copies
        FROM (SELECT snapshot_id, shard_id, row, copies FROM mixture_sample WHERE mixture_id = %(new)s) AS new
        FULL JOIN (SELECT snapshot_id, shard_id, row, copies FROM mixture_sample WHERE mixture_id = %(old)s) AS old
            ON (old.snapshot_id, old.shard_id, old.row) = (new.snapshot_id, new.shard_id, new.row)
        """,
        ids,
    )
    return rows_as(cursor, Named)[0]


def _domains(cursor: Cursor, ids: dict[str, Any]) -> list[dict[str, Any]]:
    cursor.execute(
        """
        SELECT domain, coalesce(old.mixture_tokens, 0) AS tokens_before, coalesce(new.mixture_tokens, 0) AS tokens
        FROM (SELECT domain, mixture_tokens FROM mixture_domain WHERE mixture_id = %(new)s) AS new
        FULL JOIN (SELECT domain, mixture_tokens FROM mixture_domain WHERE mixture_id = %(old)s) AS old USING (domain)
        ORDER BY abs(coalesce(new.mixture_tokens, 0) - coalesce(old.mixture_tokens, 0)) DESC, domain COLLATE "C"
        """,
        ids,
    )
    return rows_as(cursor, Named)


def _crawls(cursor: Cursor, ids: dict[str, Any]) -> list[dict[str, Any]]:
    cursor.execute(
        """
        SELECT snapshot.name AS snapshot, count(*) AS documents, sum(sample.n_tokens)::bigint AS tokens,
               count(held.row) AS kept, coalesce(sum(held.copies), 0)::bigint AS copies,
               coalesce(sum(sample.n_tokens::bigint * held.copies), 0)::bigint AS kept_tokens
        FROM snapshot
        JOIN sample USING (snapshot_id)
        LEFT JOIN mixture_sample AS held
            ON held.mixture_id = %(new)s AND held.snapshot_id = sample.snapshot_id
            AND held.shard_id = sample.shard_id AND held.row = sample.row
        WHERE snapshot.snapshot_id IN (
            SELECT snapshot_id FROM mixture_snapshot WHERE mixture_id = %(new)s
            EXCEPT SELECT snapshot_id FROM mixture_snapshot WHERE mixture_id = %(old)s
        )
        GROUP BY snapshot.name ORDER BY snapshot.name COLLATE "C"
        """,
        ids,
    )
    return rows_as(cursor, Named)
