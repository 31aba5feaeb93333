"""One pass of the tokenizer gives the whole text's count and what the encoder reads."""

import itertools
import multiprocessing

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from tokenizers import Tokenizer, models, pre_tokenizers

from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.embedding import tokens
from samplemix_core.embedding.encoder import Encoder
from samplemix_core.embedding.loading import locate_model
from samplemix_core.embedding.tokens import DocumentTokenizer, TokenCounter, Tokenized


@pytest.fixture(scope="module")
def plain_tokenizer() -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(locate_model(EmbeddingConfig()) / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def plain_count(tokenizer: Tokenizer, text: str) -> int:
    return len(tokenizer.encode(text, add_special_tokens=False).ids)


def documents(tokenized: Tokenized) -> list[list[int]]:
    return [tokenized.ids[start:stop].tolist() for start, stop in itertools.pairwise(tokenized.offsets)]


def test_counts_are_those_of_the_plain_tokenizer_over_the_whole_text(
    float32_encoder: Encoder, plain_tokenizer: Tokenizer, texts: list[str]
) -> None:
    tokenized = float32_encoder.tokenize(texts)
    assert tokenized.n_tokens.tolist() == [plain_count(plain_tokenizer, text) for text in texts]
    assert tokenized.n_tokens.dtype == np.int32
    assert tokenized.n_tokens.max() > float32_encoder.max_seq


def test_ids_are_those_sentence_transformers_reads(float32_encoder: Encoder, texts: list[str]) -> None:
    model = SentenceTransformer(str(locate_model(EmbeddingConfig())), device="cpu")
    features = model.tokenizer(texts, truncation=True, max_length=model.max_seq_length)
    assert documents(float32_encoder.tokenize(texts)) == features["input_ids"]


def test_long_texts_in_pieces_count_as_a_whole(
    float32_encoder: Encoder, plain_tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MAX_PIECE_CHARS", 50)
    texts = ["The  quick brown fox,\n jumped over\tthe lazy dog. " * 20, "short", "Voilà l'été où naît l'espoir. " * 30]
    tokenized = float32_encoder.tokenize(texts)
    assert tokenized.n_tokens.tolist() == [plain_count(plain_tokenizer, text) for text in texts]
    bodies = [ids[1:-1] for ids in documents(tokenized)]
    assert bodies == [plain_tokenizer.encode(text, add_special_tokens=False).ids[:254] for text in texts]


def test_text_without_a_space_is_cut_and_stays_bounded(float32_encoder: Encoder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_PIECE_CHARS", 50)
    text = "東" * 333
    assert float32_encoder.tokenize([text]).n_tokens.tolist() == [333]


@pytest.mark.parametrize("text", ["", "no-space", "a b", " lead", "trail ", "two  spaces  here", "x " * 40, "tab\there now"])
def test_pieces_join_to_the_text_and_split_only_at_single_spaces(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_PIECE_CHARS", 8)
    pieces = list(tokens.pieces_of(text))
    assert "".join(pieces) == text
    assert all(len(piece) <= 8 for piece in pieces)
    for before, after in itertools.pairwise(pieces):
        assert (after[0] == " " and not before[-1].isspace() and not after[1].isspace()) or len(before) == 8


def test_windows_of_a_long_document_follow_each_other_from_its_beginning(plain_tokenizer: Tokenizer) -> None:
    texts = ["a short one", "word " * 23, "", "one two three four five six seven eight " * 20]
    tokenized = DocumentTokenizer(plain_tokenizer, "plain", max_seq=10, pad_id=0, windows=3).tokenize(texts)
    read = documents(tokenized)
    assert tokenized.first.tolist() == [0, 1, 4, 5, 8]
    assert [len(sequence) for sequence in read] == [5, 10, 10, 9, 2, 10, 10, 10]
    whole = plain_tokenizer.encode(texts[3], add_special_tokens=False).ids
    assert [token for sequence in read[5:] for token in sequence[1:-1]] == whole[:24]
    assert tokenized.n_tokens.tolist() == [3, 23, 0, 160]


def test_some_of_the_documents_can_be_taken(plain_tokenizer: Tokenizer) -> None:
    texts = ["a short one", "word " * 23, "", "one two three four five six seven eight " * 20]
    tokenizer = DocumentTokenizer(plain_tokenizer, "plain", max_seq=10, pad_id=0, windows=3)
    taken, expected = tokenizer.tokenize(texts).take(np.array([3, 0])), tokenizer.tokenize([texts[3], texts[0]])
    for name in ("n_tokens", "ids", "offsets", "first"):
        np.testing.assert_array_equal(getattr(taken, name), getattr(expected, name))
    assert tokenizer.tokenize(texts).take(np.array([], dtype=np.int64)).first.tolist() == [0]


def test_nothing_in_gives_nothing_out(float32_encoder: Encoder) -> None:
    tokenized = float32_encoder.tokenize([])
    assert tokenized.n_tokens.size == 0
    assert tokenized.offsets.tolist() == tokenized.first.tolist() == [0]


def test_without_special_tokens_an_empty_document_reads_as_padding() -> None:
    plain = Tokenizer(models.WordLevel({"[PAD]": 0, "[UNK]": 1, "a": 2}, unk_token="[UNK]"))
    plain.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenized = DocumentTokenizer(plain, "plain", max_seq=4, pad_id=0).tokenize(["", "a a", "a " * 9])
    assert documents(tokenized) == [[0], [2, 2], [2, 2, 2, 2]]
    assert tokenized.n_tokens.tolist() == [0, 2, 9]


def test_a_sequence_without_room_for_text_is_refused(plain_tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="max_seq = 2"):
        DocumentTokenizer(plain_tokenizer, "plain", max_seq=2, pad_id=0)


WORDS: list[TokenCounter] = []


def test_a_process_that_is_forked_while_another_thread_tokenises_does_too(plain_tokenizer: Tokenizer) -> None:
    counter = TokenCounter(Tokenizer.from_str(plain_tokenizer.to_str()), "words")
    WORDS[:] = [counter]
    assert counter._words is not None
    with counter._words._lock, multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply_async(_sizes, (["a lighthouse"],)).get(30) == [2]


def _sizes(texts: list[str]) -> list[int]:
    return [ids.size for ids in WORDS[0].encode(texts)]
