"""Users' own scorers: classifier networks, fastText models, and others combined into one or calibrated.

Each is entered as a quality model with its files on the object store, so that workers need only its name.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samplemix_core.database.quality_models import (
    QualityModel,
    cell_quantiles,
    find_quality_model,
    save_quality_model,
    score_quantiles,
)
from samplemix_core.deployment import Deployment, model_file
from samplemix_core.errors import ConfigError, ModelError
from samplemix_core.scorers.calibrated import CalibratedSpec, Cell
from samplemix_core.scorers.ensemble import Combine, EnsembleSpec, Member
from samplemix_core.scorers.fasttext import FastTextSpec
from samplemix_core.scorers.scorer import ScorerSpec
from samplemix_core.scorers.transformer import (
    ClassifierConfig,
    Output,
    TransformerSpec,
    load_classifier,
    most_tokens,
    read_classifier,
    try_classifier,
)
from samplemix_core.settings import is_directory
from samplemix_core.worker.artifacts import store_files

QUANTILES = 101
"""Quantiles that say where a score is among others."""


@dataclass(frozen=True)
class AddedScorer:
    """A scorer that was entered, or existed already, and what was found while reading its parts."""

    name: str
    key: str
    quality_model_id: int
    low: float
    high: float
    found: dict[str, Any]


def enter_scorer(
    name: str,
    spec: ScorerSpec,
    low: float,
    high: float,
    deployment: Deployment,
    artifact: tuple[str, str] | None = None,
    **found: Any,
) -> AddedScorer:
    """Enter a quality model with scores from low to high."""
    with deployment.transaction() as cursor:
        model_id = save_quality_model(cursor, name, spec, low=low, high=high, artifact=artifact)
    return AddedScorer(name, spec.key, model_id, low, high, found)


def range_of(low: float, high: float) -> tuple[float, float]:
    """Return the range that is normalised to 0..1. It is part of a model's identity: a different range gives a different quality.

    Raises ConfigError if it isn't a range.
    """
    if not low < high:
        raise ConfigError(f"Scores from {low:g} to {high:g} are not a range.", "Give --low and --high.")
    return low, high


@contextmanager
def _local(place: str, deployment: Deployment) -> Iterator[Path]:
    """Yield the path on this disk of a file that may lie anywhere."""
    path = Path(place)
    if "://" not in place:
        if not path.is_file():
            raise ConfigError(f"There is no file {place}.", "Give the path of a file, or s3://bucket/key.")
        yield path
        return
    directory, _, name = place.rpartition("/")
    with deployment.scratch() as scratch:
        with deployment.store(directory).open(name) as source, (scratch / name).open("wb") as target:
            shutil.copyfileobj(source, target, 2**20)
        yield scratch / name


def add_transformer(
    name: str,
    model: str,
    deployment: Deployment,
    *,
    revision: str | None = None,
    output: Output | None = None,
    label: str | None = None,
    low: float | None = None,
    high: float | None = None,
    max_tokens: int | None = None,
) -> AddedScorer:
    """Enter a sequence-classification model, a directory or a repository on a hub; its weights are safetensors.

    Without `output`, one logit is a regression, from low to high. Of several classes, the probability of `label` (a class's name or
    number) counts; without one, they are the levels of a score. In a regression on several criteria, `label` says which counts.
    Raises ConfigError if all of that does not say what the scores mean.
    """
    from samplemix_core.embedding.loading import hub_directory

    directory = Path(model) if is_directory(model) else hub_directory(model, revision)
    config = read_classifier(directory)
    chosen, number = _meaning(model, config, output, label)
    if chosen == "regression" and (low is None or high is None):
        raise ConfigError(
            f"{model} returns a number, but its range is unknown.",
            "Give --low and --high, as --low 0 --high 5 for FineWeb-Edu's.",
        )
    ends = {"regression": (low, high), "level": (0.0, len(config.labels) - 1.0), "probability": (0.0, 1.0)}[chosen]
    # Find out here whether it works, not on every worker.
    loaded = load_classifier(directory, "cpu")
    try_classifier(model, *loaded)
    most = most_tokens(*loaded)
    with deployment.scratch() as scratch:
        for path in directory.iterdir():
            # Only the files that a model is loaded from: no code, no other weights.
            if path.suffix in (".json", ".txt", ".model", ".safetensors") and path.is_file():
                shutil.copy(path.resolve(), scratch / path.name)
        files = store_files(scratch, deployment.state)
    low, high = range_of(float(ends[0] or 0.0), float(ends[1] or 0.0))
    spec = TransformerSpec(range=(low, high), files=files, output=chosen, label=number, max_tokens=min(max_tokens or most, most))
    return enter_scorer(name, spec, low, high, deployment, classes=list(config.labels.values()))


def _meaning(model: str, config: ClassifierConfig, output: Output | None, label: str | None) -> tuple[Output, int]:
    """What a model's outputs mean, and the number of the one that counts."""
    outputs, names = len(config.labels), ", ".join(config.labels.values())
    chosen: Output = output or ("regression" if outputs == 1 else "probability" if label is not None else "level")
    if (chosen != "regression" and outputs == 1) or (chosen == "level" and config.multi_label):
        raise ConfigError(
            f"{model} has {outputs} outputs, which don't fit --output {chosen}.", "Leave --output out, or choose another."
        )
    if chosen == "level" or (outputs == 1 and label is None):
        return chosen, 0
    numbers = {**{str(number): number for number in config.labels}, **{name: number for number, name in config.labels.items()}}
    if label is None or label not in numbers:
        raise ConfigError(
            f"{model} has no output {label!r}." if label else f"{model} has several outputs.", f"Give --label one of: {names}."
        )
    return chosen, numbers[label]


def add_fasttext(name: str, file: str, label: str, deployment: Deployment) -> AddedScorer:
    """Enter a supervised fastText model (.bin or .ftz), of which one label's probability counts, 0 to 1."""
    import fasttext

    label = label if label.startswith("__label__") else f"__label__{label}"
    with _local(file, deployment) as path:
        try:
            # A threshold below 0 includes labels with a probability of 0.
            labels, _ = fasttext.load_model(str(path)).predict("a word", k=-1, threshold=-1.0)
        except (ValueError, RuntimeError, OSError) as error:
            raise ModelError(f"{file} is not a readable fastText model: {error}", "Give a supervised model's file.") from error
        if label not in labels:
            shown = ", ".join(sorted(each.removeprefix("__label__") for each in labels)[:20])
            raise ConfigError(f"{file} has no label {label.removeprefix('__label__')!r}.", f"Give --label one of: {shown}.")
        with deployment.scratch() as scratch:
            shutil.copy(path, scratch / "model.bin")
            (digest,) = store_files(scratch, deployment.state).values()
    spec = FastTextSpec(range=(0.0, 1.0), model_sha256=digest, label=label)
    return enter_scorer(name, spec, 0.0, 1.0, deployment, (model_file(digest), digest), labels=len(labels))


def add_ensemble(
    name: str, members: Sequence[str], corpus: str, deployment: Deployment, *, combine: Combine = "mean"
) -> AddedScorer:
    """Enter a scorer that ranks documents by several others, using quantiles of their scores on a corpus, and combines the ranks.

    Raises ConfigError unless there are two or more, none an ensemble, and each has scored the corpus, not all documents alike.
    """
    with deployment.transaction() as cursor:
        models: list[QualityModel] = [find_quality_model(cursor, member) for member in members]
        if len({model.key for model in models}) < max(2, len(models)):
            raise ConfigError("An ensemble needs at least two different quality models.", "Name them with --of, each once.")
        if nested := [model.name for model in models if model.spec.get("kind") == EnsembleSpec.model_fields["kind"].default]:
            raise ConfigError(f"{nested[0]} is an ensemble itself.", "Name its members instead.")
        spec_of: list[Member] = []
        for model in models:
            quantiles = score_quantiles(cursor, model.quality_model_id, corpus, QUANTILES)
            if quantiles is None:
                raise ConfigError(
                    f"{model.name} ({model.key[:12]}) has not scored any document of {corpus}.",
                    "Run the corpus with all of them as scorers first.",
                )
            if quantiles[0] == quantiles[-1]:
                raise ConfigError(f"{model.name} gave every document of {corpus} {quantiles[0]:g}: it ranks nothing.")
            spec_of.append(Member(key=model.key, quantiles=tuple(quantiles)))
    spec = EnsembleSpec(range=(0.0, 1.0), combine=combine, members=tuple(spec_of))
    return enter_scorer(name, spec, 0.0, 1.0, deployment, members=[model.name for model in models])


def calibrate(name: str, of: str, corpus: str, deployment: Deployment, *, least: int = 200, most: float = 0.25) -> AddedScorer:
    """Enter a scorer that compares documents only within their content type and language, by another's scores on a corpus.

    A cell with fewer than `least` documents is treated as its content type, and a content type with fewer keeps its scores. A score
    moves by at most `most` of its range. Raises ConfigError unless the other has scored `least` documents of one content type.
    """
    with deployment.transaction() as cursor:
        base = find_quality_model(cursor, of)
        found = cell_quantiles(cursor, base.quality_model_id, corpus, QUANTILES)
    overall = next((cell.quantiles for cell in found if not cell.content_type), None)
    cells = [Cell.model_validate(vars(cell)) for cell in found if cell.content_type and cell.documents >= least]
    if overall is None or not cells:
        raise ConfigError(
            f"{base.name} ({base.key[:12]}) has not scored {least} documents of one content type of {corpus}.",
            f"Run the corpus with {base.name} as a scorer first, or lower --least.",
        )
    spec = CalibratedSpec(
        range=range_of(base.low, base.high),
        of=base.key,
        cells=tuple(cells),
        overall=tuple(overall),
        most=most * (base.high - base.low),
    )
    kinds = [f"{cell.content_type} {cell.language or 'in any language'}: {cell.documents:,}" for cell in cells]
    return enter_scorer(name, spec, base.low, base.high, deployment, of=base.name, cells=kinds)
