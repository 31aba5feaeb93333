"""Scorers that are brought along: networks that classify, fastText models, scores made elsewhere, and several combined into one.

Each is entered as a quality model, its files on the object store: workers need nothing but its name.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from samplemix_core.database.connection import transaction
from samplemix_core.database.quality import QualityModel, cell_quantiles, find_quality_model, save_quality_model, score_quantiles
from samplemix_core.errors import ConfigError, CorpusError, ModelError
from samplemix_core.identity import content_hash, fingerprint
from samplemix_core.objects import open_store
from samplemix_core.pipeline.progress import Progress, Report
from samplemix_core.quality.scorers import EXTERNAL, Key, halves
from samplemix_core.settings import Settings
from samplemix_core.worker.artifacts import MODELS, store_files

Output = Literal["regression", "level", "probability"]

QUANTILES = 101
"""Points by which it is known where a score is among others."""

_ROWS_AT_ONCE = 100_000


@dataclass(frozen=True)
class AddedScorer:
    """A scorer that was entered, or was there already; and what was found while reading what it is made of."""

    name: str
    key: str
    quality_model_id: int
    low: float
    high: float
    found: dict[str, Any]


def _enter(
    name: str,
    spec: Mapping[str, Any],
    low: float,
    high: float,
    settings: Settings,
    artifact: tuple[str, str] | None = None,
    **found: Any,
) -> AddedScorer:
    if not low < high:
        raise ConfigError(f"Scores from {low:g} to {high:g} are no range.", "Give --low and --high.")
    # What is normalised to 0 and 1 belongs to what a model is: another range would be another quality.
    whole = {**spec, "version": 1, "range": [low, high]}
    key = fingerprint(whole)
    with transaction(settings.require("database_url")) as cursor:
        model_id = save_quality_model(cursor, name, key, whole, low=low, high=high, artifact=artifact)
    return AddedScorer(name, key, model_id, low, high, found)


@contextmanager
def _local(place: str, settings: Settings) -> Iterator[Path]:
    """A file that lies anywhere, as one on this disk."""
    path = Path(place)
    if "://" not in place:
        if not path.is_file():
            raise ConfigError(f"There is no file {place}.", "Give the path of a file, or s3://bucket/key.")
        yield path
        return
    directory, _, name = place.rpartition("/")
    with settings.scratch() as scratch:
        with open_store(directory, settings).open(name) as source, (scratch / name).open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
        yield scratch / name


def add_transformer(
    name: str,
    model: str,
    settings: Settings,
    *,
    revision: str | None = None,
    output: Output | None = None,
    label: str | None = None,
    low: float | None = None,
    high: float | None = None,
    max_tokens: int | None = None,
) -> AddedScorer:
    """Enter a sequence-classification model, a directory or a repository on a hub; its weights are safetensors.

    Without `output`: one logit is a regression, from low to high; with a `label` (a class's name or number) its probability
    counts; else classes are the levels of a score. Raises ConfigError if that does not say what its scores mean.
    """
    from samplemix_core.embedding.model import hub_directory
    from samplemix_core.quality.transformer import load_classifier, read_classifier

    directory = Path(model) if Path(model).is_dir() else hub_directory(model, revision)
    config = read_classifier(directory)
    classes = len(config.labels)
    chosen: Output = output or ("regression" if classes == 1 else "probability" if label is not None else "level")
    if (chosen == "regression") != (classes == 1):
        raise ConfigError(f"{model} has {classes} outputs, which are no {chosen}.", "Leave --output out, or give what fits.")
    number = 0
    if chosen == "probability":
        by_name = {**{str(i): i for i in config.labels}, **{text: i for i, text in config.labels.items()}}
        if label not in by_name:
            raise ConfigError(f"{model} has no class {label!r}.", f"Give --label one of: {', '.join(config.labels.values())}.")
        number = by_name[label]
    if chosen == "regression" and (low is None or high is None):
        raise ConfigError(
            f"{model} gives one number, and nobody says of which range.",
            "Give --low and --high, as --low 0 --high 5 for FineWeb-Edu's.",
        )
    ends = {"regression": (low, high), "level": (0.0, classes - 1.0), "probability": (0.0, 1.0)}[chosen]
    load_classifier(directory, "cpu")  # Whether it can be loaded is found out here, not on every worker.
    with settings.scratch() as scratch:
        for path in directory.iterdir():
            # Of what a repository holds, what a model is loaded from: no code, no other weights.
            if path.suffix in (".json", ".txt", ".model", ".safetensors") and path.is_file():
                shutil.copy(path.resolve(), scratch / path.name)
        files = store_files(scratch, open_store(settings.state_root, settings))
    spec = {
        "kind": "transformer",
        "files": files,
        "output": chosen,
        "label": number,
        "max_tokens": min(max_tokens or config.max_tokens, config.max_tokens),
    }
    return _enter(name, spec, float(ends[0] or 0.0), float(ends[1] or 0.0), settings, classes=list(config.labels.values()))


def add_fasttext(name: str, file: str, label: str, settings: Settings) -> AddedScorer:
    """Enter a supervised fastText model (.bin or .ftz), of which one label's probability counts, 0 to 1."""
    import fasttext

    label = label if label.startswith("__label__") else f"__label__{label}"
    with _local(file, settings) as path:
        try:
            labels, _ = fasttext.load_model(str(path)).predict("a word", k=-1)
        except (ValueError, RuntimeError, OSError) as error:
            raise ModelError(f"{file} is no fastText model that can be read: {error}", "Give a supervised model's file.") from error
        if label not in labels:
            shown = ", ".join(sorted(each.removeprefix("__label__") for each in labels)[:20])
            raise ConfigError(f"{file} has no label {label.removeprefix('__label__')!r}.", f"Give --label one of: {shown}.")
        with settings.scratch() as scratch:
            shutil.copy(path, scratch / "model.bin")
            (digest,) = store_files(scratch, open_store(settings.state_root, settings)).values()
    spec = {"kind": "fasttext", "model_sha256": digest, "label": label}
    return _enter(name, spec, 0.0, 1.0, settings, (f"{MODELS}/files/{digest}", digest), labels=len(labels))


def add_external(
    name: str,
    place: str,
    settings: Settings,
    report: Report = lambda _: None,
    *,
    by: Key,
    score: str = "score",
    column: str | None = None,
    missing: float | None = None,
    low: float | None = None,
    high: float | None = None,
) -> AddedScorer:
    """Enter scores made elsewhere: a Parquet file, or all below a directory or prefix, with a column that says of which document.

    `by` is what that is: doc_id, the document's own id as its corpus has it, or content_hash, a document's hash as 32 hex digits or
    16 bytes. Of a document that is there several times the mean counts. Without low and high, the lowest and highest score are.
    """
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    rows = set_aside = 0
    directory, _, last = place.rstrip("/").rpartition("/")
    store = open_store(directory or "/", settings)
    keys = [last] if store.head(last) is not None else sorted(i.key for i in store.list(f"{last}/") if i.key.endswith(".parquet"))
    if not keys:
        raise ConfigError(f"There is no Parquet file at {place}.", "Give a .parquet file, or a directory of them.")
    for key in keys:
        with store.open(key) as stream:
            for batch in _batches(stream, key, [column or by, score]):
                rows += batch.num_rows
                usable = pc.and_(pc.is_valid(batch[0]), pc.is_finite(pc.cast(batch[1], pa.float64())).fill_null(False))
                batch = batch.filter(usable)
                set_aside += len(usable) - batch.num_rows
                parts.append((*halves(_digests(batch[0], by, key)), batch[1].cast(pa.float64()).to_numpy(zero_copy_only=False)))
                report(Progress("add", rows, 0, documents=rows, unit="records"))
    high_half, low_half, scores = (np.concatenate(column) for column in zip(*parts, strict=True))
    if not scores.size:
        raise CorpusError(f"{place} has no usable score.", f"Check its columns {column or by} and {score}.")
    order = np.lexsort((low_half, high_half))
    high_half, low_half, scores = high_half[order], low_half[order], scores[order]
    first = np.flatnonzero(np.r_[True, (high_half[1:] != high_half[:-1]) | (low_half[1:] != low_half[:-1])])
    means = np.add.reduceat(scores, first) / np.diff(np.r_[first, scores.size])
    table = pa.table([high_half[first], low_half[first], means.astype(np.float32)], schema=EXTERNAL)
    ends = (float(scores.min()) if low is None else low, float(scores.max()) if high is None else high)
    if scores.min() < ends[0] or scores.max() > ends[1] or not (missing is None or ends[0] <= missing <= ends[1]):
        others = "" if missing is None else f", and {missing:g} where there is none"
        raise ConfigError(
            f"Scores are from {scores.min():g} to {scores.max():g}{others}: not within {ends[0]:g} to {ends[1]:g}.",
            "Give --low and --high that hold all of them.",
        )
    with settings.scratch() as scratch:
        with pa.OSFile(str(scratch / "scores.arrow"), "wb") as file, pa.ipc.new_file(file, EXTERNAL) as writer:
            writer.write_table(table.combine_chunks(), max_chunksize=max(1, table.num_rows))
        (digest,) = store_files(scratch, open_store(settings.state_root, settings)).values()
    spec = {"kind": "external", "scores_sha256": digest, "by": by, "missing": missing}
    counts = {"records": rows, "documents": table.num_rows, "repeated": scores.size - table.num_rows, "set_aside": set_aside}
    return _enter(name, spec, *ends, settings, (f"{MODELS}/files/{digest}", digest), **counts)


def _batches(stream: Any, key: str, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    try:
        file = pq.ParquetFile(stream)
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(f"{key} is no Parquet file that can be read: {error}") from error
    if missing := [name for name in columns if name not in file.schema_arrow.names]:
        raise ConfigError(
            f"{key} has no column {missing[0]!r}.", f"Name one of its columns: {', '.join(file.schema_arrow.names[:20])}."
        )
    for batch in file.iter_batches(_ROWS_AT_ONCE, columns=list(columns)):
        yield batch.select(list(columns))


def _digests(values: pa.Array, by: Key, key: str) -> list[bytes]:
    found = values.to_pylist()
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


def add_ensemble(
    name: str, members: Sequence[str], corpus: str, settings: Settings, *, combine: Literal["mean", "max"] = "mean"
) -> AddedScorer:
    """Enter a scorer that ranks documents by several others, by quantiles of what these gave a corpus, and combines ranks.

    Raises ConfigError unless there are two, each of which has scored the corpus.
    """
    with transaction(settings.require("database_url")) as cursor:
        models: list[QualityModel] = [find_quality_model(cursor, member) for member in members]
        if len({model.key for model in models}) < max(2, len(models)):
            raise ConfigError("An ensemble is made of two different quality models at least.", "Name them with --of, each once.")
        if nested := [model.name for model in models if model.spec.get("kind") == "ensemble"]:
            raise ConfigError(f"{nested[0]} is an ensemble itself.", "Name its members instead.")
        spec_of = []
        for model in models:
            quantiles = score_quantiles(cursor, model.quality_model_id, corpus, QUANTILES)
            if quantiles is None:
                raise ConfigError(
                    f"{model.name} ({model.key[:12]}) has not scored anything of {corpus}.",
                    "Run the corpus with all of them as scorers first.",
                )
            if quantiles[0] == quantiles[-1]:
                raise ConfigError(f"{model.name} gave every document of {corpus} {quantiles[0]:g}: it ranks nothing.")
            spec_of.append({"key": model.key, "quantiles": quantiles})
    spec = {"kind": "ensemble", "combine": combine, "members": spec_of}
    return _enter(name, spec, 0.0, 1.0, settings, members=[model.name for model in models])


def calibrate(name: str, of: str, corpus: str, settings: Settings, *, least: int = 200, most: float = 0.25) -> AddedScorer:
    """Enter a scorer that compares documents within their content type and language alone, by what another gave a corpus.

    A cell of fewer than `least` documents is its content type's, and a content type of fewer keeps its scores. A score moves by at
    most such a part of its range. Raises ConfigError unless the other has scored `least` of one kind.
    """
    with transaction(settings.require("database_url")) as cursor:
        base = find_quality_model(cursor, of)
        found = cell_quantiles(cursor, base.quality_model_id, corpus, QUANTILES)
    overall = next((cell.quantiles for cell in found if not cell.content_type), None)
    cells = [vars(cell) for cell in found if cell.content_type and cell.documents >= least]
    if overall is None or not cells:
        raise ConfigError(
            f"{base.name} ({base.key[:12]}) has not scored {least} documents of one content type of {corpus}.",
            f"Run the corpus with {base.name} as a scorer first, or lower --least.",
        )
    spec = {"kind": "calibrated", "of": base.key, "cells": cells, "overall": overall, "most": most * (base.high - base.low)}
    kinds = [f"{cell['content_type']} {cell['language'] or 'in any language'}: {cell['documents']:,}" for cell in cells]
    return _enter(name, spec, base.low, base.high, settings, of=base.name, cells=kinds)
