from collections.abc import Iterable, Sequence
from typing import Any

import pytest

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.corpus.shards import (
    Selection,
    Unread,
    describe_unread,
    is_shard,
    parse_shard_path,
    select_snapshots,
    unread_counts,
    why_unread,
)
from samplemix_core.errors import CorpusError
from samplemix_core.objects.interface import ObjectInfo


@pytest.mark.parametrize("stem", ["jsonl", "ndjson", "json", "jl", "jsonlines"])
@pytest.mark.parametrize("compression", ["", ".gz", ".gzip", ".zst", ".zstd", ".bz2", ".xz", ".lz4"])
def test_json_lines_suffixes_name_shards(stem: str, compression: str) -> None:
    assert is_shard(f"crawl/web/part-0.{stem}{compression}")
    assert is_shard(f"crawl/web/PART-0.{stem}{compression}".upper())


@pytest.mark.parametrize("suffix", ["parquet", "parq", "pq", "PARQUET"])
def test_parquet_suffixes_name_shards(suffix: str) -> None:
    assert is_shard(f"crawl/web/part-0.{suffix}")


OTHERS = {
    "c/w/a.docx": Unread.SUFFIX,
    "c/w/a.parquet.gz": Unread.SUFFIX,
    "c/w/a.jsonl.part": Unread.SUFFIX,
    "c/w/README.md": Unread.SUFFIX,
    "c/w/_SUCCESS": Unread.HIDDEN,
    "c/_temporary/a.jsonl": Unread.HIDDEN,
    "c/w/.a.jsonl": Unread.HIDDEN,
    "lost+found/a.jsonl": Unread.HIDDEN,
    "c/w/dataset_info.json": Unread.NOTE,
    "c/w/" + "a" * 1020 + ".jsonl": Unread.PATH,
    "c/w/caf\udce9.jsonl": Unread.PATH,
}


@pytest.mark.parametrize("path", OTHERS)
def test_other_files_are_no_shards_for_a_reason(path: str) -> None:
    assert why_unread(path) is OTHERS[path]
    assert OTHERS[path].why
    assert not is_shard(path)


def test_snapshot_is_directory_0_and_domain_the_configured_one() -> None:
    path = "crawl-a/web/en/part.parquet"
    assert parse_shard_path(path, ReaderConfig()) == ("crawl-a", "web")
    assert parse_shard_path(path, ReaderConfig(domain_path_index=2)) == ("crawl-a", "en")
    assert parse_shard_path(path, ReaderConfig(domain_path_index=0)) == ("crawl-a", "crawl-a")


def test_with_a_domain_field_the_path_names_no_domain() -> None:
    assert parse_shard_path("crawl-a/part.jsonl", ReaderConfig(domain_field="meta.domain")) == ("crawl-a", None)


@pytest.mark.parametrize(("path", "field"), [("part.jsonl", None), ("part.jsonl", "domain"), ("crawl-a/part.jsonl", None)])
def test_too_shallow_a_path_is_named_in_the_error(path: str, field: str | None) -> None:
    with pytest.raises(CorpusError, match=path):
        parse_shard_path(path, ReaderConfig(domain_field=field))


PATHS = ["b/web/2.jsonl", "a/web/1.jsonl", "b/web/1.jsonl", "b/web/_SUCCESS", "c/notes.txt"]


def select(paths: Iterable[str], wanted: Sequence[str] = (), **reader: Any) -> Selection:
    return select_snapshots({path: ObjectInfo(path, 1, "x") for path in paths}, wanted, ReaderConfig(**reader))


def shards_of(selection: Selection) -> list[str]:
    return [info.key for files in selection.snapshots.values() for info in files]


def unread_of(selection: Selection) -> dict[str, str]:
    return {file.path: file.reason.value for file in selection.unread}


def test_selects_the_wanted_snapshots_sorted() -> None:
    assert shards_of(select(PATHS, ["b"])) == ["b/web/1.jsonl", "b/web/2.jsonl"]
    assert shards_of(select(PATHS)) == ["a/web/1.jsonl", "b/web/1.jsonl", "b/web/2.jsonl"]


def test_a_directory_that_cannot_be_read_stops_a_run_of_its_snapshot_unless_it_holds_no_data() -> None:
    """A listing has it by its name with a slash, and the trouble with it."""

    def listed(path: str) -> dict[str, ObjectInfo]:
        troubled = ObjectInfo(path, 0, "x", trouble="Permission denied.")
        return {info.key: info for info in (ObjectInfo("a/web/1.jsonl", 1, "x"), troubled)}

    with pytest.raises(CorpusError, match="directory 'b/web/' can't be read: Permission denied"):
        select_snapshots(listed("b/web/"), (), ReaderConfig())
    assert shards_of(select_snapshots(listed("b/web/"), ["a"], ReaderConfig())) == ["a/web/1.jsonl"]
    for path in ("lost+found/", "a/_temporary/"):
        selection = select_snapshots(listed(path), (), ReaderConfig())
        assert (shards_of(selection), unread_of(selection)) == (["a/web/1.jsonl"], {path: "hidden"})


def test_a_missing_snapshot_is_named_beside_those_that_exist() -> None:
    with pytest.raises(CorpusError, match="no snapshot 'c', 'd'; it has 'a', 'b'"):
        select(PATHS, ["d", "a", "c"])


def test_every_file_is_a_shard_or_named_with_its_reason() -> None:
    stray = ["README.json", "LICENSE", "a/dataset.json"]
    found = select([*PATHS, *stray, *OTHERS])
    assert unread_of(found) == {
        **{path.encode(errors="surrogateescape").decode(errors="backslashreplace"): reason for path, reason in OTHERS.items()},
        "README.json": "no_snapshot",
        "LICENSE": "no_snapshot",
        "a/dataset.json": "no_domain",
        "b/web/_SUCCESS": "hidden",
        "c/notes.txt": "suffix",
    }
    assert len(found.unread) + found.shards == len([*PATHS, *stray, *OTHERS])
    assert unread_counts(found.unread)["hidden"] == 5
    assert describe_unread(found.unread).startswith("16 files are not read: LICENSE (no_snapshot), ")
    # What other snapshots have is theirs; where a field names the domain, a shard may lie right below its snapshot.
    assert unread_of(select([*PATHS, *stray], ["a"], domain_field="d")) == {"README.json": "no_snapshot", "LICENSE": "no_snapshot"}


def test_what_can_t_be_read_stops_the_run_where_it_would_be_a_shard() -> None:
    def of(path: str, *wanted: str) -> Selection:
        files = {name: ObjectInfo(name, 1, "x") for name in PATHS}
        return select_snapshots(files | {path: ObjectInfo(path, 0, "", trouble="it is a link to nothing")}, wanted, ReaderConfig())

    assert unread_of(of("a/web/NOTES.md"))["a/web/NOTES.md"] == "no_file"
    with pytest.raises(CorpusError, match=r"'a/web/3.jsonl' has a shard's name and can't be read: it is a link to nothing"):
        of("a/web/3.jsonl")
    assert shards_of(of("a/web/3.jsonl", "b")) == ["b/web/1.jsonl", "b/web/2.jsonl"]


def test_a_corpus_without_shards_or_with_none_in_place_is_an_error() -> None:
    with pytest.raises(CorpusError, match=r"no shard, only other files \(1\): 'c/notes.txt'"):
        select(["c/notes.txt"])
    for stray in ("stray.jsonl", "c/stray.jsonl"):
        with pytest.raises(CorpusError, match=f"no usable shard: '{stray}' is left out because"):
            select([stray, "c/notes.txt"])
    with pytest.raises(CorpusError, match="no file at the corpus URI"):
        select([])
