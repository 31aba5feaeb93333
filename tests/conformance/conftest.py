"""The mixture of the reader's tests, which has every kind of file, and its tokenizer."""

from tests.unit.reading.conftest import published, words

__all__ = ["published", "words"]
