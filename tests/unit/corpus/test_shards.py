import pytest

from samplemix_core.config import ReaderConfig
from samplemix_core.corpus.shards import is_shard, parse_shard_path, select_snapshots
from samplemix_core.errors import CorpusError


@pytest.mark.parametrize("stem", ["jsonl", "ndjson", "json"])
@pytest.mark.parametrize("compression", ["", ".gz", ".zst"])
def test_json_lines_suffixes_name_shards(stem: str, compression: str) -> None:
    assert is_shard(f"crawl/web/part-0.{stem}{compression}")
    assert is_shard(f"crawl/web/PART-0.{stem}{compression}".upper())


@pytest.mark.parametrize(
    "path",
    [
        "c/w/a.csv",
        "c/w/a.parquet.gz",
        "c/w/a.jsonl.bz2",
        "c/w/README.md",
        "c/w/_SUCCESS",
        "c/_temporary/a.jsonl",
        "c/w/.a.jsonl",
        "c/w/",
    ],
)
def test_other_files_are_no_shards(path: str) -> None:
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


def test_selects_the_wanted_snapshots_sorted() -> None:
    assert select_snapshots(PATHS, ["b"]).shards == ["b/web/1.jsonl", "b/web/2.jsonl"]
    assert select_snapshots(PATHS, []).shards == ["a/web/1.jsonl", "b/web/1.jsonl", "b/web/2.jsonl"]


def test_a_missing_snapshot_is_named_beside_those_that_exist() -> None:
    with pytest.raises(CorpusError, match="no snapshot 'c', 'd'; it has 'a', 'b'"):
        select_snapshots(PATHS, ["d", "a", "c"])


def test_a_file_at_the_root_is_ignored_and_listed() -> None:
    for wanted in (["a"], []):
        assert select_snapshots([*PATHS, "README.json", "LICENSE"], wanted).ignored == ["README.json"]
    assert select_snapshots(PATHS, []).ignored == []


def test_a_corpus_without_shards_or_with_all_of_them_at_the_root_is_an_error() -> None:
    with pytest.raises(CorpusError, match="no shard"):
        select_snapshots(["c/notes.txt"], [])
    with pytest.raises(CorpusError, match=r"'stray\.jsonl'"):
        select_snapshots(["stray.jsonl", "c/notes.txt"], [])
