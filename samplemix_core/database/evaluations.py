"""Evaluations of mixtures: the vocabularies they count in, curves of losses, and comparisons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from psycopg2.extras import Json, execute_values

from samplemix_core.database.connection import Cursor, Named, rows_as, scalar
from samplemix_core.database.copy import copy_in
from samplemix_core.errors import ConfigError
from samplemix_core.evaluation.comparison import Checked, TextGroup


@dataclass(frozen=True)
class StoredVocabulary:
    """A corpus's vocabulary: its id, how many tokens it has, and its file below the state root."""

    vocabulary_key: str
    tokens: int
    artifact_key: str
    artifact_sha256: str


def find_vocabulary(cursor: Cursor, corpus_uri: str) -> StoredVocabulary | None:
    """The first vocabulary that was trained on a corpus, which all of its evaluations count in."""
    cursor.execute(
        "SELECT vocabulary_key, tokens, artifact_key, artifact_sha256 FROM vocabulary WHERE corpus_uri = %s"
        " ORDER BY created_at, vocabulary_key LIMIT 1",
        (corpus_uri,),
    )
    return next(iter(rows_as(cursor, StoredVocabulary)), None)


def save_vocabulary(cursor: Cursor, corpus_uri: str, vocabulary: StoredVocabulary) -> None:
    """Enter a corpus's vocabulary, unless it has it."""
    cursor.execute(
        "INSERT INTO vocabulary (corpus_uri, vocabulary_key, tokens, artifact_key, artifact_sha256) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (corpus_uri, *vars(vocabulary).values()),
    )


def find_evaluation(
    cursor: Cursor, key: str, targets: Mapping[int, str], groups: Sequence[TextGroup]
) -> tuple[int, Checked] | None:
    """A stored evaluation by its key: its id, and the losses of these groups; targets are the names by their benchmarks' ids."""
    cursor.execute("SELECT evaluation_id FROM evaluation WHERE evaluation_key = %s", (key,))
    found = cursor.fetchone()
    if found is None:
        return None
    cursor.execute(
        "SELECT benchmark_id, text_group, half, tokens, nats FROM evaluation_loss WHERE evaluation_id = %s ORDER BY tokens", found
    )
    column = {group: number for number, group in enumerate(groups)}
    rows = cursor.fetchall()
    tokens = sorted({row[3] for row in rows})
    nats = np.zeros((len(tokens), len(groups)))
    place = {count: number for number, count in enumerate(tokens)}
    for benchmark_id, group, half, count, loss in rows:
        nats[place[count], column[TextGroup(targets[benchmark_id], group, half)]] = loss
    return int(found[0]), Checked(np.array(tokens, dtype=np.int64), nats)


def save_evaluation(
    cursor: Cursor,
    values: Mapping[str, Any],
    checked: Checked,
    benchmarks: Mapping[str, int],
    groups: Sequence[TextGroup],
    n_bytes: Sequence[int],
) -> int:
    """Enter an evaluation and its losses, of targets by their benchmarks' ids; returns its id. One that is there stays."""
    cursor.execute(
        "INSERT INTO evaluation (evaluation_key, corpus_uri, method, vocabulary_key, policy, settings, mixture, version, draw,"
        " budget_tokens, share, tokens, documents, copies, seconds, run)"
        " VALUES (%(evaluation_key)s, %(corpus_uri)s, %(method)s, %(vocabulary_key)s, %(policy)s, %(settings)s, %(mixture)s,"
        " %(version)s, %(draw)s, %(budget_tokens)s, %(share)s, %(tokens)s, %(documents)s, %(copies)s, %(seconds)s, %(run)s)"
        " ON CONFLICT (evaluation_key) DO NOTHING RETURNING evaluation_id",
        {**values, "settings": Json(values["settings"])},
    )
    entered = cursor.fetchone()
    if entered is None:
        cursor.execute("SELECT evaluation_id FROM evaluation WHERE evaluation_key = %s", (values["evaluation_key"],))
        return int(scalar(cursor))
    points = len(checked.tokens)
    copy_in(
        cursor,
        "evaluation_loss",
        pa.table(
            {
                "evaluation_id": np.full(points * len(groups), entered[0], dtype=np.int32),
                "benchmark_id": np.tile(np.array([benchmarks[each.target] for each in groups], dtype=np.int32), points),
                "text_group": [each.group for each in groups] * points,
                "half": np.tile(np.array([each.half for each in groups], dtype=np.int16), points),
                "tokens": np.repeat(checked.tokens, len(groups)),
                "nats": checked.nats.ravel(),
                "n_bytes": np.tile(np.array(n_bytes, dtype=np.int64), points),
            }
        ),
    )
    return int(entered[0])


def save_comparison(
    cursor: Cursor,
    corpus_uri: str,
    mixture: str,
    version: int | None,
    report: dict[str, Any],
    run: str,
    evaluations: Mapping[str, Sequence[Sequence[int]]],
) -> int:
    """Enter a comparison, with the evaluations of each contender by method and draw; returns its id. A draft has no version."""
    cursor.execute(
        "INSERT INTO comparison (corpus_uri, mixture, version, report, run) VALUES (%s, %s, %s, %s, %s) RETURNING comparison_id",
        (corpus_uri, mixture, version, Json(report), run),
    )
    comparison_id = int(scalar(cursor))
    execute_values(
        cursor,
        "INSERT INTO comparison_evaluation (comparison_id, contender, draw, evaluation_id) VALUES %s",
        [
            (comparison_id, name, draw, each)
            for name, methods in evaluations.items()
            for found in methods
            for draw, each in enumerate(found)
        ],
    )
    return comparison_id


def name_version(cursor: Cursor, comparison_id: int, version: int) -> None:
    """Say which version a comparison's draft became."""
    cursor.execute("UPDATE comparison SET version = %s WHERE comparison_id = %s", (version, comparison_id))


def load_comparison(cursor: Cursor, comparison_id: int) -> dict[str, Any]:
    """A stored comparison: mixture, version, created_at and report. Raises ConfigError if there is none."""
    cursor.execute("SELECT mixture, version, created_at, report FROM comparison WHERE comparison_id = %s", (comparison_id,))
    found = next(iter(rows_as(cursor, Named)), None)
    if found is None:
        raise ConfigError(f"There is no comparison {comparison_id}.", "'samplemix sql --query comparisons' lists them.")
    return dict(found)
