"""Tokenise text once: the same pass counts the whole document and yields the part that the encoder reads."""

import json
import os
import re
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from samplemix_core.errors import ConfigError
from samplemix_core.identity import fingerprint

Ids = npt.NDArray[np.int32]

PROBE = (
    "The lighthouse keeper climbed the stairs every evening at dusk, lit the lamp, and wrote the weather into a book.",
    "def mean(values: list[float]) -> float:\n    return sum(values) / len(values)\n\nprint(mean([1.0, 2.5, 4.0]))",
    "Die Verordnung gilt für alle Anlagen, die nach dem 1. Januar in Betrieb genommen worden sind; Ausnahmen regelt Absatz 3.",
    "Le chat dort sur le canapé pendant que la pluie tombe sur les toits de la vieille ville.",
    "Photosynthesis converts light energy into chemical energy that is stored in glucose; chlorophyll absorbs red and blue light.",
    "Let $f: X \\to Y$ be continuous and $X$ compact. Then $f(X)$ is compact, and $f$ attains its maximum if $Y = \\mathbb{R}$.",
    "東京は日本の首都であり、人口が最も多い都市です。",
    "BUY NOW!!! Cheap watches, 90 % off, free shipping, click here, click here, click here!",
    "No.",
    "1,024 2,048 4,096 8,192 16,384",
)
"""Short texts of several kinds, on which ways to compute a model are tried when it is loaded."""

END_OF_DOCUMENT = ("<|endoftext|>", "<|end_of_text|>", "</s>", "<eos>", "<|eos|>", "<｜end▁of▁sentence｜>", "[EOS]", "[SEP]")  # noqa: RUF001
"""Tokens that models in use end a document with. DeepSeek's has full-width bars, which is why ruff is told to let it be."""

MAX_PIECE_CHARS = 1_000_000
"""Texts longer than this are tokenised in pieces, and no call to the tokenizer gets more than this."""

_PLAIN_SPACE = re.compile(r"(?<=\S) (?=\S)")


class Counted(NamedTuple):
    """How many tokens n texts have.

    n_tokens: int32 (n,), tokens of each whole text, special tokens not counted.
    unknown: int32 (n,), how many of them belong to words that the tokenizer doesn't know. It has one token for any of these, of
        whatever length. Instead, their contents are counted: pieces that it knows, and each other character as one.
    """

    n_tokens: npt.NDArray[np.int32]
    unknown: npt.NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class Tokenized:
    """Documents as tokens.

    n_tokens, unknown: int32 (n,), as in Counted.
    ids: int32, the sequences that the encoder reads, of all documents, one after another, special tokens included.
    offsets: int64 (m + 1,), sequence j is ids[offsets[j]:offsets[j + 1]], never empty.
    first: int64 (n + 1,), document i is read as the sequences first[i]:first[i + 1], at least one.
    """

    n_tokens: npt.NDArray[np.int32]
    unknown: npt.NDArray[np.int32]
    ids: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]

    def take(self, documents: npt.NDArray[np.int64]) -> "Tokenized":
        """Some of the documents, in the order given."""
        sequences = [j for i in documents.tolist() for j in range(self.first[i], self.first[i + 1])]
        parts = [self.ids[self.offsets[j] : self.offsets[j + 1]] for j in sequences]
        return Tokenized(
            self.n_tokens[documents],
            self.unknown[documents],
            np.concatenate([np.empty(0, dtype=np.int32), *parts]),
            np.cumsum([0, *(part.size for part in parts)], dtype=np.int64),
            np.concatenate([[0], np.cumsum(np.diff(self.first)[documents])]).astype(np.int64),
        )


MOST_WORDS = 2**18
"""About 60 MB. A full memory is emptied, and frequent words are soon back."""

MOST_CHARS = 64
"""Longer words seldom recur, and aren't kept."""

_WORD = re.compile(r"[^ \t\n\r!-/:-@\[-`{-~]+|[!-/:-@\[-`{-~]")

PIECE_OF_UNKNOWN = 32
"""Characters. To BERT's tokenizers, words of over a hundred are unknown, and these have at most a hundred once decomposed."""


class Held(NamedTuple):
    """The unknown parts of a text: the `tokens` they count for, and how many unknown tokens the tokenizer has `given` for them."""

    tokens: int
    given: int


_NOTHING_UNKNOWN = Held(0, 0)


class _Unknown:
    """Counts the text that a tokenizer's unknown token stands for."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        model = json.loads(tokenizer.to_str())["model"]
        name = model.get("unk_token")
        self.id: int | None = model.get("unk_id") if name is None else tokenizer.token_to_id(name)
        self._name = None if self.id is None else tokenizer.id_to_token(self.id)

    def is_in(self, encoded: "Ids | Encoding") -> bool:
        """Whether the unknown token is among these."""
        return self.id is not None and self.id in (encoded.ids if isinstance(encoded, Encoding) else encoded)

    def held(self, texts: list[str], encoding: Encoding) -> "dict[int, Held]":
        """Unknown parts by text, given the encoding of all texts as words; texts without any are left out."""
        found: dict[int, Held] = {}
        for token, (start, end), place in zip(encoding.ids, encoding.offsets, encoding.word_ids, strict=True):
            if token == self.id and place is not None and (piece := texts[place][start:end]) != self._name:
                known = found.get(place, _NOTHING_UNKNOWN)
                found[place] = Held(known.tokens + self._of_piece(piece), known.given + 1)
        return found

    def held_of(self, text: str, encoding: Encoding) -> "Held":
        """The unknown parts of one text, given its encoding."""
        pieces = [text[start:end] for token, (start, end) in zip(encoding.ids, encoding.offsets, strict=True) if token == self.id]
        # A text that spells out the unknown token has nothing unknown there.
        counts = [self._of_piece(piece) for piece in pieces if piece != self._name]
        return Held(sum(counts), len(counts))

    def spread(self, text: str, encoding: Encoding) -> Ids:
        """A text's ids, given its encoding, with the unknown token as often as its unknown parts count."""
        ids = np.asarray(encoding.ids, dtype=np.int32)
        times = np.ones(ids.size, dtype=np.int64)
        for at in np.flatnonzero(ids == self.id).tolist():
            start, end = encoding.offsets[at]
            if (piece := text[start:end]) != self._name:
                times[at] = self._of_piece(piece)
        return np.repeat(ids, times)

    def _of_piece(self, text: str) -> int:
        if len(text) <= PIECE_OF_UNKNOWN:
            return max(1, len(text))
        pieces = [text[start : start + PIECE_OF_UNKNOWN] for start in range(0, len(text), PIECE_OF_UNKNOWN)]
        encoding = self._tokenizer.encode(pieces, is_pretokenized=True, add_special_tokens=False)
        lengths = (end - start for start, end in encoding.offsets)
        return sum(max(1, n) if token == self.id else 1 for token, n in zip(encoding.ids, lengths, strict=True))


class Words:
    """A BERT tokenizer that remembers the ids of words, which makes it several times faster because words repeat.

    Such a tokenizer cleans and lowercases text character by character, splits it at whitespace and punctuation, and handles the
    pieces one by one. So the text between two separators has the same ids wherever it stands.
    """

    def __init__(self, tokenizer: Tokenizer, whole_only: re.Pattern[str] | None) -> None:
        self._tokenizer, self._whole_only = tokenizer, whole_only
        self._unknown = _Unknown(tokenizer)
        self._begin()

    def _begin(self) -> None:
        """Know nothing."""
        self._known: dict[str, bytes] = {}
        self._held: dict[str, Held] = {}
        self._lock, self._process = threading.Lock(), os.getpid()

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> "Words | None":
        """Return None for other kinds of tokenizer, or if added tokens match cleaned text, take blanks or are single words."""
        described = json.loads(tokenizer.to_str())
        kinds = tuple((described[part] or {}).get("type") for part in ("normalizer", "pre_tokenizer", "model"))
        added = described["added_tokens"]
        odd = any(token["normalized"] or token["lstrip"] or token["rstrip"] or token["single_word"] for token in added)
        if kinds != ("BertNormalizer", "BertPreTokenizer", "WordPiece") or odd:
            return None
        return cls(tokenizer, re.compile("|".join(re.escape(token["content"]) for token in added)) if added else None)

    def encode(self, texts: list[str]) -> list[tuple[Ids, Held]]:
        """Return each text's ids, without special tokens, and its unknown parts."""
        found: dict[int, tuple[Ids, Held]] = {}
        for i, text in enumerate(texts):
            if self._whole_only and self._whole_only.search(text):
                encoding = self._tokenizer.encode(text, add_special_tokens=False)
                found[i] = np.asarray(encoding.ids, dtype=np.int32), self._unknown.held_of(text, encoding)
        split = {i: _WORD.findall(text) for i, text in enumerate(texts) if i not in found}
        if self._process != os.getpid():
            # A process that is forked while a thread holds the lock would wait for ever.
            self._begin()
        with self._lock:
            if len(self._known) > MOST_WORDS:
                self._known.clear()
                self._held.clear()
            missing = list(set().union(*split.values()).difference(self._known))
            if missing:
                self._learn(missing)
            for i, words in split.items():
                ids = np.frombuffer(b"".join(map(self._known.__getitem__, words)), dtype=np.int32)
                held = [self._held[word] for word in words if word in self._held] if self._unknown.is_in(ids) else []
                found[i] = ids, Held(sum(item.tokens for item in held), sum(item.given for item in held))
            for word in missing:
                if len(word) > MOST_CHARS:
                    del self._known[word]
                    self._held.pop(word, None)
        return [found[i] for i in range(len(texts))]

    def _learn(self, words: list[str]) -> None:
        encoding = self._tokenizer.encode(words, is_pretokenized=True, add_special_tokens=False)
        places = np.asarray(encoding.word_ids, dtype=np.int64)
        ends = np.cumsum(np.bincount(places, minlength=len(words)))
        ids = np.asarray(encoding.ids, dtype=np.int32)
        for word, own in zip(words, np.split(ids, ends[:-1]), strict=True):
            self._known[word] = own.tobytes()
        if self._unknown.is_in(ids):
            self._held |= {words[place]: held for place, held in self._unknown.held(words, encoding).items()}


class TokenCounter:
    """Counts the tokens of whole texts with a fast tokenizer, which it takes over: truncation and padding are off from then on.

    `name` is its usual name. `tokenizer_id` is its identity, which defines what a count means. `special` are tokens that the
    tokenizer doesn't know and the model does, by name: its own ids come after them.
    """

    def __init__(self, tokenizer: Tokenizer, name: str, special: Sequence[str] = ()) -> None:
        self._tokenizer, self._special = tokenizer, tuple(special)
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._words = Words.of(self._tokenizer)
        self._unknown = _Unknown(self._tokenizer)
        self.name = name
        self.tokenizer_id = fingerprint(self._tokenizer.to_str())

    def __getstate__(self) -> dict[str, Any]:
        # What it remembers belongs to one process, and so do locks.
        return {name: value for name, value in vars(self).items() if name != "_words"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _words=Words.of(state["_tokenizer"]))

    @property
    def vocabulary_size(self) -> int:
        """One more than its largest id."""
        known = self._tokenizer.get_vocab(with_added_tokens=True).values()
        return len(self._special) + max(known, default=-1) + 1

    def end_of_document(self, name: str | None = None) -> int:
        """The id of the token that ends documents: the one of this name, or the first it has of those that are in use.

        Raises ConfigError if there is none.
        """
        for token in END_OF_DOCUMENT if name is None else (name,):
            if token in self._special:
                return self._special.index(token)
            if (known := self._tokenizer.token_to_id(token)) is not None:
                return len(self._special) + known
        raise ConfigError(
            f"The tokenizer {self.name} has no token {name or ' or '.join(END_OF_DOCUMENT)}.",
            "Name the one that ends a document (end_of_document), or leave it out.",
        )

    def encode(self, texts: list[str]) -> list[Ids]:
        """The ids of each whole text as the model reads it, without special tokens: as many as count() says."""
        found: list[list[Ids]] = [[] for _ in texts]
        for document, piece, encoded, held in self._encodings(texts):
            ids = np.asarray(encoded.ids, dtype=np.int32) if isinstance(encoded, Encoding) else encoded
            if held.given != held.tokens:
                ids = self._unknown.spread(piece, self._tokenizer.encode(piece, add_special_tokens=False))
            found[document].append(ids + np.int32(len(self._special)))
        return [parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, np.int32), *parts]) for parts in found]

    def count(self, texts: list[str]) -> Counted:
        """Tokens of each whole text; special tokens are not added.

        A text over MAX_PIECE_CHARS is tokenised in pieces, split at a single space between two words, where tokenizers in use
        split anyway, so the count is that of the whole text. Only a stretch of MAX_PIECE_CHARS without such a space is cut
        elsewhere, and there the count may be off by a few tokens per cut.
        """
        counted = _nothing_counted(len(texts))
        for document, _, encoded, held in self._encodings(texts):
            _add(counted, document, len(encoded), held)
        return counted

    def _encodings(self, texts: list[str]) -> Iterator[tuple[int, str, Ids | Encoding, Held]]:
        """For each piece: its text's position, the piece, its ids, and its unknown parts."""
        for batch in _batches(texts):
            pieces = [piece for _, piece in batch]
            encoded: Iterable[tuple[Ids | Encoding, Held]] = self._encode_plainly(pieces)
            if self._words:
                encoded = self._words.encode(pieces)
            for (document, piece), (ids, held) in zip(batch, encoded, strict=True):
                yield document, piece, ids, held

    def _encode_plainly(self, pieces: list[str]) -> Iterator[tuple[Encoding, Held]]:
        for piece, encoding in zip(pieces, self._tokenizer.encode_batch_fast(pieces, add_special_tokens=False), strict=True):
            held = _NOTHING_UNKNOWN
            if self._unknown.is_in(encoding):
                # The fast encoding has no offsets.
                held = self._unknown.held_of(piece, self._tokenizer.encode(piece, add_special_tokens=False))
            yield encoding, held


def _nothing_counted(texts: int) -> Counted:
    return Counted(np.zeros(texts, dtype=np.int32), np.zeros(texts, dtype=np.int32))


def _add(counted: Counted, document: int, tokens: int, held: Held) -> None:
    counted.n_tokens[document] += tokens - held.given + held.tokens
    counted.unknown[document] += held.tokens


class DocumentTokenizer(TokenCounter):
    """An encoder's tokenizer: the same pass counts a document and yields the part that the encoder reads.

    The encoder reads at most `windows` sequences of `max_seq` tokens from a document's beginning. `special_tokens` says whether
    they get the special tokens that the tokenizer adds. The prompt follows those before the text and isn't counted. `pad_id` stands
    in for a document without any token if nothing is added to it.

    Raises ValueError if that leaves no room for text, or if the prompt and the text after it are tokenised as one.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        name: str,
        max_seq: int,
        pad_id: int,
        windows: int = 1,
        *,
        special_tokens: bool = True,
        prompt: str = "",
    ) -> None:
        super().__init__(tokenizer, name)
        self._max_seq, self._pad_id, self._windows = max_seq, pad_id, windows
        self._prefix, self._suffix = _special_tokens(self._tokenizer) if special_tokens else ([], [])
        self._prefix = self._prefix + self._prompt_ids(prompt)
        self._body = max_seq - len(self._prefix) - len(self._suffix)
        if self._body < 1:
            raise ValueError(f"max_seq = {max_seq} leaves no room for text beside the special tokens and the prompt")

    def _prompt_ids(self, prompt: str) -> list[int]:
        """The prompt's ids, if they can be put before any text's ids; raise ValueError otherwise."""

        def ids(text: str) -> list[int]:
            return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

        for written in (prompt, prompt.rstrip()):
            if all(ids(prompt + text) == ids(written) + ids(text) for text in PROBE):
                return ids(written)
        raise ValueError(f"the tokenizer reads the prompt {prompt!r} and what follows it as one")

    def to_tokenizer(self) -> Tokenizer:
        """Return a copy of the underlying tokenizer, for others to use."""
        return Tokenizer.from_str(self._tokenizer.to_str())

    def tokenize(self, texts: list[str]) -> Tokenized:
        """Tokenise whole texts, counted as by count().

        Memory beyond the result is bounded by the tokens of about MAX_PIECE_CHARS characters.
        """
        counted = _nothing_counted(len(texts))
        bodies: list[Ids] = [np.empty(0, dtype=np.int32)] * len(texts)
        for document, _, encoded, held in self._encodings(texts):
            missing = self._body * self._windows - bodies[document].size
            if missing > 0 and len(encoded):
                ids = np.asarray(encoded.ids, dtype=np.int32) if isinstance(encoded, Encoding) else encoded
                bodies[document] = np.concatenate([bodies[document], ids[:missing]])
            _add(counted, document, len(encoded), held)
        return self._join(counted, bodies)

    def vocabulary(self) -> Tokenized:
        """Return each id from 0 to the last as a document of that one token."""
        last = max(self._tokenizer.get_vocab(with_added_tokens=True).values())
        ids = np.arange(last + 1, dtype=np.int32)
        return self._join(Counted(np.ones(ids.size, dtype=np.int32), np.zeros(ids.size, dtype=np.int32)), list(ids[:, None]))

    def without_special_tokens(self) -> "DocumentTokenizer":
        """Return the same tokenizer, but adding no special tokens and no prompt."""
        return DocumentTokenizer(self._tokenizer, self.name, self._max_seq, self._pad_id, self._windows, special_tokens=False)

    def _join(self, counted: Counted, bodies: list[npt.NDArray[np.int32]]) -> Tokenized:
        filler = np.full(0 if self._prefix or self._suffix else 1, self._pad_id, dtype=np.int32)
        prefix, suffix = np.asarray(self._prefix, dtype=np.int32), np.asarray(self._suffix, dtype=np.int32)
        sequences: list[npt.NDArray[np.int32]] = []
        first = np.zeros(len(bodies) + 1, dtype=np.int64)
        for i, body in enumerate(bodies):
            read = body if body.size else filler
            starts = range(0, max(1, read.size), self._body)
            sequences += [np.concatenate([prefix, read[start : start + self._body], suffix]) for start in starts]
            first[i + 1] = len(sequences)
        offsets = np.cumsum([0, *(sequence.size for sequence in sequences)], dtype=np.int64)
        return Tokenized(*counted, np.concatenate(sequences or [np.empty(0, dtype=np.int32)]), offsets, first)


def _batches(texts: list[str]) -> Iterator[list[tuple[int, str]]]:
    """The texts' pieces, each with its text's position, in batches of at most MAX_PIECE_CHARS characters."""
    batch: list[tuple[int, str]] = []
    chars = 0
    for document, text in enumerate(texts):
        for piece in pieces_of(text):
            if batch and chars + len(piece) > MAX_PIECE_CHARS:
                yield batch
                batch, chars = [], 0
            batch.append((document, piece))
            chars += len(piece)
    yield batch


def pieces_of(text: str) -> Iterator[str]:
    """The text in pieces of at most MAX_PIECE_CHARS; each but the first starts with the space it was split at."""
    start = 0
    while len(text) - start > MAX_PIECE_CHARS:
        window = text[start : start + MAX_PIECE_CHARS]
        cut = _last_plain_space(window)
        yield window[:cut]
        start += cut
    yield text[start:]


def _last_plain_space(window: str) -> int:
    """Where the last single space between two words is; the window's length if there is none."""
    end = len(window)
    while (cut := window.rfind(" ", 1, end)) > 0:
        if _PLAIN_SPACE.match(window, cut):
            return cut
        end = cut
    return len(window)


def _special_tokens(tokenizer: Tokenizer) -> tuple[list[int], list[int]]:
    """The ids a tokenizer puts before and after a text, from a probe."""
    probe = tokenizer.encode("a", add_special_tokens=True)
    inside = [i for i, special in enumerate(probe.special_tokens_mask) if not special]
    return probe.ids[: inside[0]], probe.ids[inside[-1] + 1 :]
