import numpy as np
import pyarrow as pa
import pytest

from samplemix_core.quality.composite import FEATURES, Features, measure


def one(text: str) -> Features:
    return Features(*measure(pa.array([text], pa.large_string()))[0])


def test_an_empty_text_has_no_features() -> None:
    assert measure(pa.array([""], pa.large_string())).tolist() == [[0.0] * len(FEATURES)]
    assert measure(pa.array([], pa.large_string())).shape == (0, len(FEATURES))
    assert measure(pa.chunked_array([], pa.large_string())).shape == (0, len(FEATURES))


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.string_view()])
def test_every_string_type_is_measured_alike(kind: pa.DataType) -> None:
    texts = ["Grüße.", "", "one two"]
    np.testing.assert_array_equal(measure(pa.array(texts, kind)), measure(pa.array(texts, pa.large_string())))


def test_a_null_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 of 2 texts are null"):
        measure(pa.array(["a", None], pa.large_string()))


def test_letters_beyond_ascii_are_letters() -> None:
    for text in ("Füße äöü", "Привет мир", "中文文字", "नमस्ते दुनिया", "ภาษาไทย", "한국어 단어"):
        assert one(text).letter_share == 1.0, text


def test_chinese_is_not_one_word() -> None:
    text = one("今天天气很好。我们去公园散步。")
    assert [text.words, text.sentences, text.finished_line_share] == [6 + 1, 2, 1.0]
    assert text.unspaced_word_share == 1.0


def test_a_citation_or_quote_may_follow_the_end_of_a_sentence() -> None:
    assert one('He left.[12] She said "no." Then').sentences == 2
    assert one("It ended.[3]\nVersion 2.5\n").finished_line_share == 0.5


def test_templates_are_not_tags() -> None:
    assert one("std::vector<int> v;").tags == 0
    assert one("<p>text</p>").tags > 0


def test_repetition_is_found_across_a_huge_line() -> None:
    words = [f"w{i}" for i in range(12_000)]
    assert one(" ".join(words)).repeated_gram_share == 0.0
    assert one(" ".join(words * 2)).repeated_gram_share == pytest.approx(0.5, abs=0.01)
    assert one("line of text\n" * 4000).duplicate_line_share == pytest.approx(1, abs=0.001)
    assert one("x" * 3_000_000).longest_run_share == 1.0
