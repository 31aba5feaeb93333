"""Labels come from files into Postgres: nothing twice, nothing lost, and an annotator's earlier judgement stands."""

import gzip
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from samplemix_core.database.labels import keep_vectors, list_annotators, read_labels, read_vectors
from samplemix_core.database.registration import ensure_encoder
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, CorpusError
from samplemix_core.models.import_labels import Imported, import_labels
from samplemix_core.quality.labels import LabelFields, Reject
from samplemix_core.quality.rubric import Dimension, Rubric

RUBRIC = Rubric(
    name="two", dimensions=(Dimension(name="depth", maximum=3, meaning="m"), Dimension(name="style", maximum=1, meaning="m"))
)
GOOD = [{"text": f"Text {i}.", "depth": i % 4, "style": i % 2, "group": f"site-{i % 3}"} for i in range(5000)]


def write(path: Path, records: list[Any]) -> str:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    else:
        data = "\n".join(record if isinstance(record, str) else json.dumps(record) for record in records).encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return str(path)


def counted(found: Imported) -> tuple[int, int, int, int]:
    assert found.records == found.new + found.known + found.repeated + len(found.set_aside)
    return found.new, found.known, found.repeated, len(found.set_aside)


@pytest.mark.parametrize("name", ["labels.jsonl.gz", "labels.parquet"])
def test_a_file_is_entered_once(database: Deployment, tmp_path: Path, name: str) -> None:
    uri = write(tmp_path / name, GOOD)
    dry = import_labels(uri, "team", RUBRIC, LabelFields(), database, dry_run=True)
    assert counted(dry) == (5000, 0, 0, 0)
    with database.transaction() as cursor:
        assert list_annotators(cursor) == []
    assert counted(import_labels(uri, "team", RUBRIC, LabelFields(), database)) == (5000, 0, 0, 0)
    assert counted(import_labels(uri, "team", RUBRIC, LabelFields(), database)) == (0, 5000, 0, 0)
    with database.transaction() as cursor:
        (annotator,) = list_annotators(cursor)
        assert (annotator.name, annotator.rubric, annotator.annotations) == ("team", RUBRIC, 5000)
        stored = read_labels(cursor, [annotator.annotator_id]).to_pylist()
    assert {item["text"]: (*item["scores"], item["split_group"], item["source"]) for item in stored} == {
        item["text"]: (item["depth"], item["style"], item["group"], "labels") for item in GOOD
    }
    assert [item["content_hash"] for item in stored] == sorted(item["content_hash"] for item in stored)


def test_what_can_not_be_used_is_set_aside_with_its_reason_and_the_rest_is_entered(database: Deployment, tmp_path: Path) -> None:
    bad = ["{", '{"text": "x"}', '{"text": "", "depth": 1, "style": 1}', '{"text": "y", "depth": 9, "style": 1}', '"text"', ""]
    again = [GOOD[0], GOOD[1] | {"depth": 3}]
    found = import_labels(write(tmp_path / "l.jsonl", [*GOOD[:10], *bad, *again]), "team", RUBRIC, LabelFields(), database)
    assert counted(found) == (10, 0, 1, 6)
    assert found.records == 17, "a blank line is no record"
    assert Counter(item.reason for item in found.set_aside) == {
        Reject.UNREADABLE: 1,
        Reject.NO_SCORE: 1,
        Reject.NO_TEXT: 2,
        Reject.SCORE_OUT_OF_RANGE: 1,
        Reject.CONTRADICTS: 1,
    }
    assert [item.record for item in found.set_aside] == [11, 12, 13, 14, 15, 17]
    # Another file, in which one text is judged otherwise than it is stored.
    other = import_labels(
        write(tmp_path / "o.jsonl", [GOOD[0], GOOD[2] | {"style": 1}, GOOD[11]]), "team", RUBRIC, LabelFields(), database
    )
    assert counted(other) == (1, 1, 0, 1)
    assert (other.set_aside[0].record, other.set_aside[0].reason) == (2, Reject.CONTRADICTS)
    with database.transaction() as cursor:
        stored = {item["text"]: item["scores"] for item in read_labels(cursor, [1]).to_pylist()}
    assert len(stored) == 11
    assert stored["Text 2."] == [2, 0]


def test_a_name_stands_for_one_way_to_judge(database: Deployment, tmp_path: Path) -> None:
    uri = write(tmp_path / "l.jsonl", GOOD[:3])
    import_labels(uri, "team", RUBRIC, LabelFields(), database)
    wider = RUBRIC.model_copy(update={"dimensions": (RUBRIC.dimensions[0].model_copy(update={"maximum": 5}), RUBRIC.dimensions[1])})
    with pytest.raises(ConfigError, match="'team' is there already"):
        import_labels(uri, "team", wider, LabelFields(), database)
    import_labels(uri, "other", wider, LabelFields(), database)
    with database.transaction() as cursor:
        assert [each.name for each in list_annotators(cursor)] == ["other", "team"]
        with pytest.raises(ConfigError, match="no annotator 'nobody'"):
            list_annotators(cursor, ["team", "nobody"])


def test_of_a_text_that_several_judged_the_mean_counts(database: Deployment, tmp_path: Path) -> None:
    for name, depth in (("a", 1), ("b", 2), ("c", 2)):
        record = {"text": "One text.", "depth": depth, "style": 0, "rationale": f"said {name}"}
        import_labels(write(tmp_path / f"{name}.jsonl", [record]), name, RUBRIC, LabelFields(), database)
    with database.transaction() as cursor:
        assert read_labels(cursor, [1, 2, 3]).to_pylist()[0]["scores"] == [2, 0]
        assert read_labels(cursor, [1]).to_pylist()[0]["scores"] == [1, 0]
        assert read_labels(cursor, [9]).num_rows == 0


@pytest.mark.parametrize("how", ["torn", "a page", "not UTF-8", "no moment"])
def test_a_parquet_file_that_can_not_be_read_is_refused_as_a_whole(database: Deployment, tmp_path: Path, how: str) -> None:
    """At its end, in its middle, or in a value."""
    text = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(bytes(4) + b"\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    tables = {
        "a page": pa.table({"text": [f"{i}" * 50 for i in range(5000)]}),
        "not UTF-8": pa.table({"text": text}),
        "no moment": pa.table({"at": pa.array([2**62], pa.timestamp("us"))}),
    }
    data = b"PAR1 and nothing more"
    if how in tables:
        pq.write_table(tables[how], tmp_path / "l.parquet", use_dictionary=False)
        data = (tmp_path / "l.parquet").read_bytes()
    if how == "a page":
        data = data[:100] + bytes(400) + data[500:]
    (tmp_path / "l.parquet").write_bytes(data)
    with pytest.raises(CorpusError, match="as Parquet"):
        import_labels(str(tmp_path / "l.parquet"), "team", RUBRIC, LabelFields(), database)
    with database.transaction() as cursor:
        assert list_annotators(cursor) == []


def test_vectors_of_labelled_texts_are_kept_as_they_were_rounded(database: Deployment, tmp_path: Path) -> None:
    import_labels(write(tmp_path / "l.jsonl", GOOD[:3]), "team", RUBRIC, LabelFields(), database)
    vectors = np.random.default_rng(0).normal(size=(2, 8)).astype(np.float16)
    with database.transaction() as cursor:
        hashes = read_labels(cursor, [1])["content_hash"].to_pylist()
        encoder = ensure_encoder(cursor, "encoder-1", {"name": "encoder"})
        keep_vectors(cursor, encoder, hashes[:2], vectors)
        keep_vectors(cursor, encoder, hashes[:1], vectors[1:])
        found = read_vectors(cursor, encoder, hashes)
    assert found.keys() == set(hashes[:2])
    np.testing.assert_array_equal(np.stack([found[item] for item in hashes[:2]]), vectors)
