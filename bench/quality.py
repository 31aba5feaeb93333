"""Quality: the composite score against datatrove's filters, heads against the forward pass, asking against its ideal, and accuracy.

Documents are those of --corpus, or docstrings of installed packages. The heads' accuracy is measured on --labels, a directory with
fineweb_legal_value_llm.jsonl.zst and hplt_natural_human.jsonl.zst; without it these figures are null. One thread. Last line JSON.
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from bench.scale import services, texts_of, timed, to_lines
from bench.scoring import ONE_THREAD
from samplemix_core.config.quality import AnnotationConfig
from samplemix_core.config.run import EmbeddingConfig, RunConfig
from samplemix_core.corpus.records import MAX_BATCH_RECORDS
from samplemix_core.corpus.streams import zstd
from samplemix_core.embedding.encoder import load_encoder
from samplemix_core.frozen import load_config
from samplemix_core.local.owner import Owner
from samplemix_core.models.annotate import annotate
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.register import register
from samplemix_core.pipeline.score import score
from samplemix_core.quality.baselines import LabelledInputs, assign_folds
from samplemix_core.quality.composite import FEATURES, measure, score_quality
from samplemix_core.quality.kinds import PROSE, content_types, languages
from samplemix_core.quality.ordinal import HeadSettings, Inputs, expected_score, fit_heads
from samplemix_core.quality.rubric import DEFAULT_RUBRIC
from samplemix_core.quality.training import ORDINAL, choose_settings, train_heads

ROUNDS = 5
DOCUMENTS, ENCODED, FILTERED = 20_000, 96, 200
"""Numbers of documents that are scored, and of these, that are encoded and that datatrove filters."""

ASKED, LATENCY, CONCURRENCY = 1000, 0.05, 32

DATATROVE = ("datatrove==0.10.1", "spacy==3.8.18", "regex")


def best(call: object, rounds: int = ROUNDS) -> float:
    """The least seconds of several calls."""
    assert callable(call)
    return min(timed(call) for _ in range(rounds))


def heads_seconds(texts: list[str], vectors: np.ndarray) -> float:
    """Seconds of heads for the seven dimensions and overall quality, on vectors and features, batch by batch as in a worker."""
    features = measure(pa.array(texts, pa.large_string()))
    rng = np.random.default_rng(0)
    levels = {name: rng.integers(0, top + 1, len(texts)) for name, top in DEFAULT_RUBRIC.maxima.items()}
    heads, _ = fit_heads(Inputs(vectors, features), levels, DEFAULT_RUBRIC.maxima, HeadSettings())

    def score() -> None:
        for start in range(0, len(texts), MAX_BATCH_RECORDS):
            part = slice(start, start + MAX_BATCH_RECORDS)
            for probabilities in heads.probabilities(Inputs(vectors[part], features[part])).values():
                expected_score(probabilities)

    return best(score)


def datatrove_seconds(texts: list[str]) -> tuple[float, dict[str, float]]:
    """Seconds of datatrove's four filters together; and for each feature that both measure, their rank correlation on prose.

    datatrove has an environment of its own, which is made once and kept in the directory of temporary files.
    """
    environment = Path(tempfile.gettempdir()) / f"samplemix-bench-{DATATROVE[0].replace('==', '-')}"
    python = environment / "bin" / "python"
    if not (environment / "made").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *DATATROVE], check=True, stderr=subprocess.DEVNULL)
        (environment / "made").touch()
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(texts, file)
        file.flush()
        script = Path(__file__).with_name("datatrove_filters.py")
        done = subprocess.run([python, script, file.name], check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    table = pa.array(texts, pa.large_string())
    # In code, they define words differently.
    prose = np.array([kind == PROSE for kind in content_types(table)])
    ours = dict(zip(FEATURES, measure(table)[prose].T, strict=True))
    theirs = {name: np.array([row[name] for row in found["measured"]])[prose] for name in found["measured"][0]}
    return found["seconds"], {name: float(spearmanr(values, ours[name]).statistic) for name, values in theirs.items()}


def asking(texts: list[str]) -> float:
    """Seconds that documents of a scored corpus take to be judged and kept, over the ideal at that latency and concurrency."""
    with (
        tempfile.TemporaryDirectory(prefix="samplemix-bench-", ignore_cleanup_errors=True) as directory,
        services(Path(directory) / "home", Owner.of(os.getpid()), {"postgres", "s3", "dask"}) as (_, settings),
        # A process of its own, because only the asking is measured.
        subprocess.Popen(
            [sys.executable, "-m", "tests.llm_server", str(LATENCY), str(Path(directory) / "asked")],
            stdout=subprocess.PIPE,
            text=True,
        ) as server,
    ):
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        shard = Path(directory) / "corpus" / "s1" / "all" / "part.jsonl"
        shard.parent.mkdir(parents=True)
        shard.write_bytes(b"".join(to_lines(texts[: ASKED + 200])))
        uri = str(shard.parents[2])
        config = load_config(
            RunConfig, {"corpus_uri": uri, "embedding": {"max_seq_tokens": 16}, "audit": {"least_documents": 10**6}}
        )
        run = RunContext(config, settings, lambda progress: None)
        score(run, register(run))
        asked = AnnotationConfig(corpus=uri, model="judge", documents=ASKED, concurrency=CONCURRENCY)
        judge = replace(settings, llm_base_url=address, llm_api_key="none")
        try:
            start = time.perf_counter()
            found = annotate(asked, judge)
            seconds = time.perf_counter() - start
        finally:
            server.terminate()
    # Of equal texts, only one is asked about.
    assert found.judged == found.documents > 0.9 * ASKED, found
    return seconds / (found.judged * LATENCY / CONCURRENCY)


LEARNT = ("ordinal_mae", "ordinal_cacc", "natural_auc", "natural_auc_least_language", "natural_auc_features")


def labelled(file: Path, level: str, group: str | None, source: str) -> tuple[list[str], LabelledInputs]:
    """Texts of a label set, each once, without those with conflicting judgements; their inputs are still empty."""
    with file.open("rb") as stream:
        records = [json.loads(line) for line in io.TextIOWrapper(zstd.ZstdFile(stream), "utf-8")]
    judged: dict[str, dict[str, Any]] = {}
    doubted = set()
    for record in records:
        first = judged.setdefault(record["text"], record)
        if first[level] != record[level]:
            doubted.add(record["text"])
    kept = [record for text, record in judged.items() if text not in doubted]
    names, sources = np.unique([str(record[source]) for record in kept], return_inverse=True)
    groups = np.unique([str(record[group]) if group else str(i) for i, record in enumerate(kept)], return_inverse=True)[1]
    levels = np.array([record[level] for record in kept], dtype=np.int64)
    nothing = Inputs(np.empty((len(kept), 0)), np.empty((len(kept), 0)))
    data = LabelledInputs(nothing, {level: levels}, {level: int(levels.max())}, sources, tuple(names.tolist()), groups)
    return [record["text"] for record in kept], data


def with_inputs(texts: list[str], data: LabelledInputs, embedding: EmbeddingConfig) -> LabelledInputs:
    """The same data with an encoder's vectors, and features."""
    loaded = load_encoder(embedding)
    vectors = loaded.encode(loaded.tokenize(texts)).astype(np.float16)
    return replace(data, inputs=Inputs(vectors, measure(pa.array(texts, pa.large_string()))))


def held_out_auc(data: LabelledInputs) -> tuple[float, list[tuple[float, str]]]:
    """AUC of each half of the documents, by heads fitted on the other; and of sources of at least 100 documents, lowest first."""
    ((name, levels),) = data.levels.items()
    fold = assign_folds(data, 2, seed=42)
    given = np.empty(levels.size)
    for part in (0, 1):
        learnt, rest = np.flatnonzero(fold != part), np.flatnonzero(fold == part)
        own = data.take(learnt)
        heads, _ = fit_heads(own.inputs, own.levels, own.maxima, choose_settings(own, 42))
        given[rest] = expected_score(heads.probabilities(data.inputs.take(rest))[name])
    found = []
    for source in np.flatnonzero(np.bincount(data.sources) >= 100).tolist():
        own = data.sources == source
        if 0 < levels[own].sum() < own.sum():
            said = f"{data.source_names[source]} ({(levels[own] == 0).sum()} of {own.sum()} unnatural)"
            found.append((float(roc_auc_score(levels[own], given[own])), said))
    return float(np.mean([roc_auc_score(levels[fold == part], given[fold == part]) for part in (0, 1)])), sorted(found)


def learning(directory: Path) -> dict[str, float]:
    """Measure how good heads are on unseen documents of label sets; prints what they are compared with."""
    texts, data = labelled(directory / "fineweb_legal_value_llm.jsonl.zst", "label", None, "label_name")
    data = replace(data, sources=np.zeros(len(texts), dtype=np.int64), source_names=("web",))
    _, report = train_heads(with_inputs(texts, data, EmbeddingConfig()), folds=5, seed=42, baselines=True)
    overall = report.scores[-1]
    print(f"legal value, {len(texts):,} labels, judged unseen")
    for method, found in sorted(overall.methods.items(), key=lambda item: item[1]["mae"].value):
        print(f"  {method:<24} mae {found['mae'].value:.3f}   cacc {found['cacc'].value:.3f}   kappa {found['kappa'].value:.3f}")
    texts, data = labelled(directory / "hplt_natural_human.jsonl.zst", "label", None, "lang")
    (levels,) = data.levels.values()
    composite = score_quality(pa.array(texts, pa.large_string())).quality
    weighed = replace(data, inputs=Inputs(np.empty((len(texts), 0)), measure(pa.array(texts, pa.large_string()))))
    # A page's beginning alone can be a menu: two stretches tell more than one of their total length.
    embedding = EmbeddingConfig(encoder="multilingual-e5-small", max_seq_tokens=64, windows=2)
    (vectors, by_language), (features, _) = held_out_auc(with_inputs(texts, data, embedding)), held_out_auc(weighed)
    print(f"natural against unnatural text, {len(texts):,} labels, AUC on those that were not learnt from")
    print(f"  composite score                                  {roc_auc_score(levels, composite):.3f}")
    print(f"  its features, weighed by half of the labels      {features:.3f}")
    print(f"  the same and {embedding.encoder}, two stretches  {vectors:.3f}")
    print("  of languages, the lowest:", "; ".join(f"{name} {auc:.3f}" for auc, name in by_language[:4]))
    ordinal = overall.methods[ORDINAL]
    return {
        "ordinal_mae": round(ordinal["mae"].value, 3),
        "ordinal_cacc": round(ordinal["cacc"].value, 3),
        "natural_auc": round(vectors, 3),
        "natural_auc_least_language": round(by_language[0][0], 3),
        "natural_auc_features": round(features, 3),
    }


def main() -> None:
    """Print a table, then the ratios as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, help="A directory of shards")
    parser.add_argument("--labels", type=Path, help="A directory of label sets")
    options = parser.parse_args()
    texts = texts_of(options.corpus, DOCUMENTS)
    table = pa.array(texts, pa.large_string())
    for warm_up in (score_quality, content_types):
        warm_up(table[:100])
    languages(texts[:100])
    composite = best(lambda: score_quality(table))
    kinds, spoken = best(lambda: content_types(table)), best(lambda: languages(texts))
    encoder = load_encoder(EmbeddingConfig())
    some = texts[:ENCODED]
    read = encoder.tokenize(some)
    vectors = encoder.encode(read)
    forward = best(lambda: encoder.encode(read), 2)
    heads = heads_seconds(some, vectors)
    few = texts[:FILTERED]
    filters, agreement = datatrove_seconds(few)
    ratio = (filters / len(few)) / (composite / len(texts))
    over_ideal = asking(texts)
    n_bytes = sum(len(text.encode()) for text in texts) / len(texts)
    print(f"{len(texts):,} documents of {n_bytes:,.0f} bytes on average, {len(FEATURES)} features, one thread")
    rows = [
        ("composite score", len(texts) / composite, ""),
        ("content type", len(texts) / kinds, f"{kinds / composite:.2f} of the composite score's time"),
        ("language", len(texts) / spoken, f"{spoken / composite:.2f} of it"),
        (f"forward pass, {encoder.precision}", ENCODED / forward, ""),
        ("datatrove, four filters", len(few) / filters, f"the composite score is {ratio:,.0f} times as fast"),
        ("ordinal heads, 8 scores", ENCODED / heads, f"{heads / forward:.2%} of the forward pass"),
    ]
    for name, rate, said in rows:
        print(f"{name:<28}{rate:>12,.0f} documents/s   {said}")
    print("rank correlation with datatrove, on prose:", ", ".join(f"{name} {value:.3f}" for name, value in agreement.items()))
    print(f"asking about {ASKED:,} documents, {LATENCY * 1000:.0f} ms, {CONCURRENCY} at once: {over_ideal:.2f} of the ideal")
    found: dict[str, float | None] = {
        "composite_docs_per_s": round(len(texts) / composite),
        "composite_over_datatrove": round(ratio),
        "kinds_over_composite": round((kinds + spoken) / composite, 2),
        "ordinal_extra_share": round(heads / forward, 5),
        "annotate_over_ideal": round(over_ideal, 2),
        **(learning(options.labels) if options.labels else dict.fromkeys(LEARNT)),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    if "OMP_NUM_THREADS" not in os.environ:
        # Threads are chosen when libraries are loaded.
        sys.exit(
            subprocess.run(
                [sys.executable, "-m", "bench.quality", *sys.argv[1:]], env=os.environ | ONE_THREAD, check=False
            ).returncode
        )
    main()
