"""What evaluations have a Dask worker do: train a vocabulary, turn documents into its tokens, and learn from a stream of them."""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from samplemix_core.database.near_duplicates import row_blocks, texts_at
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, CorpusError, ModelError, ObjectStoreError
from samplemix_core.evaluation.comparison import Checked
from samplemix_core.evaluation.streams import had_before
from samplemix_core.evaluation.vocabulary import Vocabulary, train
from samplemix_core.logs import event
from samplemix_core.worker.artifacts import download
from samplemix_core.worker.jobs import EncodeTask, LearnTask, StoredFile, VocabularyTask
from samplemix_core.worker.texts import read_texts

if TYPE_CHECKING:
    from samplemix_core.evaluation.quick import Part
    from samplemix_core.evaluation.transformer import State

log = logging.getLogger(__name__)

DOCUMENTS = pa.schema({"row": pa.int64(), "ids": pa.large_list(pa.uint16())})
"""A file of documents in a vocabulary's tokens."""

TEXTS = pa.schema({"ids": pa.large_list(pa.uint16()), "n_bytes": pa.int64(), "group": pa.int32()})
"""A file of a comparison's targets: their texts, and the number of the group that each is in."""

_AGAIN = "Evaluate again."
_TOKENS_AT_ONCE = 2**20

Int64Array = npt.NDArray[np.int64]


def train_vocabulary(task: VocabularyTask) -> str:
    """Train a vocabulary on a corpus, and return it as JSON. Raises CorpusError if no document can be read."""
    from samplemix_core.worker.compare import sample_texts

    texts = sample_texts(Deployment.load().store(task.corpus_uri), task.paths, task.reader, task.documents)
    if not texts:
        raise CorpusError(f"{task.corpus_uri} has no document to train a vocabulary on.", "See 'samplemix quarantine'.")
    return train(texts).to_json()


def encode_documents(task: EncodeTask, on_progress: Callable[[int], None] = lambda _: None) -> StoredFile:
    """Turn documents into tokens; returns the file of DOCUMENTS, in the order of rows."""
    started, deployment = time.monotonic(), Deployment.load()
    vocabulary = _vocabulary(task.vocabulary)
    with deployment.transaction() as cursor:
        texts, blocks = texts_at(cursor, task.shard, task.rows), row_blocks(cursor, task.shard)
    if texts.high.size != task.rows.size:
        raise CorpusError(f"{task.shard.path} was forgotten, or is scored again.", "Evaluate again.")
    done, tokens = 0, 0
    with deployment.scratch() as directory:
        path = directory / "documents.parquet"
        with pq.ParquetWriter(path, DOCUMENTS, compression="zstd", write_page_checksum=True) as writer:
            for part in read_texts(deployment.store(task.corpus_uri), task.shard, task.reader, task.rows, texts.as_arrow(), blocks):
                ids, ends = vocabulary.encode(part.to_pylist())
                writer.write_table(pa.table([task.rows[done : done + len(part)], as_lists(ids, ends)], schema=DOCUMENTS))
                done, tokens = done + len(part), tokens + ids.size
                on_progress(done)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        deployment.state.upload(task.key, path)
    seconds = time.monotonic() - started
    event(log, "encoded", run=task.run, shard=task.shard.path, documents=done, tokens=tokens, seconds=seconds)
    return StoredFile(task.key, digest)


def as_lists(ids: Int64Array, ends: Int64Array) -> pa.LargeListArray:
    """Tokens of texts, one after another, as a list for each text."""
    return pa.LargeListArray.from_arrays(np.concatenate([[0], ends]), pa.array(ids.astype(np.uint16)))


def learn_stream(task: LearnTask, on_progress: Callable[[int], None] = lambda _: None) -> tuple[Checked, float]:
    """Learn from a stream; returns the losses on each group of texts, and the seconds it took."""
    from samplemix_core.evaluation.quick import learn

    started = time.monotonic()
    ids, begins = _documents(task.documents)
    texts = _table(task.texts)
    text_ids, text_ends = _flat(texts["ids"])
    n_bytes, group = texts["n_bytes"].to_numpy(), texts["group"].to_numpy()
    stream = _table(task.stream)["place"].to_numpy().astype(np.int64)
    learnt = learn(task.size, _parts(stream, ids, begins, on_progress), task.tokens, text_ids, text_ends, n_bytes)
    nats = np.array([np.bincount(group, each, minlength=task.groups) for each in learnt.nats], dtype=np.float64)
    seconds = time.monotonic() - started
    event(log, "learnt", run=task.run, stream=task.name, tokens=int(learnt.tokens[-1]), seconds=seconds)
    return Checked(learnt.tokens, nats), seconds


_PUT_ASIDE_SECONDS = 300.0


def training_device(wanted: str) -> tuple[str, str]:
    """Where a transformer is trained, cpu or cuda, and in which precision. ConfigError for a GPU that this worker hasn't got."""
    import torch

    has_gpu = torch.cuda.is_available()
    if wanted == "cuda" and not has_gpu:
        raise ConfigError(
            "This worker sees no GPU.", "Start a worker on a GPU node with the resource GPU=1, or choose device auto."
        )
    device = "cuda" if has_gpu and wanted != "cpu" else "cpu"
    halves = device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return device, "bfloat16" if halves else "float32"


def train_stream(task: LearnTask, on_progress: Callable[[int], None] = lambda _: None) -> tuple[Checked, float]:
    """Train a transformer on a stream; returns as learn_stream. It goes on where it was put aside, by whichever worker.

    Raises ConfigError if a GPU is asked for and this worker has none.
    """
    from samplemix_core.evaluation.transformer import Recipe, State, Training

    assert task.training is not None
    own, started = task.training, time.monotonic()
    device, _ = training_device(own.device)
    ids, begins = _documents(task.documents)
    texts = _table(task.texts)
    text_ids, text_ends = _flat(texts["ids"])
    places = _table(task.stream)["place"].to_numpy().astype(np.int64)
    # What every document begins with counts as a token, for training spends it.
    ends = np.cumsum(np.diff(begins)[places] + 1)
    places = places[: int(np.searchsorted(ends, task.tokens + 1)) + 1]
    start = np.array([task.size], dtype=np.uint16)
    parts = [part for place in places.tolist() for part in (start, ids[begins[place] : begins[place + 1]])]
    stream = np.concatenate(parts)[: task.tokens + 1]
    recipe = Recipe.of(own.parameters, own.sequence, task.tokens, own.precision)
    kept = _Aside(Deployment.load(), own.checkpoint, own.earlier)

    def learnt(state: State | None) -> tuple[Int64Array, npt.NDArray[np.float64]]:
        training = Training(task.size, recipe, device, own.seed)

        def stepped() -> None:
            on_progress(training.step * recipe.batch)
            if time.monotonic() - kept.at > _PUT_ASIDE_SECONDS:
                kept.put(training.state)

        if state is not None:
            training.go_on(state)
            event(log, "training goes on", run=task.run, stream=task.name, step=training.step)
        return training.learn(stream, text_ids.astype(np.uint16), text_ends, stepped)

    state = kept.taken_up()
    try:
        tokens, each = learnt(state)
    except ModelError as error:
        if state is None:
            raise
        event(log, "training begins anew", key=own.checkpoint, error=error.what)
        tokens, each = learnt(None)
    group = texts["group"].to_numpy()
    nats = np.array([np.bincount(group, nats, minlength=task.groups) for nats in each], dtype=np.float64)
    seconds = time.monotonic() - started
    event(log, "trained", run=task.run, stream=task.name, tokens=int(tokens[-1]), device=device, seconds=seconds)
    return Checked(tokens, nats), seconds


@dataclass
class _Aside:
    """A training's state in the object store, as tensors and nothing that could be run; `at`: when it was last put there."""

    deployment: Deployment
    key: str
    earlier: tuple[str, ...]
    at: float = field(default_factory=time.monotonic)

    def put(self, state: "State") -> None:
        """Put a state there, in place of an earlier one."""
        from safetensors.torch import save_file

        about = {
            "step": str(state.step),
            "tokens": json.dumps(state.tokens),
            "nats": json.dumps([each.tolist() for each in state.nats]),
        }
        with self.deployment.scratch() as directory:
            path = directory / "training.safetensors"
            save_file({name: tensor.contiguous().cpu() for name, tensor in state.tensors.items()}, path, about)
            try:
                self.deployment.state.upload(self.key, path)
            except ObjectStoreError as error:
                # The training is fine, and will be put aside the next time.
                event(log, "training not put aside", key=self.key, error=error.what)
        self.at = time.monotonic()

    def taken_up(self) -> "State | None":
        """The state that is there, if it can be read."""
        from safetensors import SafetensorError, safe_open

        from samplemix_core.evaluation.transformer import State

        key = next((each for each in (self.key, *self.earlier) if self.deployment.state.head(each) is not None), None)
        if key is None:
            return None
        with self.deployment.scratch() as directory:
            path = directory / "training.safetensors"
            with self.deployment.state.open(key) as stream, path.open("wb") as file:
                shutil.copyfileobj(stream, file)
            try:
                with safe_open(path, "pt") as stored:
                    about, names = stored.metadata(), stored.keys()
                    tensors = {name: stored.get_tensor(name) for name in names}
                nats = [np.array(each) for each in json.loads(about["nats"])]
                return State(int(about["step"]), tensors, json.loads(about["tokens"]), nats)
            except (SafetensorError, KeyError, TypeError, ValueError) as error:
                event(log, "training begins anew", key=key, error=repr(error))
                return None


def _parts(
    stream: Int64Array, ids: npt.NDArray[np.uint16], begins: Int64Array, on_progress: Callable[[int], None]
) -> "Iterator[Part]":
    """The stream's documents, about a million tokens at a time."""
    from samplemix_core.evaluation.quick import Part

    lengths = np.diff(begins)[stream]
    again, ends = had_before(stream), np.cumsum(lengths)
    first = 0
    while first < stream.size:
        before = int(ends[first - 1]) if first else 0
        last = max(first + 1, int(np.searchsorted(ends, before + _TOKENS_AT_ONCE)))
        own = stream[first:last]
        tokens = np.concatenate([ids[begins[place] : begins[place + 1]] for place in own.tolist()])
        on_progress(before)
        yield Part(tokens.astype(np.int64), ends[first:last] - before, again[first:last])
        first = last


@lru_cache(maxsize=1)
def _vocabulary(file: StoredFile) -> Vocabulary:
    deployment = Deployment.load()
    with deployment.scratch() as directory:
        path = directory / "vocabulary.json"
        download(deployment.state, file.key, file.sha256, path, what="The vocabulary of an evaluation", remedy=_AGAIN)
        return Vocabulary.from_json(path.read_text())


@lru_cache(maxsize=1)
def _documents(file: StoredFile) -> tuple[npt.NDArray[np.uint16], Int64Array]:
    """Tokens of all documents, one after another, and where each begins, with the end of the last. Streams of a run share them."""
    lists = _table(file)["ids"].combine_chunks()
    return lists.values.to_numpy(), lists.offsets.to_numpy()


def _table(file: StoredFile) -> pa.Table:
    deployment = Deployment.load()
    with deployment.scratch() as directory:
        path = directory / "table.parquet"
        download(deployment.state, file.key, file.sha256, path, what="A file of an evaluation", remedy=_AGAIN)
        return pq.read_table(path, page_checksum_verification=True)


def _flat(lists: pa.ChunkedArray) -> tuple[Int64Array, Int64Array]:
    """Lists as quick.learn() takes texts."""
    whole = lists.combine_chunks()
    return whole.values.to_numpy().astype(np.int64), whole.offsets.to_numpy()[1:]
