"""A small corpus of every kind of file, and a mixture of it."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from samplemix_core.config.reader import ReaderConfig
from samplemix_core.embedding.tokens import TokenCounter
from samplemix_core.manifest.catalogue import Mixtures
from samplemix_core.objects.directory import FileStore
from tests.mixtures import Published, publish_corpus, records, write_shard

SHARDS = {
    "crawl-a/web/part-0.jsonl": 230,
    "crawl-a/web/part-1.jsonl.gz": 150,
    "crawl-a/books/part-0.parquet": 170,
    "crawl-b/web/part-0.jsonl.gz": 3,
    "crawl-b/código/part.0.jsonl": 90,
}


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    """A mixture of all kinds of files, with 0 to 4 copies a document."""
    root = tmp_path_factory.mktemp("reading")
    for path, count in SHARDS.items():
        write_shard(root / "corpus" / path, records(path, count))
    return publish_directory(root, lambda n: (n * 7919) % 5)


def publish_directory(root: Path, copies_of: Callable[[int], int], config: ReaderConfig | None = None) -> Published:
    """Publish a mixture of what lies in root/corpus."""
    mixtures = Mixtures(FileStore(root / "store"), "mixtures")
    return publish_corpus(mixtures, FileStore(root / "corpus"), root, copies_of, config=config)


@pytest.fixture(scope="session")
def words(published: Published) -> TokenCounter:
    """A token is a word, as the published mixture counts."""
    known = sorted({word for text in published.texts.values() for word in text.split()} | {"</s>"})
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(known)}, unk_token="</s>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return TokenCounter(tokenizer, "words")
