"""A published version read back and added up again: does its manifest agree with itself, with its parts and with the corpus?"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from samplemix_core.errors import ManifestError, ObjectStoreError
from samplemix_core.manifest.catalogue import (
    COLLECTED,
    CROISSANT,
    LATEST,
    MANIFEST,
    SUMS,
    Version,
    parse_sums,
    part_table,
    version_directory,
)
from samplemix_core.manifest.croissant import described_content
from samplemix_core.manifest.format import (
    PHASE_PREFIX,
    SOURCES,
    Manifest,
    PartFile,
    ShardEntry,
    content_digest,
    copies_in,
    parse_json,
    shards_digest,
)
from samplemix_core.manifest.parts import Place, canonical, check_rows, mixture_tokens
from samplemix_core.manifest.sources import entries, read_sources
from samplemix_core.sample_key import keys_to_bytes, sample_keys

SHARE_TOLERANCE = 1e-9
"""Shares are rounded quotients."""

_NAMED = 5
"""Shards named in a problem."""


ShardsOfSnapshot = Callable[[str], Iterable[ShardEntry]]
"""The shards of a snapshot as the corpus lists them now."""


@dataclass(frozen=True)
class Problem:
    """An inconsistency: where it is, and what."""

    place: str
    what: str

    def __str__(self) -> str:
        return f"{self.place}: {self.what}"


@dataclass(frozen=True)
class VerifyReport:
    """What was counted in the parts, and everything that disagrees with the manifest."""

    name: str
    version: int
    parts: int
    rows: int
    copies: int
    tokens: int
    problems: tuple[Problem, ...]

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON values."""
        return {
            "name": self.name,
            "version": self.version,
            "ok": not self.problems,
            "parts": self.parts,
            "rows": self.rows,
            "copies": self.copies,
            "tokens": self.tokens,
            "problems": [{"place": problem.place, "what": problem.what} for problem in self.problems],
        }

    def lines(self) -> list[str]:
        """Return the report for people: one line of figures, then one per problem."""
        counts = f"{self.parts} parts, {self.rows} samples, {self.copies} copies, {self.tokens} tokens"
        verdict = f"{len(self.problems)} problems" if self.problems else "all agree with the manifest"
        return [f"{self.name} version {self.version}: {counts}: {verdict}", *map(str, self.problems)]


def verify(version: Version, shards: ShardsOfSnapshot | None = None) -> VerifyReport:
    """Check a published version against its manifest.

    Its parts exist with the published bytes and the schema, sorted without repeats, with copies within 1..max_copies and keys that
    are the hash of their sample; their rows, copies and tokens add up to the manifest's, in total and for each domain. The manifest
    agrees with itself, the budget is met within one document, nothing else is in the version's directory, and manifest.json and
    croissant.json have the SHA-256 that SHA256SUMS says. Its sources are the shards whose digest the lineage has, and every row is
    in one of them. (A version of an earlier release has no SHA256SUMS or no sources.) latest.json names this version or a later one
    that exists. With `shards`, the corpus still has the shards, etags and sizes that the mixture was made from; those that differ
    are named. Holds one part in memory.
    """
    manifest, count = version.manifest, _Count()
    problems = [*manifest_problems(manifest), *_objects(version), *_latest(version)]
    if version.is_collected(manifest.parts[0].path):
        problems.append(Problem("parts", "were collected as garbage; publishing the same mixture puts them back"))
        return VerifyReport(manifest.name, manifest.version, 0, 0, 0, 0, tuple(problems))
    for part in manifest.parts:
        problems.extend(count.part(version, part))
    problems.extend(count.disagreements(manifest))
    mixed: dict[str, list[ShardEntry]] = {}
    if manifest.sources is not None:
        try:
            mixed = _by_snapshot(read_sources(version))
        except (ManifestError, ObjectStoreError) as error:
            problems.append(Problem(SOURCES, f"can't be read: {error}"))
        else:
            problems.extend(_sources(manifest, mixed, count.shards))
    if shards is not None:
        problems.extend(_corpus(manifest, mixed, shards))
    return VerifyReport(
        manifest.name, manifest.version, len(manifest.parts), count.rows, count.copies, count.tokens, tuple(problems)
    )


def manifest_problems(manifest: Manifest) -> list[Problem]:
    """Every figure of a manifest that its other figures contradict; none in a sound one."""
    return [
        *_sums(manifest),
        *_budget(manifest),
        *_shares(manifest),
    ]


def _sums(manifest: Manifest) -> Iterator[Problem]:
    counts, domains, parts = manifest.counts, manifest.domains, manifest.parts
    claims = {
        "content_digest": (manifest.content_digest, content_digest(parts), "its parts' hashes"),
        "samples": (manifest.samples, sum(part.rows for part in parts), "its parts' rows"),
        "realised_tokens": (manifest.realised_tokens, sum(part.tokens for part in parts), "its parts' tokens"),
        "counts.documents": (
            counts.documents,
            counts.scored + counts.quarantined + counts.duplicates,
            "scored + quarantined + duplicates",
        ),
        "counts.eligible": (counts.eligible, sum(row.source_samples for row in domains), "the domains' source samples"),
        "domains, samples": (sum(row.samples for row in domains), manifest.samples, "samples"),
        "domains, copies": (sum(row.copies for row in domains), manifest.copies, "copies"),
        "domains, mixture tokens": (sum(row.mixture_tokens for row in domains), manifest.realised_tokens, "realised_tokens"),
    }
    claims["format_version"] = (manifest.format_version, 2 if manifest.phases else 1, "by whether there are phases")
    if manifest.phases:
        for field in ("realised_tokens", "copies"):
            together = sum(getattr(phase, field) for phase in manifest.phases)
            claims[f"phases, {field}"] = (together, getattr(manifest, field), field)
        last = manifest.phases[-1]
        left = manifest.budget_tokens - sum(phase.realised_tokens for phase in manifest.phases[:-1])
        claims[f"phases, {last.name}, budget_tokens"] = (last.budget_tokens, left, "what earlier phases leave of the budget")
    for place, (claimed, expected, source) in claims.items():
        if claimed != expected:
            yield Problem(place, f"{claimed}, but {source}: {expected}")
    for phase in manifest.phases:
        if phase.held_back > counts.eligible:
            yield Problem(f"phases, {phase.name}, held_back", f"{phase.held_back}, more than the {counts.eligible} eligible")
        if phase.solver.max_copies > manifest.solver.max_copies:
            most = f"{phase.solver.max_copies}, more than the {manifest.solver.max_copies} over all phases"
            yield Problem(f"phases, {phase.name}, max_copies", most)
    if counts.eligible > counts.scored:
        yield Problem("counts.eligible", f"{counts.eligible}, more than the {counts.scored} scored")
    left_out = sum(counts.left_out.values())
    if left_out and counts.eligible + left_out != counts.scored:
        yield Problem("counts.left_out", f"{left_out}, but {counts.scored} scored - {counts.eligible} eligible")
    named = {
        "parts": [part.path for part in parts],
        "domains": [row.domain for row in domains],
        "phases": list(manifest.phase_names),
    }
    for kind, names in named.items():
        if len(set(names)) != len(names):
            yield Problem(kind, f"a name comes twice: {', '.join(names)}")


def _budget(manifest: Manifest) -> Iterator[Problem]:
    whole = {"realised_tokens": (manifest.budget_tokens, manifest.realised_tokens, manifest.solver.next_tokens)}
    for phase in manifest.phases:
        whole[f"phases, {phase.name}, realised_tokens"] = (phase.budget_tokens, phase.realised_tokens, phase.solver.next_tokens)
    for place, (budget, realised, next_tokens) in whole.items():
        missing = budget - realised
        if missing and not 0 < missing < next_tokens:
            yield Problem(place, f"{realised}, not within one document ({next_tokens} tokens) of the budget of {budget}")


def _shares(manifest: Manifest) -> Iterator[Problem]:
    source_tokens = max(1, sum(row.source_tokens for row in manifest.domains))
    for row in manifest.domains:
        expected = {
            "source_share": row.source_tokens / source_tokens,
            "mixture_share": row.mixture_tokens / manifest.realised_tokens,
            "mean_copies": row.copies / max(1, row.source_samples),
        }
        for field, value in expected.items():
            if abs(getattr(row, field) - value) > SHARE_TOLERANCE * max(1.0, value):
                yield Problem(f"domains, {row.domain}, {field}", f"{getattr(row, field)}, but its counts give {value}")
        if row.samples > row.source_samples:
            yield Problem(f"domains, {row.domain}, samples", f"{row.samples}, more than its {row.source_samples} source samples")


class _Count:
    """Sums over the parts so far."""

    def __init__(self) -> None:
        self.rows = self.copies = self.tokens = 0
        self.domains: dict[str, tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
        self.phases: dict[str, tuple[int, int, int]] = defaultdict(lambda: (0, 0, 0))
        self.shards: set[str] = set()
        self.last: Place | None = None

    def part(self, version: Version, part: PartFile) -> Iterator[Problem]:
        """Add one part, and say what is wrong with it."""
        store, key, phases = version.mixtures.store, version.key(part.path), version.manifest.phase_names
        if store.head(key) is None:
            yield Problem(part.path, "is missing")
            return
        data, _ = store.get(key)
        digest = hashlib.sha256(data).hexdigest()
        if digest != part.sha256:
            yield Problem(part.path, f"has SHA-256 {digest}, the manifest says {part.sha256}")
        try:
            own = [name for name in pq.read_schema(pa.BufferReader(data)).names if name.startswith(PHASE_PREFIX)]
            if own != [copies_in(phase) for phase in phases]:
                there, wanted = ", ".join(own) or "of no phase", ", ".join(phases) or "none"
                yield Problem(part.path, f"has the columns {there}, and phases are {wanted}")
            table = canonical(part_table(data, phases), phases)
        except (pa.ArrowException, OSError, ManifestError) as error:
            yield Problem(part.path, f"can't be read as a part: {error}")
            return
        if table.num_rows:
            self.last, problems = check_rows(table, self.last, phases)
            yield from (Problem(part.path, what) for what in problems)
            yield from _rows(table, part, version.manifest)
            self.shards.update(table["shard"].chunk(0).dictionary.to_pylist())
        tokens = mixture_tokens(table)
        total = pc.sum(tokens).as_py() or 0
        for what, counted, claimed in (("rows", table.num_rows, part.rows), ("tokens", total, part.tokens)):
            if counted != claimed:
                yield Problem(part.path, f"has {counted} {what}, the manifest says {claimed}")
        self.rows += table.num_rows
        self.tokens += total
        self.copies += pc.sum(table["copies"]).as_py() or 0
        for phase in phases:
            copies, old = table[copies_in(phase)].to_numpy().astype(np.int64), self.phases[phase]
            sums = int(np.count_nonzero(copies)), int(copies.sum()), int((copies * table["n_tokens"].to_numpy()).sum())
            self.phases[phase] = (old[0] + sums[0], old[1] + sums[1], old[2] + sums[2])
        by_domain = (
            table.append_column("tokens", tokens)
            .group_by("domain")
            .aggregate([("row", "count"), ("copies", "sum"), ("tokens", "sum")])
        )
        for row in by_domain.to_pylist():
            old = self.domains[row["domain"]]
            self.domains[row["domain"]] = (old[0] + row["row_count"], old[1] + row["copies_sum"], old[2] + row["tokens_sum"])

    def disagreements(self, manifest: Manifest) -> Iterator[Problem]:
        """Yield where the sums differ from the manifest's."""
        totals = {"samples": self.rows, "copies": self.copies, "realised_tokens": self.tokens}
        for field, counted in totals.items():
            if counted != getattr(manifest, field):
                yield Problem(field, f"the parts add up to {counted}, the manifest says {getattr(manifest, field)}")
        domains = {row.domain: (row.samples, row.copies, row.mixture_tokens) for row in manifest.domains}
        phases = {phase.name: (phase.samples, phase.copies, phase.realised_tokens) for phase in manifest.phases}
        for kind, claimed, found in (("domains", domains, self.domains), ("phases", phases, self.phases)):
            for name in sorted(claimed.keys() | found.keys()):
                counts, figures = found.get(name, (0, 0, 0)), claimed.get(name, (0, 0, 0))
                if counts != figures:
                    yield Problem(
                        f"{kind}, {name}",
                        "the parts have {} samples, {} copies, {} tokens".format(*counts)
                        + ", the manifest says {}, {}, {}".format(*figures),
                    )


def _rows(table: pa.Table, part: PartFile, manifest: Manifest) -> Iterator[Problem]:
    caps = [("copies", "", manifest.solver.max_copies)]
    caps += [(copies_in(each.name), f" in phase {each.name}", each.solver.max_copies) for each in manifest.phases]
    for column, where, max_copies in caps:
        most = pc.max(table[column]).as_py()
        if most > max_copies:
            yield Problem(part.path, f"has a sample with {most} copies{where}, the manifest allows {max_copies}")
    row, keys = table["row"].to_numpy(), table["sample_key"].chunk(0)
    stored = np.frombuffer(keys.buffers()[1], dtype="V16")[keys.offset : keys.offset + len(keys)]
    snapshot, shard = table["snapshot"].chunk(0), table["shard"].chunk(0)
    pairs = snapshot.indices.to_numpy().astype(np.int64) * len(shard.dictionary) + shard.indices.to_numpy()
    starts = np.flatnonzero(np.diff(pairs, prepend=-1))
    for start, end in zip(starts, [*starts[1:], pairs.size], strict=True):
        names = snapshot[int(start)].as_py(), shard[int(start)].as_py()
        wrong = np.flatnonzero(keys_to_bytes(sample_keys(*names, row[start:end])) != stored[start:end])
        if wrong.size:
            yield Problem(part.path, f"{names[1]} row {row[start + wrong[0]]} has a sample_key that is not its own")
            return


def _objects(version: Version) -> Iterator[Problem]:
    """Yield what is wrong in the version's directory, apart from the parts' content."""
    store, prefix = version.mixtures.store, version.key("")
    files = version.manifest.files
    found = {info.key[len(prefix) :] for info in store.list(prefix)}
    for name in sorted(found - {MANIFEST, CROISSANT, SUMS, COLLECTED, *files}):
        yield Problem(name, "lies in the version's directory, but is no part of it")
    croissant = store.get(version.key(CROISSANT))[0] if CROISSANT in found else None
    if croissant is None:
        yield Problem(CROISSANT, "is missing")
    elif described_content(croissant) != version.manifest.content_digest:
        yield Problem(CROISSANT, "describes other parts than the manifest")
    if SUMS not in found:
        return
    sums = parse_sums(store.get(version.key(SUMS))[0])
    if sums is None:
        yield Problem(SUMS, "can't be read as what sha256sum writes")
        return
    there = {**files, MANIFEST: version.sha256}
    if croissant is not None:
        there[CROISSANT] = hashlib.sha256(croissant).hexdigest()
    for name in sorted(sums.keys() | there.keys()):
        if name not in sums:
            yield Problem(SUMS, f"does not name {name}")
        elif name in there and there[name] != sums[name]:
            yield Problem(name, f"has SHA-256 {there[name]}, {SUMS} says {sums[name]}")
        elif name not in there:
            yield Problem(name, f"is named by {SUMS}, but is no part of the version")


def _latest(version: Version) -> Iterator[Problem]:
    """Yield what is wrong with the mixture's latest.json, which should name this version or a later one; a lone copy has none."""
    mixtures, manifest = version.mixtures, version.manifest
    key = mixtures.prefix(manifest.name) + LATEST
    if mixtures.store.head(key) is None:
        return
    try:
        named = parse_json(mixtures.store.get(key)[0], LATEST)
    except ManifestError as error:
        yield Problem(LATEST, str(error))
        return
    number = named.get("version")
    if not isinstance(number, int) or number < manifest.version:
        yield Problem(LATEST, f"names version {number}, and version {manifest.version} is published")
        return
    expected: dict[str, object] = {"version": number, "manifest": f"{version_directory(number)}/{MANIFEST}"}
    if number == manifest.version:
        expected["manifest_sha256"] = version.sha256
    elif mixtures.store.head(mixtures.key(manifest.name, number, MANIFEST)) is None:
        yield Problem(LATEST, f"names version {number}, which is not published")
    for field, value in expected.items():
        # An earlier release did not write the digest.
        if named.get(field, value if field == "manifest_sha256" else None) != value:
            yield Problem(LATEST, f"says {field} is {named.get(field)!r}, it is {value!r}")


def _by_snapshot(sources: pa.Table) -> dict[str, list[ShardEntry]]:
    found: dict[str, list[ShardEntry]] = defaultdict(list)
    for entry in entries(sources):
        found[entry[0].partition("/")[0]].append(entry)
    return found


def _sources(manifest: Manifest, mixed: Mapping[str, list[ShardEntry]], named: Collection[str]) -> Iterator[Problem]:
    """Yield where a version's sources differ from its lineage, or lack a shard that its parts name."""
    assert manifest.sources is not None
    rows = sum(map(len, mixed.values()))
    if rows != manifest.sources.rows:
        yield Problem(SOURCES, f"has {rows} shards, the manifest says {manifest.sources.rows}")
    for snapshot in manifest.lineage.snapshots:
        if shards_digest(mixed.get(snapshot.name, [])) != snapshot.shards_digest:
            yield Problem(SOURCES, f"has other shards of snapshot {snapshot.name} than the lineage")
    missing = sorted(set(named) - {path for shards in mixed.values() for path, _, _ in shards})
    if missing:
        yield Problem(SOURCES, f"lacks {_named(missing)}")


def _corpus(manifest: Manifest, mixed: Mapping[str, list[ShardEntry]], shards: ShardsOfSnapshot) -> Iterator[Problem]:
    for snapshot in manifest.lineage.snapshots:
        listed = list(shards(snapshot.name))
        if shards_digest(listed) == snapshot.shards_digest:
            continue
        what = f"has {len(listed)} shards now, {snapshot.shards} when it was mixed; a path, etag or size has changed"
        if snapshot.name in mixed:
            now, then = ({path: rest for path, *rest in found} for found in (listed, mixed[snapshot.name]))
            kinds = {
                "changed": [path for path in then if path in now and now[path] != then[path]],
                "gone": [path for path in then if path not in now],
                "new": [path for path in now if path not in then],
            }
            what += "".join(f"; {kind}: {_named(sorted(paths))}" for kind, paths in kinds.items() if paths)
        yield Problem(f"snapshot {snapshot.name}", what)


def _named(paths: Sequence[str]) -> str:
    """Paths for people: the first of them, and how many more there are."""
    more = f" and {len(paths) - _NAMED:,} more" if len(paths) > _NAMED else ""
    return ", ".join(paths[:_NAMED]) + more
