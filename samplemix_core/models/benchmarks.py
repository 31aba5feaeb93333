"""Benchmarks that mixtures keep out: read from users' files, tried on texts they are put into, and stored."""

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from samplemix_core.corpus.records import RejectedRecordError
from samplemix_core.database.benchmarks import Benchmark, find_benchmarks, save_benchmark
from samplemix_core.deployment import Deployment, model_file
from samplemix_core.errors import ConfigError, CorpusError
from samplemix_core.identity import content_hash, fingerprint
from samplemix_core.models.add_examples import records_in
from samplemix_core.overlap.contamination import find_parts, index_parts
from samplemix_core.overlap.recipe import CONTAMINATION, LEAST_PART_WORDS
from samplemix_core.overlap.words import ALONE, words
from samplemix_core.quality.labels import encodable
from samplemix_core.worker.artifacts import download, store_files

FIELDS = ("question", "answer", "passage")
"""What an item may have; a part is one of these of one item."""

PARTS = pa.schema([pa.field("item", pa.int32()), pa.field("field", pa.string()), pa.field("text", pa.large_string())])
"""The file of a benchmark: item is its place among all records of the files."""

FILE = "parts.parquet"
MOST_ITEMS = 1_000_000
Words = npt.NDArray[np.object_]

TRIED = 1_000
"""Parts that are put into other texts, to see whether they are found."""


def add_benchmark(name: str, places: Sequence[str], fields: Mapping[str, str], deployment: Deployment) -> Benchmark:
    """Enter a benchmark from files: `fields` names the fields of a record by FIELDS; without any, those of the same names.

    Raises ConfigError for a file of an unknown format, or if nothing is long enough to be looked for, CorpusError for a record
    without any of the fields.
    """
    parts, items = read_parts(places, fields, deployment)
    return enter_benchmark(name, parts, items, deployment)


def enter_benchmark(name: str, parts: pa.Table, items: int, deployment: Deployment) -> Benchmark:
    """Enter a benchmark of texts, PARTS, after trying how well they are found within others.

    Raises ConfigError if nothing is long enough to be looked for.
    """
    index = index_parts(parts["text"].combine_chunks())
    sought = int(np.count_nonzero(index.is_sought))
    if not sought:
        raise ConfigError(
            f"None of the {parts.num_rows:,} texts has {LEAST_PART_WORDS} words: shorter ones are in many documents by chance.",
            "Name fields with longer texts, such as the question: --question FIELD.",
        )
    counts = Counter(parts["field"].to_pylist())
    report = {
        "method": CONTAMINATION,
        "parts": dict(counts),
        "too_short": parts.num_rows - sought,
        "recall": recall_by_injection(parts["text"].combine_chunks()),
    }
    with deployment.scratch() as scratch:
        pq.write_table(parts, scratch / FILE, compression="zstd", write_page_checksum=True)
        (digest,) = store_files(scratch, deployment.state).values()
    texts = [[*others, content_hash(text).hex()] for text, *others in _by_text(parts)]
    key = fingerprint({"name": name, "method": CONTAMINATION, "parts": texts})
    values = {"benchmark_key": key, "name": name, "items": items, "parts": sought, "artifact_key": model_file(digest)}
    with deployment.transaction() as cursor:
        return save_benchmark(cursor, {**values, "artifact_sha256": digest, "report": report})


def _by_text(parts: pa.Table) -> Iterator[tuple[Any, ...]]:
    others = [name for name in parts.column_names if name != "text"]
    return zip(*(parts[name].to_pylist() for name in ("text", *others)), strict=True)


def read_parts(places: Sequence[str], fields: Mapping[str, str], deployment: Deployment) -> tuple[pa.Table, int]:
    """The different texts of a benchmark's files as PARTS, and the number of their items. Raises as add_benchmark() does."""
    found: dict[tuple[str, str], int] = {}
    items = 0
    for place in places:
        for record in records_in(place, "benchmark items", deployment):
            own = dict(_texts(record, fields))
            if isinstance(record, RejectedRecordError) or any(text != encodable(text) for text in own.values()):
                said = record.detail if isinstance(record, RejectedRecordError) else "a text has half a surrogate pair"
                raise CorpusError(f"Record {items + 1} ({place}) can't be read: {said}.", "Correct it, or leave it out.")
            if not own:
                wanted = " or ".join(fields.values()) or ", ".join(FIELDS)
                raise CorpusError(
                    f"Record {items + 1} ({place}) has no text in {wanted}.",
                    "Name the fields that have it: --question FIELD, --answer FIELD, --passage FIELD.",
                )
            for field, text in own.items():
                found.setdefault((field, text), items)
            items += 1
            if items > MOST_ITEMS:
                raise ConfigError(f"There are more than {MOST_ITEMS:,} items.", "Give other files.")
    if not items:
        raise ConfigError("The files have no record.", "Give other files.")
    columns = [list(found.values()), [field for field, _ in found], [text for _, text in found]]
    return pa.table(columns, schema=PARTS), items


def _texts(record: Any, fields: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for field, path in (fields or dict(zip(FIELDS, FIELDS, strict=True))).items():
        value = record
        for name in path.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        if isinstance(value, str) and value.strip():
            yield field, value


def recall_by_injection(texts: pa.LargeStringArray, seed: int = 0) -> dict[str, float]:
    """The share of texts that are found within others, by how they were changed before; of TRIED at most."""
    rng, index = np.random.default_rng(seed), index_parts(texts)
    sought = np.flatnonzero(index.is_sought)
    tried = np.sort(rng.permutation(sought)[:TRIED])
    own = {number: texts[number].as_py() for number in tried.tolist()}
    pool = np.array(sorted({word for text in own.values() for word in _WORD.findall(text)}), dtype=object)

    def around(text: str) -> str:
        filler = [" ".join(pool[rng.integers(pool.size, size=60)]) for _ in range(2)]
        return f"{filler[0]}\n\n{text}\n\n{filler[1]}"

    recall = {}
    for kind, change in CHANGES.items():
        documents = pa.array([around(change(text, pool, rng)) for text in own.values()], pa.large_string())
        found = find_parts(index, *words(documents))
        met = set(zip(found.document.tolist(), found.part.tolist(), strict=True))
        recall[kind] = sum((place, number) in met for place, number in enumerate(own)) / len(own)
    return recall


_RANGES = "".join(f"{chr(first)}-{chr(end - 1)}" for first, end in ALONE)
_WORD = re.compile(f"[{_RANGES}]|[^\\W{_RANGES}]+")
"""A word, or a character of a script that writes no spaces."""


def _rewrapped(text: str, _: Words, rng: np.random.Generator) -> str:
    """With line breaks between words, or before characters of scripts without spaces."""
    broken = re.sub(r"\s+", lambda _: "\n   " if rng.random() < 0.2 else " ", text)
    return re.sub(f"(?=[{_RANGES}])", lambda _: "\n" if rng.random() < 0.05 else "", broken)


def _respelled(text: str, _: Words, rng: np.random.Generator) -> str:
    """In capitals, without punctuation at the ends of words."""
    return re.sub(r"[^\w\s]+(?=\s|$)", "", text.upper())


def _edited(text: str, pool: Words, rng: np.random.Generator) -> str:
    own = list(_WORD.finditer(text))
    chosen = set(rng.permutation(len(own))[: max(1, round(len(own) / 10))].tolist())
    pieces, end = [], 0
    for place, word in enumerate(own):
        pieces += [text[end : word.start()], str(pool[rng.integers(pool.size)]) if place in chosen else word[0]]
        end = word.end()
    return "".join([*pieces, text[end:]])


CHANGES: dict[str, Callable[[str, Words, np.random.Generator], str]] = {
    "exact": lambda text, pool, rng: text,
    "re-wrapped": _rewrapped,
    "case and punctuation": _respelled,
    "one word in ten": _edited,
}
"""How texts are changed before they are put into others."""


def find_in_files(name: str, places: Sequence[str], text_field: str, deployment: Deployment) -> Iterator[dict[str, Any]]:
    """Yield the records of files that hold something of a benchmark: file, record (from 0), item, field and overlap.

    Raises ConfigError for an unknown benchmark or a file of an unknown format, and at the end CorpusError if there were records
    without a text, or that can't be read.
    """
    without, first = 0, ""
    with deployment.transaction() as cursor:
        (benchmark,) = find_benchmarks(cursor, [name])
    with deployment.scratch() as scratch:
        remedy = "Add the benchmark again."
        place = (benchmark.artifact_key, benchmark.artifact_sha256, scratch / FILE)
        parts = pq.read_table(download(deployment.state, *place, what="The file of a benchmark", remedy=remedy))
    index = index_parts(parts["text"].combine_chunks())
    for path in places:
        records = enumerate(records_in(path, "documents", deployment))
        while some := list(itertools.islice(records, _RECORDS_AT_ONCE)):
            texts = [(number, encodable(text)) for number, record in some for _, text in _texts(record, {"text": text_field})]
            if len(texts) < len(some):
                first = first or f"record {min({number for number, _ in some} - {number for number, _ in texts})} of {path}"
                without += len(some) - len(texts)
            found = find_parts(index, *words(pa.array([text for _, text in texts], pa.large_string())))
            for document, part, overlap in zip(*(column.tolist() for column in found), strict=True):
                yield {
                    **{"file": path, "record": texts[document][0], "item": parts["item"][part].as_py()},
                    **{"field": parts["field"][part].as_py(), "overlap": overlap},
                }
    if without:
        raise CorpusError(
            f"{without:,} records have no text in {text_field}, the first is {first}.", "Name the field: --text FIELD."
        )


_RECORDS_AT_ONCE = 1_000
