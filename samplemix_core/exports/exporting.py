"""Export a version: its parts on the workers of a Dask cluster, or in processes of this machine; then what lists them all.

samplemix.json is written last: an export without it is not complete, and goes on when it is asked for again.
"""

import hashlib
import json
import logging
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import wait as wait_for_processes
from typing import Any

from samplemix_core.config.export import ExportConfig
from samplemix_core.deployment import Deployment, Prefix
from samplemix_core.errors import (
    AccountingError,
    CancelledRunError,
    ConfigError,
    ObjectStoreError,
    PreconditionFailedError,
    SampleMixError,
)
from samplemix_core.exports.export_format import Facts, amount, json_bytes
from samplemix_core.exports.formats import FORMATS
from samplemix_core.exports.part import RECORDS, ChunkRecord, ExportTask, export_part, read_record, require_written
from samplemix_core.identity import fingerprint
from samplemix_core.manifest.catalogue import EXPORTS, SUMS, Version, parse_sums, sums_text, version_directory
from samplemix_core.objects.interface import ObjectStore
from samplemix_core.progress import Progress, Report
from samplemix_core.reading.versions import open_version
from samplemix_core.settings import EXPORT_PLACES, is_among

log = logging.getLogger(__name__)

COMPLETE = "samplemix.json"
"""What the export is of; written when all else is there."""

_CLAIM = f"{RECORDS}/export.json"
"""What an export that is not complete is of."""

_STRIPE_CHUNKS, _MOST_STRIPES = 4, 16
"""A part is shared out in stripes of at least so many chunks, and in at most so many: a compressed shard is read anew by each."""

_ATTEMPTS = 5
_FIRST_WAIT_SECONDS = 0.5
_POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Exported:
    """A complete export: what it holds, and whether this call made it."""

    uri: str
    manifest: str
    format: str
    samples: int
    copies: int
    tokens: int
    files: int
    bytes: int
    created: bool


def export_mixture(
    deployment: Deployment,
    name: str,
    version: int | None,
    uri: str,
    config: ExportConfig,
    report: Report,
    cancelled: threading.Event,
    *,
    workers: int | None = None,
    corpus_root: str | None = None,
) -> Exported:
    """Export a version of a mixture, or go on with it. With `workers`, in so many processes here; else on the Dask cluster.

    Raises ConfigError if something else is at the URI, AccountingError if what was written doesn't add up to the manifest,
    CancelledRunError if `cancelled` is set, and what export_part() raises.
    """
    found, store, task, complete = _prepared(deployment, name, version, uri, config, corpus_root)
    if complete is not None:
        # In case the one that made it was stopped before it was done with everything.
        _settle(store, task, found)
        return complete
    claim = json_bytes({"export": task.identity(found), **task.format(found).origin})
    with suppress(PreconditionFailedError):
        store.put(_CLAIM, claim, if_none_match=True)
    if store.get(_CLAIM)[0] != claim:
        raise _other(store, claim=True)
    # Before the first part is read, so that the version isn't collected as garbage meanwhile.
    note_export(found, task)
    total = amount(found.manifest, config).samples
    report(Progress("export", 0, total, unit="documents"))
    tasks = _tasks(task, found)
    done = _here(tasks, workers, cancelled) if workers else _on_cluster(deployment, tasks, found, cancelled)
    for documents in done:
        report(Progress("export", documents, total, documents=documents, unit="documents"))
    return _finish(store, task, found)


def _prepared(
    deployment: Deployment, name: str, version: int | None, uri: str, config: ExportConfig, corpus_root: str | None = None
) -> tuple[Version, ObjectStore, ExportTask, "Exported | None"]:
    """What is to be exported where, and the export if it is complete. What can't work fails here, before anything is written."""
    found, store = open_version(deployment, name, version), deployment.store(uri)
    amount(found.manifest, config)
    task = ExportTask(found.uri, config, store.uri, corpus_root=corpus_root)
    made = task.format(found)
    # An index that can't be written is an error now, not after all else.
    made.index([])
    own = [] if deployment.s3_bucket is None else [f"{deployment.state_root}/{prefix}" for prefix in Prefix]
    if is_among(store.uri, own):
        raise ConfigError(f"{store.uri} is the platform's own place.", "Give another.")
    return found, store, task, _complete(store, task, found)


def require_place(deployment: Deployment, uri: str, corpora: Sequence[str]) -> None:
    """Raise ConfigError for a place that a form may not name: who may fill it in need not be one who may write every file.

    Below one of the `corpora`, an export would be a crawl of it.
    """
    if is_among(uri, corpora):
        raise ConfigError(f"{uri} is in a corpus, of which the export would be a part.", "Give another place.")
    if not is_among(uri, deployment.export_places):
        raise ConfigError(
            f"The form may not name {uri}: exports may go to {', '.join(deployment.export_places) or 'no place'}.",
            f"Export from the command line, or add the place to {EXPORT_PLACES}.",
        )


def describe_export(deployment: Deployment, name: str, version: int | None, uri: str, config: ExportConfig) -> dict[str, Any]:
    """What would be exported, without writing anything. Raises as export_mixture() does for what can't work."""
    found, store, _, complete = _prepared(deployment, name, version, uri, config)
    manifest, exporting = found.manifest, FORMATS[config.format]
    chunk = config.chunk_tokens or exporting.chunk_tokens
    return {
        "manifest": found.uri,
        "format": config.format,
        "what": exporting.what,
        "uri": store.uri,
        **({"phase": config.phase} if config.phase else {}),
        **amount(manifest, config)._asdict(),
        "parts": len(manifest.parts),
        "tokens_per_file": chunk,
        "complete": complete is not None,
    }


def _complete(store: ObjectStore, task: ExportTask, version: Version) -> Exported | None:
    """The export, if it is complete; None if it may be begun or gone on with. Raises ConfigError if something else is there."""
    identity = task.identity(version)
    for key in (COMPLETE, _CLAIM):
        if store.head(key) is None:
            continue
        found = _read(store, key)
        if found.get("export") != identity:
            raise _other(store, claim=key == _CLAIM)
        if key == _CLAIM:
            return None
        listed = {info.key for info in store.list()}
        lost = sorted((parse_sums(store.get(SUMS)[0]) or {}).keys() - listed) if SUMS in listed else [SUMS]
        if lost:
            raise ConfigError(
                f"The export at {store.uri} was complete, and lacks {len(lost):,} files now, such as {lost[0]}.",
                "Put them back, or empty this place and export again.",
            )
        totals = {name: found[name] for name in ("samples", "copies", "tokens", "files", "bytes")}
        return Exported(store.uri, task.manifest, task.config.format, **totals, created=False)
    first = next((info.key for info in store.list()), None)
    if first is not None:
        raise ConfigError(f"{store.uri} is not empty: it has {first}.", "Give an empty place, or empty this one first.")
    return None


def _read(store: ObjectStore, key: str) -> dict[str, Any]:
    try:
        found = json.loads(store.get(key)[0])
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _other(store: ObjectStore, *, claim: bool) -> ConfigError:
    found = _read(store, _CLAIM if claim else COMPLETE)
    phase = f", phase {found['phase']}" if "phase" in found else ""
    what = f"of {found['name']} version {found['version']}{phase}" if {"name", "version"} <= found.keys() else "that can't be read"
    state = ", which is not complete" if claim else ""
    return ConfigError(f"{store.uri} holds another export, {what}{state}.", "Give another URI, or empty this one first.")


def _on_cluster(deployment: Deployment, tasks: Sequence[ExportTask], version: Version, cancelled: threading.Event) -> Iterator[int]:
    """Export on the workers of the Dask cluster; yield how many documents are done."""
    from samplemix_core.compute.fanout import Work, connect, fan_out

    parts = version.manifest.parts
    work = [Work(f"{parts[each.part].path}, stripe {each.stripe}", (each,), cost=parts[each.part].tokens) for each in tasks]
    documents = 0
    with connect(deployment) as client:
        for outcome in fan_out(client, "samplemix_core.exports.part:export_part", work, cancelled):
            if outcome.error is not None:
                raise outcome.error
            documents += outcome.result
            yield documents


def _tasks(task: ExportTask, version: Version) -> list[ExportTask]:
    """The stripes of all parts: a part of many chunks is shared out, so that all workers have something to do."""
    tasks = []
    chunk_tokens = task.config.chunk_tokens or FORMATS[task.config.format].chunk_tokens
    for number, part in enumerate(version.manifest.parts):
        stripes = max(1, min(_MOST_STRIPES, part.tokens // (chunk_tokens * _STRIPE_CHUNKS)))
        tasks += [replace(task, part=number, stripe=stripe, stripes=stripes) for stripe in range(stripes)]
    return tasks


def _here(tasks: Sequence[ExportTask], workers: int, cancelled: threading.Event) -> Iterator[int]:
    """Export in processes of this machine, or in this one if one is enough; yield how many documents are done."""
    if min(workers, len(tasks)) > 1:
        yield from _in_processes(tasks, workers, cancelled)
        return
    done = 0
    for task in tasks:
        done += _patiently(task, lambda _: _require_wanted(cancelled))
        yield done


def _require_wanted(cancelled: threading.Event) -> None:
    if cancelled.is_set():
        raise CancelledRunError("Cancelled.", "Export again: what is whole is kept.")


def _in_processes(tasks: Sequence[ExportTask], workers: int, cancelled: threading.Event) -> Iterator[int]:
    context = multiprocessing.get_context("spawn")
    told = context.Array("q", len(tasks))
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(min(workers, len(tasks)), context, _begin_worker, (told,)) as pool:
        running = {pool.submit(_in_pool, task, number) for number, task in enumerate(tasks)}
        try:
            while running:
                _require_wanted(cancelled)
                done, running = wait(running, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    future.result()
                yield sum(told[:])
        except BaseException:
            # Those that run would otherwise be waited for.
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise


_told: Any = None


def _begin_worker(told: Any) -> None:
    """Take where to tell the progress, and end when the parent does: a worker that is left alone writes on."""
    global _told
    _told = told
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait_for_processes([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _in_pool(task: ExportTask, number: int) -> None:
    _patiently(task, lambda done: _told.__setitem__(number, done))


def _patiently(task: ExportTask, on_progress: Callable[[int], None]) -> int:
    """Export a stripe, again after errors that may pass."""
    for attempt in range(1, _ATTEMPTS):
        try:
            return export_part(task, on_progress)
        except SampleMixError as error:
            if not error.may_pass:
                raise
            log.warning("%s Trying again (%s of %s).", error.what, attempt, _ATTEMPTS - 1)
            time.sleep(_FIRST_WAIT_SECONDS * 2.0**attempt)
    return export_part(task, on_progress)


def _finish(store: ObjectStore, task: ExportTask, version: Version) -> Exported:
    """List what was written, in the format's own way and ours, and say that the export is complete."""
    records = list(_records(store, task, version))
    identity = task.identity(version)
    written = {name: sum(getattr(record, name) for record in records) for name in ("samples", "copies", "tokens")}
    wanted = amount(version.manifest, task.config)._asdict()
    if written != wanted:
        if store.head(COMPLETE) is not None and (complete := _complete(store, task, version)) is not None:
            # Another process exported the same to the same place, and was faster.
            _settle(store, task, version)
            return complete
        raise AccountingError(f"The export holds {written}, and the manifest {wanted}.", "Empty its place, and export again.")
    files = sorted((facts for record in records for facts in record.files), key=lambda facts: facts.path)
    sums = {facts.path: facts.sha256 for facts in files}
    made = task.format(version)
    indexes = made.index(files)
    strange = [
        info.key
        for info in store.list()
        if info.key not in sums and info.key not in (*indexes, SUMS, COMPLETE) and not info.key.startswith(f"{RECORDS}/")
    ]
    if strange:
        raise ConfigError(
            f"{store.uri} has {len(strange):,} files that are not of this export, such as {strange[0]}.",
            "Remove them, and export again: what is whole is kept.",
        )
    for path, data in indexes.items():
        _put(store, path, data)
        sums[path] = hashlib.sha256(data).hexdigest()
    text = sums_text(sums)
    _put(store, SUMS, text)
    totals = {**written, "files": len(files), "bytes": sum(facts.size_bytes for facts in files)}
    facts = {
        **made.origin,
        "manifest_sha256": version.sha256,
        "format": task.config.format,
        "config": task.config.identity(),
        **totals,
    }
    _put(store, COMPLETE, json_bytes({**facts, "export": identity, "sums_sha256": hashlib.sha256(text).hexdigest()}))
    _settle(store, task, version)
    return Exported(store.uri, task.manifest, task.config.format, **totals, created=True)


def _settle(store: ObjectStore, task: ExportTask, version: Version) -> None:
    """Remove the records of a complete export, and note it with the mixture."""
    for info in list(store.list(f"{RECORDS}/")):
        store.delete(info.key)
    note_export(version, task)


def _records(store: ObjectStore, task: ExportTask, version: Version) -> Iterator[ChunkRecord]:
    for info in store.list(f"{RECORDS}/"):
        if info.key != _CLAIM:
            part, _, number = info.key.removeprefix(f"{RECORDS}/").removesuffix(".json").partition("-")
            record = read_record(store, task.identity(version), int(part), int(number))
            if record is not None:
                yield record


def _put(store: ObjectStore, path: str, data: bytes) -> None:
    store.put(path, data)
    require_written(store, Facts(path, len(data), hashlib.sha256(data).hexdigest(), {}))


def note_export(version: Version, task: ExportTask) -> None:
    """Note with the mixture that the version is exported, so that it isn't collected as garbage; where that can be written."""
    store, manifest = version.mixtures.store, version.manifest
    name = f"{version_directory(manifest.version)}-{fingerprint([task.uri, task.identity(version)])}"
    note = {"version": manifest.version, "uri": task.uri, "format": task.config.format, "phase": task.config.phase}
    try:
        store.put(f"{version.mixtures.prefix(manifest.name)}{EXPORTS}/{name}.json", json_bytes(note))
    except ObjectStoreError as error:
        log.warning("the export was not noted with the mixture, so that 'mixture gc' doesn't know it: %s", error)
