"""Near-duplicates on a Dask worker: sign a shard's texts, match signatures, fetch what matched, and compare it in full."""

import hashlib
import logging
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from samplemix_core.database import near_duplicates
from samplemix_core.database.connection import transaction
from samplemix_core.database.near_duplicates import SignatureFile, Texts
from samplemix_core.database.upkeep import hold_file
from samplemix_core.deployment import Deployment
from samplemix_core.errors import CorpusError, ModelError
from samplemix_core.logs import event
from samplemix_core.overlap.minhash import bands
from samplemix_core.overlap.pairs import candidates, similarities
from samplemix_core.overlap.recipe import BANDS, LEAST_SIMILARITY
from samplemix_core.overlap.words import shingle_sets, shingles
from samplemix_core.worker.artifacts import download
from samplemix_core.worker.jobs import CompareTextsTask, MatchTask, ShingleTask, SignTask
from samplemix_core.worker.texts import read_texts

log = logging.getLogger(__name__)

_PAIRS_AT_ONCE, _BYTES_AT_ONCE = 2_000, 64 * 2**20
_BAND = "band_{:02d}"


def sign_shard(task: SignTask) -> int:
    """Sign the different texts of a scored shard, store the signatures, and enter them; returns how many texts there are."""
    started, deployment = time.monotonic(), Deployment.load()
    with deployment.transaction() as cursor:
        rows, texts = near_duplicates.shard_texts(cursor, task.shard)
    found = [np.empty((0, BANDS), dtype=np.uint64)]
    some = [np.empty(0, dtype=np.bool_)]
    for part in read_texts(deployment.store(task.corpus_uri), task.shard, task.reader, rows, texts.as_arrow()):
        hashes, begins = shingles(part)
        found.append(bands(hashes, begins))
        some.append(np.diff(begins) > 0)
    # A text without a word is like no other.
    worded = np.flatnonzero(np.concatenate(some))
    signed, signatures = texts.take(worded), np.concatenate(found)[worded]
    table = pa.table(
        {"high": signed.high, "low": signed.low, **{_BAND.format(band): signatures[:, band] for band in range(BANDS)}},
    )
    store = deployment.state
    with deployment.scratch() as directory:
        path = directory / "signatures.parquet"
        # Hashes can't be compressed.
        pq.write_table(table, path, compression="none", use_dictionary=False, write_page_checksum=True)
        digest = _sha256(path)
        key = f"{task.signature_prefix}.{digest[:32]}.parquet"
        with deployment.transaction() as cursor:
            hold_file(cursor, key)
            store.upload(key, path)
            near_duplicates.require_texts(cursor, task.shard, rows.size)
            file = SignatureFile(task.shard.shard_id, key, digest, worded.size, compared=False)
            near_duplicates.save_signatures(cursor, file, task.run, time.monotonic() - started)
    event(log, "signed", run=task.run, shard=task.shard.path, texts=int(worded.size), seconds=time.monotonic() - started)
    return int(worded.size)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class _Entries(NamedTuple):
    """Keys (m,) of texts (m,) in one band."""

    keys: npt.NDArray[np.uint64]
    texts: Texts
    is_new: npt.NDArray[np.bool_]


def match_bands(task: MatchTask) -> int:
    """Enter the pairs of texts that share a key in one of some bands, of which one at least is new; returns how many by band."""
    started, deployment = time.monotonic(), Deployment.load()
    with deployment.transaction() as cursor:
        files = near_duplicates.signature_files(cursor, task.corpus_id)
    found: dict[int, list[_Entries]] = {band: [] for band in task.bands}
    new = dict[int, npt.NDArray[np.uint64]]()
    with deployment.scratch() as directory:
        # New files first: of the others, only what shares a key with them is kept.
        for file in sorted(files, key=lambda file: file.compared):
            table = _signatures(deployment, file, directory / "signatures.parquet", task.bands)
            texts = Texts(table["high"].to_numpy(), table["low"].to_numpy())
            if file.compared and not new:
                new = {band: np.unique(np.concatenate([_NO_KEYS, *(each.keys for each in parts)])) for band, parts in found.items()}
            for band, entries in found.items():
                keys = table[_BAND.format(band)].to_numpy()
                here = np.flatnonzero(keys % np.uint64(task.parts) == task.part)
                if file.compared:
                    at = np.minimum(np.searchsorted(new[band], keys[here]), max(0, new[band].size - 1))
                    here = here[new[band][at] == keys[here]] if new[band].size else here[:0]
                entries.append(_Entries(keys[here], texts.take(here), np.full(here.size, not file.compared)))
    pairs = 0
    for parts in found.values():
        a, b = _candidates(_joined(parts))
        with deployment.transaction() as cursor:
            near_duplicates.add_candidates(cursor, task.corpus_id, a, b)
        pairs += a.high.size
    event(log, "matched", run=task.run, bands=len(task.bands), pairs=pairs, seconds=time.monotonic() - started)
    return pairs


_NO_KEYS = np.empty(0, dtype=np.uint64)


def _joined(parts: list[_Entries]) -> _Entries:
    return _Entries(
        np.concatenate([part.keys for part in parts]),
        Texts(np.concatenate([part.texts.high for part in parts]), np.concatenate([part.texts.low for part in parts])),
        np.concatenate([part.is_new for part in parts]),
    )


def _candidates(entries: _Entries) -> tuple[Texts, Texts]:
    """The candidates among entries of one band. A text that is in a compared file is not new, wherever else it is."""
    order = np.lexsort((entries.texts.low, entries.texts.high))
    texts = entries.texts.take(order)
    begins = np.concatenate([[True], (texts.high[1:] != texts.high[:-1]) | (texts.low[1:] != texts.low[:-1])])[: order.size]
    number = np.cumsum(begins) - 1
    each = texts.take(np.flatnonzero(begins))
    is_new = np.ones(each.high.size, dtype=np.bool_)
    np.logical_and.at(is_new, number, entries.is_new[order])
    pairs = candidates(entries.keys[order], number, each.low, is_new)
    return each.take(pairs[:, 0]), each.take(pairs[:, 1])


def _signatures(deployment: Deployment, file: SignatureFile, path: Path, numbers: tuple[int, ...]) -> pa.Table:
    """Some bands of a shard's signatures. Those of a file that is gone or damaged are forgotten, and made again by the next run."""
    try:
        download(deployment.state, file.key, file.sha256, path, what="A file of signatures", remedy="Run again: it is made again.")
    except ModelError as error:
        with deployment.transaction() as cursor:
            near_duplicates.forget_signatures(cursor, file.shard_id)
        # An error that passes would be tried again here, without the file.
        raise ModelError(error.what, "Run again: it is made again.") from error
    return pq.read_table(path, columns=["high", "low", *map(_BAND.format, numbers)], page_checksum_verification=True)


def fetch_shingles(task: ShingleTask) -> int:
    """Store the sets of shingles of some documents of a shard; returns how many."""
    started, deployment = time.monotonic(), Deployment.load()
    with deployment.transaction() as cursor:
        texts = near_duplicates.texts_at(cursor, task.shard, task.rows)
        blocks = near_duplicates.row_blocks(cursor, task.shard)
    done = 0
    if texts.high.size != task.rows.size:
        raise CorpusError(f"{task.shard.path} was forgotten, or is scored again.", "Run again.")
    for part in read_texts(deployment.store(task.corpus_uri), task.shard, task.reader, task.rows, texts.as_arrow(), blocks):
        hashes, begins = shingle_sets(part)
        own = texts.take(np.arange(done, done + len(part)))
        with deployment.transaction() as cursor:
            near_duplicates.save_shingles(cursor, task.corpus_id, own, hashes, begins)
        done += len(part)
    event(log, "fetched", run=task.run, shard=task.shard.path, texts=done, seconds=time.monotonic() - started)
    return done


def compare_texts(task: CompareTextsTask) -> int:
    """Compare pairs of texts in full, and enter those that are alike; returns how many were compared."""
    started, database = time.monotonic(), Deployment.load().database
    after, compared, alike = (f"{0:032x}", f"{0:032x}"), 0, 0
    while True:
        with transaction(database) as cursor:
            found = near_duplicates.candidates_between(
                cursor, task.corpus_id, task.first, task.last, after, _PAIRS_AT_ONCE, _BYTES_AT_ONCE
            )
            similarity = similarities(found.hashes, found.begins, found.a, found.b)
            chosen = np.flatnonzero(similarity >= LEAST_SIMILARITY)
            pairs = [(found.texts[found.a[i]], found.texts[found.b[i]], float(similarity[i])) for i in chosen.tolist()]
            near_duplicates.save_pairs(cursor, task.corpus_id, pairs)
        compared, alike = compared + len(similarity), alike + len(pairs)
        if found.is_last:
            break
        after = found.texts[found.a[-1]], found.texts[found.b[-1]]
    event(log, "compared", run=task.run, pairs=compared, alike=alike, seconds=time.monotonic() - started)
    return compared
