"""Enter scores made elsewhere as a scorer: their files are checked and merged into one sorted table."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from samplemix_core.corpus.shards import READ_SUFFIXES, format_of, is_shard
from samplemix_core.deployment import Deployment, model_file
from samplemix_core.errors import ConfigError, CorpusError
from samplemix_core.identity import content_hash
from samplemix_core.models.add_scorer import AddedScorer, enter_scorer, range_of
from samplemix_core.progress import Progress, Report
from samplemix_core.scorers.external import EXTERNAL, ExternalSpec, Key, halves
from samplemix_core.worker.artifacts import store_files

MAX_RECORD_BYTES = 64 * 2**20


def add_external(
    name: str,
    place: str,
    deployment: Deployment,
    report: Report = lambda _: None,
    *,
    by: Key,
    score: str = "score",
    column: str | None = None,
    missing: float | None = None,
    low: float | None = None,
    high: float | None = None,
) -> AddedScorer:
    """Enter scores made elsewhere: a file, or all files below a directory or prefix, in the formats of corpora.

    `column` names the document of each score, and `by` says how: by doc_id, the document's own id in its corpus, or by
    content_hash, its hash as 32 hex digits or 16 bytes. A document with several scores gets their mean. Without `low` and `high`,
    the lowest and highest scores are taken.
    """
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    rows = set_aside = 0
    directory, _, last = place.rstrip("/").rpartition("/")
    store = deployment.store(directory or "/")
    keys = [last] if store.head(last) is not None else sorted(info.key for info in store.list(f"{last}/") if is_shard(info.key))
    if not keys:
        raise ConfigError(f"There is no file of scores at {place}.", f"Give a file, or a directory of files: {READ_SUFFIXES}.")
    for key in keys:
        with store.open(key) as stream:
            known = format_of(key)
            if known is None:
                raise ConfigError(f"{key} is not a file of scores.", f"Its name has to end in {READ_SUFFIXES}.")
            for read in known.kind.columns(stream, key, [column or by, score], MAX_RECORD_BYTES):
                rows += read.num_rows
                batch = pa.record_batch([read.column(0), _scores(read.column(1), score, key)], names=["which", "score"])
                usable = pc.and_(pc.is_valid(batch[0]), pc.is_finite(batch[1]).fill_null(False))
                batch = batch.filter(usable)
                set_aside += len(usable) - batch.num_rows
                parts.append((*halves(_digests(batch[0], by, key)), batch[1].to_numpy(zero_copy_only=False)))
                report(Progress("add", rows, 0, documents=rows, unit="records"))
    high_half, low_half, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not scores.size:
        raise CorpusError(f"{place} has no usable scores.", f"Check its columns {column or by} and {score}.")
    table = _means(high_half, low_half, scores)
    ends = (float(scores.min()) if low is None else low, float(scores.max()) if high is None else high)
    if scores.min() < ends[0] or scores.max() > ends[1] or not (missing is None or ends[0] <= missing <= ends[1]):
        others = "" if missing is None else f", and {missing:g} where there is none"
        raise ConfigError(
            f"Scores are from {scores.min():g} to {scores.max():g}{others}: not within {ends[0]:g} to {ends[1]:g}.",
            "Give --low and --high that hold all of them.",
        )
    with deployment.scratch() as scratch:
        with pa.OSFile(str(scratch / "scores.arrow"), "wb") as file, pa.ipc.new_file(file, EXTERNAL) as writer:
            writer.write_table(table.combine_chunks(), max_chunksize=max(1, table.num_rows))
        (digest,) = store_files(scratch, deployment.state).values()
    spec = ExternalSpec(range=range_of(*ends), scores_sha256=digest, by=by, missing=missing)
    counts = {"records": rows, "documents": table.num_rows, "repeated": scores.size - table.num_rows, "set_aside": set_aside}
    return enter_scorer(name, spec, *ends, deployment, (model_file(digest), digest), **counts)


def _means(high_half: np.ndarray, low_half: np.ndarray, scores: np.ndarray) -> pa.Table:
    """The mean score of each digest, sorted by digest."""
    order = np.lexsort((low_half, high_half))
    high_half, low_half, scores = high_half[order], low_half[order], scores[order]
    first = np.flatnonzero(np.r_[True, (high_half[1:] != high_half[:-1]) | (low_half[1:] != low_half[:-1])])
    means = np.add.reduceat(scores, first) / np.diff(np.r_[first, scores.size])
    return pa.table([high_half[first], low_half[first], means.astype(np.float32)], schema=EXTERNAL)


def _scores(column: pa.Array, name: str, key: str) -> pa.Array:
    try:
        return column.cast(pa.float64())
    except pa.ArrowException as error:
        raise ConfigError(f"The column {name!r} of {key} does not hold numbers: {error}", "Name another with --score.") from error


def _digests(values: pa.Array, by: Key, key: str) -> list[bytes]:
    try:
        found = values.to_pylist()
    except (ValueError, OverflowError) as error:
        raise CorpusError(f"{key} has ids that can't be read: {error}.", "Write them as text.") from error
    if by == "doc_id":
        return [content_hash(str(value)) for value in found]
    try:
        digests = [value if isinstance(value, bytes) else bytes.fromhex(str(value).replace("-", "")) for value in found]
    except ValueError:
        digests = [b""]
    if any(len(digest) != 16 for digest in digests):
        raise ConfigError(
            f"{key} has content hashes that are not 32 hex digits or 16 bytes.",
            "They are BLAKE2b of 128 bits of the text in UTF-8.",
        )
    return digests
