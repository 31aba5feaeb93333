"""What kind of text a document is, and in which language: of itself alone."""

# ruff: noqa: RUF001 - letters of other alphabets are meant

import pyarrow as pa
import pytest

from samplemix_core.quality.kinds import content_types, languages
from samplemix_core.schemas import UNKNOWN
from tests.unit.quality.test_composite import ARTICLE, CODE, MENU, SPAM

LATEX = r"""
\begin{lemma} \label{lemma-open} Let $f : X \to Y$ be a morphism. If $f$ is \emph{open}, then $\dim(X) \geq \dim(Y)$. \end{lemma}
\begin{proof} Follows from Lemma \ref{lemma-closed} and the definition of $\dim$. \end{proof}
"""
JAVASCRIPT = """
function debounce(callback, wait) {
  let timer = null;
  return (...rest) => {
    if (timer !== null) { clearTimeout(timer); }
    timer = setTimeout(() => callback(...rest), wait);
  };
}
module.exports = { debounce };
"""
TABLE = "id\tname\tvalue\n" + "\n".join(f"{i}\titem {i}\t{i * i}" for i in range(30))
MIXED = "Call `sum(values)` to add them up.\n\nIt takes any iterable, and an optional start. " + ARTICLE
TEXTS = {
    "prose": [
        ARTICLE,
        MIXED,
        "東京は日本の首都であり、人口が最も多い都市です。" * 5,
        "# A Person\n\nA PERSON (born 9 December 1903) was a farmer, and a poet who wrote of the sea.\n",
    ],
    "code": [CODE, JAVASCRIPT],
    "markup": [LATEX, SPAM],
    "list": [MENU, TABLE, "", "1 2 3 4 5 6 7 8 9"],
}


@pytest.mark.parametrize("kind", TEXTS)
def test_kinds_are_told_apart(kind: str) -> None:
    assert content_types(pa.array(TEXTS[kind], pa.large_string())) == [kind] * len(TEXTS[kind])


def test_a_kind_does_not_depend_on_the_others_nor_on_how_they_are_cut() -> None:
    texts = [text for own in TEXTS.values() for text in own]
    whole = pa.array(texts, pa.large_string())
    expected = content_types(whole)
    assert [content_types(pa.array([text], pa.large_string()))[0] for text in texts] == expected
    assert content_types(pa.chunked_array([whole[:3], whole[3:3], whole[3:]])) == expected
    assert content_types(whole[4:9]) == expected[4:9]
    assert content_types(pa.chunked_array([], pa.large_string())) == []


LANGUAGES = {
    "en": "The harbour froze twice in that century, and both times the town came close to starving.",
    "de": "Der Hafen fror in jenem Jahrhundert zweimal zu, und beide Male wäre die Stadt beinahe verhungert.",
    "fr": "Le port a gelé deux fois au cours de ce siècle, et la ville a failli mourir de faim.",
    "pl": "Port zamarzł dwa razy w tym stuleciu i za każdym razem miastu groził głód.",
    "tr": "Liman o yüzyılda iki kez dondu ve her seferinde kent açlıktan ölmenin eşiğine geldi.",
    "ru": "Гавань замерзала дважды за то столетие, и оба раза город едва не умер от голода.",
    "zh": "那个世纪里港口两次结冰，两次都使这座城市濒临饥荒。",
    "ja": "その世紀に港は二度凍り、そのたびに町は飢えに近づいた。",
    "ar": "تجمد الميناء مرتين في ذلك القرن، وكادت المدينة أن تموت جوعا في كل مرة.",
}


def test_languages_are_told_apart_wherever_lines_end() -> None:
    assert languages(list(LANGUAGES.values())) == list(LANGUAGES)
    assert languages([text.replace(" ", "\n") for text in LANGUAGES.values()]) == list(LANGUAGES)
    assert languages([LANGUAGES["de"] * 500, LANGUAGES["fr"] * 500]) == ["de", "fr"]


def test_what_has_no_language_has_none() -> None:
    assert languages(["", " \n ", "12345 67890 == 999", "\0"])[:2] == [UNKNOWN, UNKNOWN]
    assert languages([]) == []
