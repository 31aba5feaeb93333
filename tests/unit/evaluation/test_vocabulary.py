"""A vocabulary is fixed by its texts, and no text has a token that it doesn't know."""

import os
import subprocess
import sys

import numpy as np
import pytest
from tokenizers import Tokenizer

from samplemix_core.errors import ModelError
from samplemix_core.evaluation.vocabulary import Vocabulary, train

TEXTS = [
    f"The {noun} of {number} is not the {noun} of {number + 1}." for number in range(40) for noun in ("house", "Straße", "дом")
]


def small() -> Vocabulary:
    return train(TEXTS, 400)


def test_texts_come_back_whatever_is_in_them() -> None:
    vocabulary = small()
    texts = ["", " house", "  two\n\nlines\t", "日本語 🙂 \x00", "def f(x):\n    return x"]
    ids, ends = vocabulary.encode(texts)
    own = Tokenizer.from_str(vocabulary.to_json())
    parts = np.split(ids, ends[:-1])
    assert [own.decode(part.tolist(), skip_special_tokens=False) for part in parts] == texts
    assert ids.max() < vocabulary.size <= 400
    assert len(parts[1]) == 1
    assert vocabulary.encode([])[0].size == 0


def test_another_process_trains_the_same() -> None:
    command = [sys.executable, "-c", f"from {__name__} import small; print(small().id, end='')"]
    environment = os.environ | {"PYTHONHASHSEED": "5", "TOKENIZERS_PARALLELISM": "false"}
    found = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    assert found.stdout == small().id


def test_a_file_gives_the_same_vocabulary_and_a_damaged_one_is_refused() -> None:
    vocabulary = small()
    assert Vocabulary.from_json(vocabulary.to_json()).id == vocabulary.id
    with pytest.raises(ModelError, match="can't be read"):
        Vocabulary.from_json(vocabulary.to_json()[:-20])
