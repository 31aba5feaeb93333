import hashlib

from samplemix_core.manifest.format import shards_digest


def test_is_the_hash_of_lines_anyone_can_write() -> None:
    lines = "crawl-a/books/a.jsonl e1 10\ncrawl-a/web/b.jsonl e2 20\n"
    entries = [("crawl-a/web/b.jsonl", "e2", 20), ("crawl-a/books/a.jsonl", "e1", 10)]
    assert shards_digest(entries) == hashlib.sha256(lines.encode()).hexdigest()


def test_order_of_listing_does_not_matter_but_content_does() -> None:
    entries = [("b", "e2", 20), ("a", "e1", 10)]
    assert shards_digest(entries) == shards_digest(entries[::-1])
    assert len({shards_digest(entries), shards_digest([("b", "e2", 21), ("a", "e1", 10)]), shards_digest(entries[:1])}) == 3
