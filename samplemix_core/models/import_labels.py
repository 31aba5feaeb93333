"""Import labels from files, made by people or by a model asked elsewhere, and measure how far two annotators agree."""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa

from samplemix_core import schemas
from samplemix_core.corpus.records import RejectedRecordError
from samplemix_core.corpus.shards import JSON_LINES, format_of
from samplemix_core.database.annotations import both_judged
from samplemix_core.database.connection import Cursor
from samplemix_core.database.labels import add_annotations, ensure_annotator, list_annotators
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError
from samplemix_core.progress import Progress, Report
from samplemix_core.quality.labels import Label, LabelFields, Reject, RejectedLabelError, read_label
from samplemix_core.quality.measures import measure_levels
from samplemix_core.quality.rubric import Rubric

MAX_RECORD_BYTES = 64 * 2**20
RECORDS_AT_ONCE = 2_000


@dataclass(frozen=True)
class SetAside:
    """A record of a file that gave no label: its number, from 1, and why."""

    record: int
    reason: Reject
    detail: str


@dataclass
class Imported:
    """What became of a file's records: records = new + known + repeated + set aside.

    known: the annotator had judged that text the same before; repeated: an earlier record of the file says the same.
    """

    annotator: str
    records: int = 0
    new: int = 0
    known: int = 0
    repeated: int = 0
    set_aside: list[SetAside] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def import_labels(
    uri: str,
    annotator: str,
    rubric: Rubric,
    names: LabelFields,
    deployment: Deployment,
    report: Report = lambda _: None,
    *,
    dry_run: bool = False,
) -> Imported:
    """Enter the labels of a file under an annotator's name. The file, an absolute path or a URI, has a format of corpora.

    In one transaction, everything that can be read is entered, or nothing. With `dry_run` the file is read and checked, nothing is
    entered, and known labels count as new.
    """
    directory, _, name = uri.rpartition("/")
    found = Imported(annotator)
    with ExitStack() as stack:
        stream = stack.enter_context(deployment.store(directory or "/").open(name))
        records = (format_of(name) or JSON_LINES).kind.rows(stream, name, MAX_RECORD_BYTES)
        labels = _labels(records, rubric, names, PurePosixPath(name).name.partition(".")[0], found)
        if not dry_run:
            cursor = stack.enter_context(deployment.transaction())
            annotator_id = ensure_annotator(cursor, annotator, rubric, {"kind": "import"})
        while part := list(islice(labels, RECORDS_AT_ONCE)):
            if dry_run:
                found.new += len(part)
            else:
                _enter(cursor, annotator_id, part, found)
            report(Progress("import", found.records, 0, documents=found.records, unit="records"))
    report(Progress("import", found.records, found.records, documents=found.records, unit="records"))
    return found


def _labels(
    records: Iterable[Any], rubric: Rubric, names: LabelFields, source: str, found: Imported
) -> Iterator[tuple[int, Label]]:
    """Yield the labels of distinct texts, with the numbers of their records; all other records are counted in `found`."""
    seen: dict[bytes, tuple[int, tuple[int, ...]]] = {}
    for number, record in enumerate(records, 1):
        found.records = number
        try:
            if isinstance(record, RejectedRecordError):
                raise RejectedLabelError(Reject.UNREADABLE, record.detail)
            label = read_label(record, rubric, names, source)
            first, scores = seen.setdefault(label.content_hash, (number, label.scores))
            if scores != label.scores:
                raise RejectedLabelError(Reject.CONTRADICTS, f"record {first} has the same text")
        except RejectedLabelError as error:
            found.set_aside.append(SetAside(number, error.reason, error.detail))
            continue
        if first == number:
            yield number, label
        else:
            found.repeated += 1


def _enter(cursor: Cursor, annotator_id: int, part: list[tuple[int, Label]], found: Imported) -> None:
    added = add_annotations(cursor, annotator_id, label_table([label for _, label in part]))
    for number, label in part:
        if label.content_hash in added.differing:
            detail = f"{found.annotator} judged this text differently before"
            found.set_aside.append(SetAside(number, Reject.CONTRADICTS, detail))
    found.new += added.new
    found.known += len(part) - added.new - len(added.differing)


def label_table(labels: list[Label]) -> pa.Table:
    """Labels as schemas.LABELS."""
    columns = [[getattr(label, item.name) for label in labels] for item in fields(Label)]
    return pa.table(
        [pa.array(values, kind.type) for values, kind in zip(columns, schemas.LABELS, strict=True)], schema=schemas.LABELS
    )


def agreement(one: str, other: str, deployment: Deployment) -> list[dict[str, Any]]:
    """How far two annotators agree on the texts that both judged, by dimension and overall: measures, and weighted kappa.

    Raises ConfigError if they judged by different rubrics, or have judged no text in common.
    """
    with deployment.transaction() as cursor:
        found = {each.name: each for each in list_annotators(cursor, [one, other])}
        first, second = found[one], found[other]
        if first.rubric != second.rubric:
            raise ConfigError(f"{one} and {other} judged by different rubrics.", "Compare annotators of one rubric.")
        mine, theirs = both_judged(cursor, first.annotator_id, second.annotator_id)
    if not mine.size:
        raise ConfigError(f"{one} and {other} have judged no text in common.", "Annotate the same documents with both.")
    columns = [(name, mine[:, i], theirs[:, i]) for i, name in enumerate(first.rubric.names)]
    if len(columns) > 1:
        columns.append((first.rubric.overall, mine.sum(axis=1), theirs.sum(axis=1)))
    return [
        {
            "score": name,
            "texts": len(mine),
            f"mean of {one}": float(a.mean()),
            f"mean of {other}": float(b.mean()),
            **measure_levels(a, b),
        }
        for name, a, b in columns
    ]
