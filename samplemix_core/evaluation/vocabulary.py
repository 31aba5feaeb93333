"""The tokens that mixtures are compared in: byte-level BPE, trained on the corpus once, so that no mixture chooses its own.

Every byte is a token of it, so no text has an unknown one, whatever its language.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from samplemix_core.errors import ModelError
from samplemix_core.identity import fingerprint

TOKENS = 8192


class Vocabulary:
    """A trained tokenizer. Its id is that of its merges, so equal texts in any process give an equal id."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Take a tokenizer as train() makes it."""
        self._tokenizer = tokenizer
        self.size: int = tokenizer.get_vocab_size()
        self.id = fingerprint({"tokenizer": tokenizer.to_str()})

    def to_json(self) -> str:
        """The tokenizer's file, which the library tokenizers reads."""
        return str(self._tokenizer.to_str())

    @classmethod
    def from_json(cls, text: str) -> "Vocabulary":
        """Read a file that to_json wrote; raise ModelError if it is damaged."""
        try:
            return cls(Tokenizer.from_str(text))
        except Exception as error:  # tokenizers raises bare Exceptions
            raise ModelError(f"The vocabulary of an evaluation can't be read: {error}.", "Evaluate again.") from error

    def encode(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Tokens of texts, (n,), one text after another, and where each ends, (m,)."""
        found = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        ids = [np.array(one.ids, dtype=np.int64) for one in found]
        return np.concatenate([np.empty(0, dtype=np.int64), *ids]), np.cumsum([one.size for one in ids], dtype=np.int64)


def train(texts: Iterable[str], tokens: int = TOKENS) -> Vocabulary:
    """Train a vocabulary of at most so many tokens on texts. The same texts in the same order give the same one."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # The alphabet comes as a set, in another order in each process.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=tokens, initial_alphabet=alphabet, show_progress=False))
    return Vocabulary(tokenizer)
