"""Remembered words give the ids of the tokenizer itself, whatever the text and whatever came before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.embedding import tokens
from samplemix_core.embedding.loading import locate_model
from samplemix_core.embedding.tokens import TokenCounter, Words

TOKENIZER = Tokenizer.from_file(str(locate_model(EmbeddingConfig()) / "tokenizer.json"))
TOKENIZER.no_truncation()
TOKENIZER.no_padding()
REMEMBERED = Words.of(TOKENIZER)

ODD = "\0\x0b\x0c\x1c\x1f\x7f\x85\xa0\xad\u0301\u0338\u200b\u200d\u2028\u2029\u3000\ufeff\ufffd"
ODD += "\u0130\u03a3\u1e9e\ufb01<=!'\u2019—東é🚀"
PIECES = st.one_of(
    st.text(st.characters(codec="utf-8"), max_size=12),
    st.text(ODD + " \t\n\rab!<[]#", max_size=12),
    st.sampled_from(["[SEP]", "[sep]", "[UNK", "don't", "x" * 101, "y" * 65, "##ing", "word", " ", "\n", "www.a-b.c/d?e=f&g"]),
)


@given(st.lists(st.lists(PIECES, max_size=12).map("".join), max_size=4))
def test_ids_are_the_tokenizers(texts: list[str]) -> None:
    assert REMEMBERED is not None
    expected = [encoding.ids for encoding in TOKENIZER.encode_batch(texts, add_special_tokens=False)]
    # The first time words may be new, the second time none is.
    for _ in range(2):
        assert [ids.tolist() for ids, _ in REMEMBERED.encode(texts)] == expected


@given(st.lists(st.lists(PIECES, max_size=12).map("".join), max_size=4))
def test_what_is_unknown_is_counted_the_same_with_and_without_a_memory(texts: list[str]) -> None:
    remembers = TokenCounter(Tokenizer.from_str(TOKENIZER.to_str()), "a")
    plain = TokenCounter(Tokenizer.from_str(TOKENIZER.to_str()), "b")
    plain._words = None
    for _ in range(2):
        for counted, expected in zip(remembers.count(texts), plain.count(texts), strict=True):
            assert counted.tolist() == expected.tolist()
    ids = [encoding.ids for encoding in TOKENIZER.encode_batch(texts, add_special_tokens=False)]
    for own, counted, unknown in zip(ids, *plain.count(texts), strict=True):
        given = sum(token == TOKENIZER.token_to_id("[UNK]") for token in own)
        assert counted >= len(own)
        assert counted - len(own) >= unknown - given
        assert given or not unknown


def test_a_full_memory_is_emptied_and_long_words_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MOST_WORDS", 4)
    remembered = Words(TOKENIZER, None)
    for text in ("one two three four five", "z" * 65 + " six", "one seven"):
        assert remembered.encode([text])[0][0].tolist() == TOKENIZER.encode(text, add_special_tokens=False).ids
    assert sorted(remembered._known) == ["one", "seven", "six"]


@pytest.mark.parametrize("flag", ["normalized", "lstrip", "rstrip", "single_word"])
def test_a_tokenizer_whose_words_do_not_stand_alone_is_left_as_it_is(flag: str) -> None:
    from tokenizers import AddedToken, decoders, models, pre_tokenizers

    other = Tokenizer.from_str(TOKENIZER.to_str())
    other.add_tokens([AddedToken("new york", **{"normalized": False, flag: True})])
    assert Words.of(other) is None
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    assert Words.of(bpe) is None
