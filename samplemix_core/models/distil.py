"""Distil a transformer into a static encoder, and compare two encoders on a corpus: in this process, without runs or services."""

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from samplemix_core.config.run import RunConfig
from samplemix_core.deployment import Deployment
from samplemix_core.embedding.encoder import Encoder, load_encoder
from samplemix_core.embedding.static import distill, distill_on, save_static
from samplemix_core.errors import ConfigError, CorpusError, DiversityHealthError
from samplemix_core.identity import fingerprint
from samplemix_core.pipeline.register import list_corpus
from samplemix_core.progress import Progress, Report
from samplemix_core.settings import is_directory, make_home
from samplemix_core.worker.compare import Comparison, compare, compare_texts, embed, sample_texts
from samplemix_core.worker.jobs import CompareTask

HELD_OUT_EVERY = 4
"""One in this many of a corpus's documents is held out for the comparison."""


@dataclass(frozen=True)
class Distilled:
    """A static encoder that was made, where it lies, and how it compares or why it could not be compared."""

    directory: Path
    dimensions: int
    tokens: int
    fitted_on: int
    seconds: float
    comparison: Comparison | None
    not_compared: str = ""

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"directory": str(self.directory)}


def corpus_paths(config: RunConfig, deployment: Deployment) -> tuple[str, ...]:
    """The shards of a run's snapshots; raise CorpusError if there are none."""
    return tuple(info.key for shards in list_corpus(config, deployment).snapshots.values() for info in shards)


def distill_encoder(
    config: RunConfig, deployment: Deployment, report: Report, *, on_corpus: bool, documents: int, dimensions: int, to: Path | None
) -> Distilled:
    """Distil the configured transformer, on documents of the corpus or from its vocabulary alone.

    It is saved in the directory `to`, or in one below the home named after its content, where it may exist already.

    Raises ConfigError if `to` exists, or the encoder is static itself; CorpusError if the corpus has too few documents.
    """
    started = time.monotonic()
    if to is not None and to.exists():
        raise ConfigError(f"{to} is there already.", "Name another directory.")
    # Tokens' vectors are fitted to the part of a document that both encoders read as one sequence.
    encoder = load_encoder(config.embedding.model_copy(update={"windows": 1}))
    if encoder.is_static:
        raise ConfigError(f"The encoder {encoder.spec['name']!r} is static already.", "Name a transformer.")
    texts: list[str] = []
    if on_corpus:
        report(Progress("read", 0, 0, message=f"documents of {config.corpus_uri}"))
        paths = corpus_paths(config, deployment)
        texts = sample_texts(deployment.store(config.corpus_uri), paths, config.reader, documents)
    fitted = [text for i, text in enumerate(texts) if i % HELD_OUT_EVERY != HELD_OUT_EVERY - 1]
    dimensions = min(dimensions, encoder.dim)
    if on_corpus and len(fitted) < dimensions:
        raise CorpusError(
            f"{config.corpus_uri} gave {len(fitted):,} documents; {dimensions} dimensions need at least as many.",
            "Read more documents, ask for fewer dimensions, or distil without a corpus.",
        )
    vectors = _vectors(encoder, fitted, dimensions, report)
    plain = encoder.tokenizer.without_special_tokens().to_tokenizer()
    name = config.embedding.encoder
    made_from = {
        # A path has to be found from any directory.
        "encoder": str(Path(name).absolute()) if is_directory(name) else name,
        "weights_sha256": encoder.spec["weights_sha256"],
        "dimensions": vectors.shape[1],
        "documents": len(fitted),
    }
    directory = to or _own_directory(deployment, encoder, vectors.tobytes(), made_from)
    if not directory.exists():
        directory.parent.mkdir(parents=True, exist_ok=True)
        save_static(directory, vectors, plain, made_from)
    seconds = time.monotonic() - started
    comparison, why_not = _compare_with_own(encoder, directory, config, texts[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY], report)
    return Distilled(directory, vectors.shape[1], len(vectors), len(fitted), seconds, comparison, why_not)


def _own_directory(deployment: Deployment, encoder: Encoder, content: bytes, made_from: dict[str, Any]) -> Path:
    name = fingerprint({"vectors": hashlib.sha256(content).hexdigest(), "tokenizer": encoder.tokenizer_id, **made_from})
    return make_home(deployment.home) / "encoders" / f"{Path(encoder.spec['name']).name}-static-{name[:12]}"


def _vectors(encoder: Encoder, texts: list[str], dimensions: int, report: Report) -> npt.NDArray[np.float32]:
    vocabulary = encoder.tokenizer.vocabulary()
    total = vocabulary.n_tokens.size
    parts = []
    for start in range(0, total, 2048):
        report(Progress("vocabulary", start, total, unit="tokens"))
        parts.append(encoder.encode(vocabulary.take(np.arange(start, min(start + 2048, total)))))
    report(Progress("vocabulary", total, total, unit="tokens"))
    of_tokens = np.concatenate(parts)
    if not texts:
        return distill(of_tokens, dimensions)

    def on_progress(done: int) -> None:
        report(Progress("documents", done, len(texts), documents=done, unit="documents"))

    of_documents = embed(encoder, texts, on_progress)
    read = encoder.tokenizer.without_special_tokens().tokenize(texts)
    return distill_on(of_tokens, dimensions, read, of_documents)


def _compare_with_own(
    encoder: Encoder, directory: Path, config: RunConfig, texts: list[str], report: Report
) -> tuple[Comparison | None, str]:
    if not texts:
        return None, "no corpus was given"
    own = config.embedding.model_copy(update={"encoder": str(directory), "device": "auto", "precision": "auto"})

    def on_progress(done: int) -> None:
        report(Progress("compare", done, len(texts), documents=done, unit="documents"))

    try:
        return compare_texts(texts, load_encoder(own), encoder, config.diversity, on_progress), ""
    except DiversityHealthError as error:
        return None, str(error)


def compare_encoders(config: RunConfig, deployment: Deployment, reference: str, documents: int, report: Report) -> Comparison:
    """Compare the configured encoder with another on documents of the corpus."""

    def on_progress(done: int) -> None:
        report(Progress("compare", done, documents, documents=done, unit="documents"))

    found = compare(
        CompareTask(
            corpus_uri=config.corpus_uri,
            paths=corpus_paths(config, deployment),
            reader=config.reader,
            embedding=config.embedding,
            reference=reference,
            diversity=config.diversity,
            documents=documents,
        ),
        on_progress,
    )
    assert found is not None
    return found
