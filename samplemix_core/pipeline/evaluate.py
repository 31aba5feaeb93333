"""Compare mixtures by what a small model learns from them: published ones, and others solved over the same scores.

Each mixture is drawn several times, and all mixtures alike: a draw is the chance in the copies, the documents that are read, and
their order. What is learnt from a draw is stored, so a comparison that was cut off goes on, and a larger one learns nothing twice.
"""

import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from samplemix_core.compute.fanout import Outcome, Work, call_one, connect, fan_out, require_all
from samplemix_core.config.evaluation import EvaluationConfig
from samplemix_core.config.run import RunConfig, merged
from samplemix_core.database import evaluations
from samplemix_core.database.benchmarks import count_holding, find_benchmarks
from samplemix_core.database.ledger import shard_states
from samplemix_core.database.targets import PREFIX, find_targets, held_out
from samplemix_core.deployment import Deployment, Prefix, model_file
from samplemix_core.errors import BudgetError, CancelledRunError, ConfigError, CorpusError
from samplemix_core.evaluation.comparison import (
    MACRO,
    Checked,
    Comparison,
    Confirmation,
    Contender,
    Losses,
    TargetFacts,
    TextGroup,
    View,
    agreement,
    gains,
    group_losses,
    noise,
    together,
    views,
)
from samplemix_core.evaluation.streams import chosen_by_chance, in_order
from samplemix_core.evaluation.vocabulary import Vocabulary
from samplemix_core.frozen import load_config
from samplemix_core.identity import canonical_json, content_hash, fingerprint
from samplemix_core.manifest.catalogue import Version
from samplemix_core.manifest.format import copies_in
from samplemix_core.mixing.plan import Plan, planned
from samplemix_core.mixing.source import Source
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.decontaminate import search
from samplemix_core.pipeline.plan import Known, Scored, recorded_config
from samplemix_core.pipeline.solve import budget_tokens, solve
from samplemix_core.policies.fixed import Fixed
from samplemix_core.policies.natural import Natural
from samplemix_core.policies.policy import PHASES, Scale
from samplemix_core.policies.uniform import Uniform
from samplemix_core.reading.versions import open_version
from samplemix_core.worker.artifacts import download, store_files
from samplemix_core.worker.evaluate import TEXTS, as_lists
from samplemix_core.worker.jobs import EncodeTask, LearnTask, StoredFile, TrainingTask, VocabularyTask

NATURAL = "natural"
"""The reference of every comparison: every document alike."""

QUICK, TRANSFORMER = "quick", "transformer"
_RECIPE = 1
"""How checks are made: part of an evaluation's identity."""

_CONFIRMING_BYTES = 1_000_000
"""Most bytes of a target that a transformer's losses are taken on: it takes longer for them than a 4-gram model."""

_ASIDE = "/training-"
"""Begins the names of files with trainings that were put aside."""

_VOCABULARY_TEXTS = 4_000
_NEXT_DRAW, _MOST_DRAWS = 1_000_003, 1_000
"""From a draw's seed to the next one's. The first draw has the configuration's own, so it is what would be published."""

_ROW_BITS = 40
_TEXTS_AT_ONCE = 1_000

Int64Array = npt.NDArray[np.int64]
UInt16Array = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Entrant:
    """A mixture to compare: a configuration to solve, or a published version that was made with it."""

    config: RunConfig
    version: Version | None = None


def entrants(
    deployment: Deployment,
    version: Version,
    policies: Sequence[str] = (),
    beside: Sequence[str] = (),
    files: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[RunConfig, dict[str, Entrant]]:
    """A version's configuration, and what is compared, by name: itself, policies at their defaults, other versions, and settings.

    `beside` are published mixtures, NAME or NAME@VERSION; `files` are settings over the version's own, by name. What is solved has
    the version's tokens, unless its settings name a budget: a percentage would be another number where documents are left out.
    Raises ConfigError for what can't be a mixture, ManifestError for a version that isn't there or isn't known to Postgres.
    """
    base = {**recorded_config(deployment, version), "budget": str(version.manifest.budget_tokens)}
    own = load_config(RunConfig, base, "version's settings")
    found = {_title(version): Entrant(own, version)}
    for other in beside:
        name, _, number = other.partition("@")
        if number and not number.isdecimal():
            raise ConfigError(f"{other!r} doesn't name a version.", "Give NAME@VERSION, such as web@3.")
        published = open_version(deployment, name, int(number) if number else None)
        config = load_config(RunConfig, recorded_config(deployment, published), "version's settings")
        found[_title(published)] = Entrant(config, published)
    for name in policies:
        if name != NATURAL:
            settings = merged(base, {"policy": {"name": name}, "phases": []})
            found[name] = Entrant(load_config(RunConfig, settings, f"policy {name}"))
    for title, values in (files or {}).items():
        if title == NATURAL or title in found:
            raise ConfigError(f"Two mixtures are called {title!r}.", "Call the file otherwise.")
        settings = merged(merged(base, values), {"corpus_uri": base["corpus_uri"]})
        found[title] = Entrant(load_config(RunConfig, settings, title))
    return own, found


def _title(version: Version) -> str:
    return f"{version.manifest.name}@{version.manifest.version}"


class Base(NamedTuple):
    """Over whose scores mixtures are compared: a version's, or a draft's, which has no number yet; and what it was made from."""

    name: str
    version: int | None
    budget_tokens: int
    snapshots: frozenset[str]
    known: Known

    @classmethod
    def of(cls, deployment: Deployment, version: Version) -> "Base":
        """A version. Raises ManifestError if Postgres doesn't know it."""
        manifest = version.manifest
        with deployment.transaction() as cursor:
            known = Known.of_version(cursor, version)
        return cls(manifest.name, manifest.version, manifest.budget_tokens, _crawls(version), known)


def _crawls(version: Version) -> frozenset[str]:
    return frozenset(each.name for each in version.manifest.lineage.snapshots)


class _Stream(NamedTuple):
    """One draw of a mixture: documents (n,) by shard and row in one number, the order of their copies (m,), and its digest."""

    place: Int64Array
    order: Int64Array
    digest: str


@dataclass
class _Drawn:
    """A mixture with its draws, and then what was learnt from each: the evaluation's id and losses."""

    entrant: Entrant
    plan: Plan
    held_tokens: int
    share: float
    streams: list[_Stream] = field(default_factory=list)
    learnt: dict[str, list[tuple[int, Checked]]] = field(default_factory=dict)
    seconds: float = 0.0

    def checked(self, method: str) -> list[Checked]:
        """What was learnt by a method, by draw."""
        return [checked for _, checked in self.learnt[method]]


class _Texts(NamedTuple):
    """The targets' texts: TEXTS, what groups (G,) they are in, and the bytes of each group, int64 (G,)."""

    table: pa.Table
    groups: list[TextGroup]
    n_bytes: Int64Array
    facts: list[TargetFacts]


@dataclass(frozen=True, eq=False)
class _Check:
    """A way to learn from streams: what besides them makes an evaluation, the texts, and the call on a worker."""

    method: str
    about: dict[str, Any]
    texts: _Texts
    call: str


def evaluate(run: RunContext, base: Base, entrants: Mapping[str, Entrant], config: EvaluationConfig) -> tuple[int, Comparison]:
    """Compare mixtures over the scores of a version or a draft, with NATURAL as the first; returns the stored comparison's id too.

    The run's configuration is its own. Raises ConfigError without a target, or for a mixture that needs other scores.
    """
    with run.deployment.scratch() as directory, _Files.of(run.deployment, directory) as files:
        return _Evaluation(run, base, config, files, _with_natural(run.config, entrants)).compare()


def _with_natural(own: RunConfig, entrants: Mapping[str, Entrant]) -> dict[str, Entrant]:
    """The reference first, over the same documents, and all with the version's seed."""
    natural = own.model_copy(update={"policy": Natural(), "phases": (), "constraints": own.constraints.selection})
    solved = {
        name: replace(each, config=each.config.model_copy(update={"seed": own.seed})) if each.version is None else each
        for name, each in entrants.items()
    }
    return {NATURAL: Entrant(natural), **solved}


@dataclass
class _Files:
    """Files that tasks hand on, below the state root. They are deleted at the end, or else by upkeep as drafts are."""

    deployment: Deployment
    directory: Path
    prefix: str
    keys: list[str] = field(default_factory=list)

    @classmethod
    @contextmanager
    def of(cls, deployment: Deployment, directory: Path) -> Iterator["_Files"]:
        """Files of one evaluation."""
        files = cls(deployment, directory, f"{Prefix.DRAFTS}/{datetime.now(UTC).date().isoformat()}/{uuid.uuid4().hex}")
        try:
            yield files
        finally:
            for key in files.keys:
                deployment.state.delete(key)

    def key(self) -> str:
        """A key for a file."""
        self.keys.append(f"{self.prefix}/{len(self.keys)}.parquet")
        return self.keys[-1]

    def put(self, table: pa.Table) -> StoredFile:
        """Store a table."""
        key, path = self.key(), self.directory / "put.parquet"
        pq.write_table(table, path, compression="zstd", write_page_checksum=True)
        self.deployment.state.upload(key, path)
        with path.open("rb") as file:
            return StoredFile(key, hashlib.file_digest(file, "sha256").hexdigest())

    def get(self, file: StoredFile, what: str = "A file of an evaluation", remedy: str = "Evaluate again.") -> pa.Table:
        """Read a table."""
        path = self.directory / "get.parquet"
        download(self.deployment.state, file.key, file.sha256, path, what=what, remedy=remedy)
        return pq.read_table(path, page_checksum_verification=True)


class _Evaluation:
    """One comparison: what all of its mixtures share."""

    def __init__(
        self, run: RunContext, base: Base, config: EvaluationConfig, files: _Files, entrants: Mapping[str, Entrant]
    ) -> None:
        """Find the targets, search the corpus for them, and bring their texts into the corpus's vocabulary."""
        self.run, self.base, self.config, self.files, self.entrants = run, base, config, files, entrants
        deployment, uri = run.deployment, run.config.corpus_uri
        with deployment.transaction() as cursor:
            drawn = held_out(cursor, uri)
            names = config.targets or [name.partition("@")[0].removeprefix(PREFIX) for name in drawn]
            self.targets = find_targets(cursor, names)
            own = [f"{each.benchmark.name}@{each.benchmark.benchmark_key}" for each in self.targets]
            kept_out = [*own, *drawn]
            theirs = dict.fromkeys(name for each in entrants.values() for name in each.config.decontaminate)
            benchmarks = find_benchmarks(cursor, [*kept_out, *theirs])
        if not self.targets:
            raise ConfigError(
                f"There is no target to evaluate on: none was drawn from {uri}, and none is named.",
                "Draw one: 'samplemix target draw NAME CORPUS'. Or add yours, 'samplemix target add', and name it: --target NAME,"
                " or gate.targets in a run's settings.",
            )
        self.scored = Scored(deployment, base.known, run.config, files.directory, kept_out, run.cancelled)
        search(run, self.scored.corpus_id, self.scored.scope, benchmarks)
        with deployment.transaction() as cursor:
            states = [state.shard for state in shard_states(cursor, self.scored.scope) if state.is_scored]
        self.shards = sorted(states, key=lambda shard: shard.path)
        self.number = {shard.path: number for number, shard in enumerate(self.shards)}
        self.vocabulary, self.vocabulary_file = self._vocabulary()
        texts, path = self._texts(config.target_bytes), "samplemix_core.worker.evaluate"
        self.checks = [_Check(QUICK, {"target_bytes": config.target_bytes}, texts, f"{path}:learn_stream")]
        if config.confirm:
            most = min(config.target_bytes, _CONFIRMING_BYTES)
            # One for all of the comparison: losses in bfloat16 and float32 differ by more than mixtures may.
            with connect(deployment) as client:
                work = Work("the device", (config.device,), resources=self._resources)
                self.device, precision = call_one(client, f"{path}:training_device", work, run.cancelled)
            about = {"parameters": config.parameters, "sequence": config.sequence, "precision": precision, "target_bytes": most}
            self.checks.append(_Check(TRANSFORMER, about, self._texts(most), f"{path}:train_stream"))

    @property
    def _resources(self) -> dict[str, float]:
        """What a training asks of its worker."""
        return {"GPU": 1} if self.config.device == "cuda" else {}

    def compare(self) -> tuple[int, Comparison]:
        """Draw all mixtures, learn from each draw what wasn't learnt before, and store what it comes to."""
        own, drawn, unsolved = self.run.config, dict[str, _Drawn](), dict[str, str]()
        total = len(self.entrants) * (3 if self.config.controls else 1)
        for name, entrant in self.entrants.items():
            self.run.tell(len(drawn), total, f"solving {name}", unit="mixtures")
            self._draw(name, entrant, drawn, unsolved)
            if self.config.controls and name in drawn:
                for control, own_entrant in _controls(name, drawn[name]).items():
                    self._draw(control, own_entrant, drawn, unsolved)
        place, lengths, documents = self._encoded(drawn)
        streams = {
            (name, draw): np.searchsorted(place, stream.place)[stream.order]
            for name, each in drawn.items()
            for draw, stream in enumerate(each.streams)
        }
        # By the reference's first draw alone, so that one more mixture or draw changes nothing for the others.
        tokens = int(lengths[streams[NATURAL, 0]].sum())
        for check in self.checks:
            self._learn(check, drawn, streams, tokens, documents)
        found = self._compared(drawn, tokens).model_copy(update={"unsolved": unsolved})
        ids = {name: [[number for number, _ in learnt] for learnt in each.learnt.values()] for name, each in drawn.items()}
        with self.run.deployment.transaction() as cursor:
            report = found.model_dump(mode="json")
            of = (self.base.name, self.base.version)
            number = evaluations.save_comparison(cursor, own.corpus_uri, *of, report, self.run.name, ids)
        self.run.tell(1, 1, f"comparison {number}", unit="comparisons")
        return number, found

    def _vocabulary(self) -> tuple[Vocabulary, StoredFile]:
        """The corpus's vocabulary, trained now if it has none."""
        deployment, uri = self.run.deployment, self.run.config.corpus_uri
        with deployment.transaction() as cursor:
            stored = evaluations.find_vocabulary(cursor, uri)
        if stored is None:
            self.run.tell(0, 1, "training a vocabulary", unit="vocabularies")
            task = VocabularyTask(uri, tuple(shard.path for shard in self.shards), self.run.config.reader, _VOCABULARY_TEXTS)
            with connect(deployment) as client:
                work = Work("the vocabulary", (task,))
                path = "samplemix_core.worker.evaluate:train_vocabulary"
                made = Vocabulary.from_json(call_one(client, path, work, self.run.cancelled))
            with deployment.scratch() as directory:
                (directory / "vocabulary.json").write_text(made.to_json())
                (digest,) = store_files(directory, deployment.state).values()
            with deployment.transaction() as cursor:
                own = evaluations.StoredVocabulary(made.id, made.size, model_file(digest), digest)
                evaluations.save_vocabulary(cursor, uri, own)
                stored = evaluations.find_vocabulary(cursor, uri) or own
        file = StoredFile(stored.artifact_key, stored.artifact_sha256)
        kept = self.files.directory / "vocabulary.json"
        download(deployment.state, file.key, file.sha256, kept, what="The vocabulary of an evaluation", remedy="Restore the file.")
        return Vocabulary.from_json(kept.read_text()), file

    def _texts(self, most_bytes: int) -> _Texts:
        """The texts of the targets, of large ones those with the lowest hashes, in the vocabulary's tokens."""
        tables, groups, facts = list[pa.Table](), dict[TextGroup, int](), list[TargetFacts]()
        n_bytes: list[int] = []
        for target in self.targets:
            benchmark = target.benchmark
            file = StoredFile(benchmark.artifact_key, benchmark.artifact_sha256)
            table = self.files.get(file, "The file of a target", "Draw or add the target again.")
            texts, names = table["text"].to_pylist(), table["group"].to_pylist()
            hashes = [content_hash(text) for text in texts]
            read, chosen = 0, list[int]()
            for number in sorted(range(len(texts)), key=lambda number: hashes[number]):
                if chosen and read >= most_bytes:
                    break
                chosen.append(number)
                read += len(texts[number].encode())
            for start in range(0, len(chosen), _TEXTS_AT_ONCE):
                part = chosen[start : start + _TEXTS_AT_ONCE]
                of = [TextGroup(target.name, names[number], hashes[number][-1] % 2) for number in part]
                codes = [groups.setdefault(group, len(groups)) for group in of]
                sizes = [len(texts[number].encode()) for number in part]
                n_bytes += [0] * (len(groups) - len(n_bytes))
                for code, size in zip(codes, sizes, strict=True):
                    n_bytes[code] += size
                lists = as_lists(*self.vocabulary.encode([texts[number] for number in part]))
                tables.append(pa.table([lists, pa.array(sizes, pa.int64()), pa.array(codes, pa.int32())], schema=TEXTS))
            with self.run.deployment.transaction() as cursor:
                held_by = count_holding(cursor, benchmark.benchmark_id, [shard.shard_id for shard in self.shards])
            facts.append(
                TargetFacts(
                    **{
                        "name": target.name,
                        "key": benchmark.benchmark_key,
                        "drawn": target.corpus_uri == self.run.config.corpus_uri,
                    },
                    **{"texts": len(chosen), "n_bytes": read, "held_by": held_by},
                )
            )
        return _Texts(pa.concat_tables(tables), list(groups), np.array(n_bytes, dtype=np.int64), facts)

    def _draw(self, name: str, entrant: Entrant, drawn: dict[str, _Drawn], unsolved: dict[str, str]) -> None:
        """Draw a mixture; or enter why it can't be solved, which is no reason against the others."""
        try:
            drawn[name] = self._drawn(name, entrant)
        except (BudgetError, ConfigError, CorpusError) as error:
            if name == NATURAL:
                raise
            unsolved[name] = str(error)
            self.run.tell(len(drawn), len(drawn), f"left out: {name}: {error}", unit="mixtures")

    def _drawn(self, name: str, entrant: Entrant) -> _Drawn:
        """A mixture's draws. Raises BudgetError if it can't be solved, ConfigError for a version of other crawls."""
        config, version = entrant.config, entrant.version
        if version is not None:
            self._require_crawls(version)
        source, scale = self.scored.source(config, solving=version is None)
        found: _Drawn | None = None
        for draw in range(self.config.draws):
            if self.run.cancelled.is_set():
                raise CancelledRunError("Cancelled while mixtures were solved.", "Evaluate again: what was learnt is kept.")
            number = self.config.seed * _MOST_DRAWS + draw
            if version is not None and found is None:
                budget, phases = version.manifest.budget_tokens, _published(source, version)
            elif version is None:
                budget, phases = _solved(source, scale, config, config.seed + number * _NEXT_DRAW)
            copies = sum(phases[1:], start=phases[0])
            if found is None:
                plan = planned(source, copies, budget)
                held = 0 if version is None else version.manifest.realised_tokens - plan.realised_tokens
                # So that all have as many tokens, and each its own repetition.
                share = min(1.0, min(self.config.tokens, self.base.budget_tokens) / budget)
                found = _Drawn(entrant, plan, held, share)
            found.streams.append(self._stream(name, source, phases, found.share, number))
        assert found is not None
        return found

    def _require_crawls(self, version: Version) -> None:
        if missing := sorted(_crawls(version) - self.base.snapshots):
            raise ConfigError(
                f"It holds documents of {', '.join(missing)}, which {self.base.name}@{self.base.version} doesn't know.",
                "Evaluate the version with the most crawls, and name the other beside it.",
            )

    def _stream(self, name: str, source: Source, phases: Sequence[UInt16Array], share: float, seed: int) -> _Stream:
        """The stream of a draw. Raises BudgetError if it has no document."""
        if share < 1:
            chosen = source.chosen(lambda keys: chosen_by_chance(keys, share, seed))
            phases = [np.where(chosen, copies, 0).astype(np.uint16) for copies in phases]
        others = {str(number): copies for number, copies in enumerate(phases)}
        places, keys = [np.empty(0, dtype=np.int64)], [np.empty((0, 2), dtype=np.uint64)]
        by_phase: list[list[npt.NDArray[np.int32]]] = [[np.empty(0, dtype=np.int32)] for _ in phases]
        for table in source.rows(sum(phases[1:], start=phases[0]), others):
            path = table["shard"].chunk(0).dictionary[0].as_py()
            places.append((self.number[path] << _ROW_BITS) + table["row"].to_numpy())
            words = np.frombuffer(table["sample_key"].chunk(0).buffers()[1], dtype=">u8").reshape(-1, 2)
            keys.append(words.astype(np.uint64))
            for number, own in enumerate(by_phase):
                own.append(table[str(number)].to_numpy())
        key = np.concatenate(keys)
        order = in_order(key, [np.concatenate(own) for own in by_phase], seed)
        if not order.size:
            raise BudgetError(
                f"Of {name} there is no document to read: of a share of {share:.2%}, or as all hold texts of targets.",
                "Read more tokens, or choose other targets.",
            )
        place = np.concatenate(places)
        digest = hashlib.blake2b(np.ascontiguousarray(key[order]).tobytes(), digest_size=16)
        # A shard that is replaced has other texts at the same places.
        for number in np.unique(place >> _ROW_BITS).tolist():
            digest.update(canonical_json([self.shards[number].path, self.shards[number].etag]))
        return _Stream(place, order, digest.hexdigest())

    def _encoded(self, drawn: Mapping[str, _Drawn]) -> tuple[Int64Array, Int64Array, StoredFile]:
        """The documents of all streams: their places (n,), ascending, how many tokens each has, and the file of their tokens."""
        place = np.unique(np.concatenate([stream.place for each in drawn.values() for stream in each.streams]))
        shard, row = place >> _ROW_BITS, place & ((1 << _ROW_BITS) - 1)
        config, keys = self.run.config, dict[int, str]()
        work = []
        for number in np.unique(shard).tolist():
            keys[number] = self.files.key()
            own, rows = self.shards[number], row[shard == number]
            task = EncodeTask(self.run.name, config.corpus_uri, config.reader, own, rows, self.vocabulary_file, keys[number])
            work.append(Work(own.path, (task,), cost=rows.size))
        files, outcomes = dict[str, StoredFile](), list[Outcome]()
        self.run.tell(0, len(work), "reading documents")
        with connect(self.run.deployment) as client:
            for outcome in fan_out(client, "samplemix_core.worker.evaluate:encode_documents", work, self.run.cancelled):
                outcomes.append(outcome)
                if outcome.error is None:
                    files[outcome.result.key] = outcome.result
                self.run.tell(len(outcomes), len(work), "reading documents")
        require_all(outcomes, "shards", "were not read", "what was learnt before is kept")
        tables = [self.files.get(files[key]) for _, key in sorted(keys.items())]
        whole = pa.concat_tables(tables)
        lengths = np.concatenate([np.diff(chunk.offsets.to_numpy()) for chunk in whole["ids"].chunks])
        return place, lengths, self.files.put(whole)

    def _learn(
        self,
        check: _Check,
        drawn: Mapping[str, _Drawn],
        streams: Mapping[tuple[str, int], Int64Array],
        tokens: int,
        documents: StoredFile,
    ) -> None:
        """Learn from so many tokens of each draw's stream what wasn't learnt before."""
        about = {
            **{"method": check.method, "recipe": _RECIPE, "vocabulary": self.vocabulary.id, "tokens": tokens, **check.about},
            "targets": sorted(each.benchmark.benchmark_key for each in self.targets),
        }
        keys = {
            (name, draw): fingerprint({**about, "stream": stream.digest})
            for name, each in drawn.items()
            for draw, stream in enumerate(each.streams)
        }
        learnt = self._known(check, keys)
        texts = self.files.put(check.texts.table)
        state, is_trained = self.run.deployment.state, check.method == TRANSFORMER
        aside = [info.key for info in state.list(f"{Prefix.DRAFTS}/") if _ASIDE in info.key] if is_trained else []
        works: dict[str, list[tuple[str, int]]] = {}
        for which, key in keys.items():
            if which not in learnt:
                # Two mixtures may have the same stream, and it is learnt from once.
                works.setdefault(key, []).append(which)
        work = {
            key: Work(
                f"draw {draw + 1} of {name}",
                (
                    LearnTask(
                        run=self.run.name,
                        name=f"{name}/{draw}",
                        documents=documents,
                        stream=self.files.put(pa.table({"place": streams[name, draw].astype(np.int32)})),
                        texts=texts,
                        groups=len(check.texts.groups),
                        size=self.vocabulary.size,
                        tokens=tokens,
                        training=self._training(check, draw, key, aside) if check.method == TRANSFORMER else None,
                    ),
                ),
                resources=self._resources if check.method == TRANSFORMER else {},
            )
            for key, ((name, draw), *_) in works.items()
        }
        by_work = {id(each): key for key, each in work.items()}
        outcomes, total = list[Outcome](), len(keys)
        what = "learning" if check.method == QUICK else f"training a {check.method} of each"

        def partly(read: int) -> None:
            if check.method == TRANSFORMER:
                self.run.tell(len(learnt), total, f"{what}: {read:,} tokens of those in work", unit="draws")

        self.run.tell(len(learnt), total, what, unit="draws")
        with connect(self.run.deployment) as client:
            for outcome in fan_out(client, check.call, list(work.values()), self.run.cancelled, partly=partly):
                outcomes.append(outcome)
                if outcome.error is None:
                    key = by_work[id(outcome.work)]
                    checked, seconds = outcome.result
                    name, draw = works[key][0]
                    number = self._save(check, key, drawn[name], draw, checked, streams[name, draw], seconds)
                    training = outcome.work.arguments[0].training
                    for kept in () if training is None else (training.checkpoint, *training.earlier):
                        state.delete(kept)
                    learnt |= dict.fromkeys(works[key], (number, checked))
                    drawn[name].seconds += seconds
                self.run.tell(len(learnt), total, outcome.work.name, unit="draws")
        require_all(outcomes, "draws", "were not learnt from", "the others are kept")
        for name, each in drawn.items():
            each.learnt[check.method] = [learnt[name, draw] for draw in range(len(each.streams))]

    def _training(self, check: _Check, draw: int, key: str, aside: Sequence[str]) -> TrainingTask:
        """How a transformer learns from a draw: all mixtures' begin alike, and one that was cut off goes on."""
        name = f"{_ASIDE}{key}.safetensors"
        return TrainingTask(
            parameters=self.config.parameters,
            sequence=self.config.sequence,
            device=self.device,
            precision=check.about["precision"],
            seed=self.config.seed * _MOST_DRAWS + draw,
            # Drafts are deleted by their day.
            checkpoint=f"{Prefix.DRAFTS}/{datetime.now(UTC).date().isoformat()}{name}",
            earlier=tuple(sorted((kept for kept in aside if kept.endswith(name)), reverse=True)),
        )

    def _known(self, check: _Check, keys: Mapping[tuple[str, int], str]) -> dict[tuple[str, int], tuple[int, Checked]]:
        """What was learnt before."""
        names = {each.benchmark.benchmark_id: each.name for each in self.targets}
        with self.run.deployment.transaction() as cursor:
            found = {which: evaluations.find_evaluation(cursor, key, names, check.texts.groups) for which, key in keys.items()}
        return {which: each for which, each in found.items() if each is not None}

    def _save(self, check: _Check, key: str, drawn: _Drawn, draw: int, checked: Checked, stream: Int64Array, seconds: float) -> int:
        config, version = drawn.entrant.config, drawn.entrant.version
        values = {
            **{"evaluation_key": key, "corpus_uri": self.run.config.corpus_uri, "method": check.method, "run": self.run.name},
            **{"vocabulary_key": self.vocabulary.id, "draw": draw, "share": drawn.share, "seconds": seconds},
            **{"policy": PHASES if config.phases else config.policy.name, "budget_tokens": drawn.plan.budget_tokens},
            "settings": config.model_dump(mode="json", include=_SETTINGS),
            "mixture": None if version is None else version.manifest.name,
            "version": None if version is None else version.manifest.version,
            **{"tokens": int(checked.tokens[-1]), "documents": int(np.unique(stream).size), "copies": stream.size},
        }
        benchmarks = {each.name: each.benchmark.benchmark_id for each in self.targets}
        with self.run.deployment.transaction() as cursor:
            texts = check.texts
            return evaluations.save_evaluation(cursor, values, checked, benchmarks, texts.groups, texts.n_bytes.tolist())

    def _compared(self, drawn: Mapping[str, _Drawn], tokens: int) -> Comparison:
        texts, targets = self.checks[0].texts, self.targets
        groups, n_bytes = texts.groups, texts.n_bytes
        uri, share = self.run.config.corpus_uri, drawn[NATURAL].share
        shares = {
            each.name: {group: facts["share"] for group, facts in each.report["groups"].items() if "share" in facts}
            for each in targets
            if each.corpus_uri == uri
        }
        seen = views(groups, n_bytes, shares)
        reference = drawn[NATURAL].checked(QUICK)
        drawn_ones = {each.name for each in targets if each.corpus_uri == uri}
        near = [view for view in seen if view.target in drawn_ones and view.name != MACRO]
        far = [view for view in seen if view.target not in drawn_ones and view.name != MACRO]
        contenders = []
        for name, each in drawn.items():
            own, version, config = each.checked(QUICK), each.entrant.version, each.entrant.config
            contenders.append(
                Contender(
                    name=name,
                    policy=PHASES if config.phases else config.policy.name,
                    mixture=None if version is None else version.manifest.name,
                    version=None if version is None else version.manifest.version,
                    share=each.share,
                    realised_tokens=each.plan.realised_tokens + each.held_tokens,
                    held_tokens=each.held_tokens,
                    tokens=float(np.mean([checked.tokens[-1] for checked in own])),
                    documents=float(np.mean([stream.place.size for stream in each.streams])),
                    copies=float(np.mean([stream.order.size for stream in each.streams])),
                    epochs=each.plan.epochs,
                    multipliers={
                        column: {group.name: group.multiplier for group in found} for column, found in each.plan.groups.items()
                    },
                    gains=tuple(gains(own, reference, n_bytes, seen)),
                    groups=tuple(group_losses(own, reference, groups, n_bytes)),
                    like_source=together(own, reference, n_bytes, near),
                    elsewhere=together(own, reference, n_bytes, far),
                    settings=settings_of(config),
                    seconds=each.seconds,
                )
            )
        return Comparison(
            **{"method": QUICK, "vocabulary": self.vocabulary.id, "tokens": tokens, "share": share, "draws": self.config.draws},
            budget_tokens=self.base.budget_tokens,
            targets=tuple(texts.facts),
            contenders=tuple(contenders),
            noise=tuple(noise(reference, n_bytes, seen)),
            confirmation=self._confirmation(drawn, shares, seen, tokens) if self.config.confirm else None,
        )

    def _confirmation(
        self, drawn: Mapping[str, _Drawn], shares: Mapping[str, Mapping[str, float]], seen: Sequence[View], tokens: int
    ) -> Confirmation:
        quick, texts = (check.texts for check in self.checks)
        views_too = views(texts.groups, texts.n_bytes, shares)
        reference = drawn[NATURAL].checked(TRANSFORMER)
        return Confirmation(
            method=TRANSFORMER,
            parameters=self.config.parameters,
            sequence=self.config.sequence,
            tokens=tokens,
            texts=sum(fact.texts for fact in texts.facts),
            gains={
                name: tuple(gains(each.checked(TRANSFORMER), reference, texts.n_bytes, views_too)) for name, each in drawn.items()
            },
            noise=tuple(noise(reference, texts.n_bytes, views_too)),
            agreement=agreement(
                Losses({name: each.checked(QUICK) for name, each in drawn.items()}, quick.n_bytes, seen),
                Losses({name: each.checked(TRANSFORMER) for name, each in drawn.items()}, texts.n_bytes, views_too),
            ),
        )


def settings_of(config: RunConfig) -> dict[str, Any]:
    """The settings by which a mixture of other scores can be made alike: what a file of settings holds."""
    return {
        "policy": {"name": config.policy.name, **config.policy.model_dump(mode="json", exclude={"name"})},
        **config.model_dump(mode="json", include=_SETTINGS - {"policy", "budget", "seed"}, exclude_defaults=True),
    }


_SETTINGS = {"policy", "phases", "constraints", "budget", "max_copies", "max_share", "normalise", "near_duplicates", "seed"}


def _solved(source: Source, scale: Scale, config: RunConfig, seed: int) -> tuple[int, list[UInt16Array]]:
    """The budget, and the copies of each phase, or of the whole, with other chance."""
    source.draw(seed)
    budget = budget_tokens(config, source, scale)
    source.draw(seed)
    found = solve(config, source, scale, budget)
    return budget, list(found.in_phases.values()) or [found.copies]


def _published(source: Source, version: Version) -> list[UInt16Array]:
    """The copies of a version, by phase; of documents that hold texts of targets, none."""
    columns = [copies_in(name) for name in version.manifest.phase_names] or ["copies"]
    return [source.copies_in(version.rows(), column) for column in columns]


def _controls(name: str, drawn: _Drawn) -> dict[str, Entrant]:
    """A mixture's shares of domains without its weights inside, and the weights without the shares."""
    config, domains = drawn.entrant.config, drawn.plan.groups["domain"]
    if len(domains) < 2 or all(isinstance(policy, Natural | Uniform) for policy in config.policies):
        # It has no weights inside.
        return {}
    total = sum(group.share for group in domains)
    shares = Fixed(shares={group.name: group.share / total for group in domains})
    found: dict[str, dict[str, Any]] = {
        f"{name}: shares alone": {"policy": shares, "phases": (), "constraints": config.constraints.selection},
        f"{name}: weights alone": {
            "constraints": config.constraints.model_copy(update={"hold": tuple(sorted({*config.constraints.hold, "domain"}))})
        },
    }
    return {title: Entrant(config.model_copy(update=update)) for title, update in found.items()}
