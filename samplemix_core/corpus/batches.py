"""Documents and rejected records, gathered into Arrow tables of bounded size."""

from dataclasses import dataclass

import pyarrow as pa

from samplemix_core import schemas
from samplemix_core.corpus.records import Document, RejectedRecordError

MAX_BATCH_RECORDS = 2048
MAX_BATCH_BYTES = 64 * 2**20


@dataclass(frozen=True)
class ShardBatch:
    """Consecutive records of a shard: the documents (schemas.DOCUMENTS) and the rejected ones (schemas.QUARANTINE).

    `records` is how many the reader met, counted before they were judged.
    """

    documents: pa.Table
    quarantine: pa.Table
    records: int


class BatchBuilder:
    """Gathers records in reading order. Where one batch ends depends on the records alone, not on how they were read."""

    def __init__(self) -> None:
        self._documents: list[tuple[int, Document]] = []
        self._quarantine: list[tuple[int, int, str, str]] = []
        self._bytes = 0
        self._records = 0

    def __bool__(self) -> bool:
        return bool(self._documents or self._quarantine)

    def has_room(self, n_bytes: int) -> bool:
        """Whether a record of that many bytes fits; an empty batch takes any record."""
        n_records = len(self._documents) + len(self._quarantine)
        return not n_records or (n_records < MAX_BATCH_RECORDS and self._bytes + n_bytes <= MAX_BATCH_BYTES)

    def meet(self) -> None:
        """Count a record, before it is known what becomes of it."""
        self._records += 1

    def add(self, row: int, document: Document, n_bytes: int) -> None:
        """Append a document whose record has that many bytes."""
        self._documents.append((row, document))
        self._bytes += n_bytes

    def reject(self, row: int, byte_offset: int, rejected: RejectedRecordError) -> None:
        """Append a record that is no document, with its reason."""
        self._quarantine.append((row, byte_offset, str(rejected.reason), rejected.detail))

    def take(self) -> ShardBatch:
        """The batch so far; the builder starts afresh."""
        documents, self._documents = self._documents, []
        quarantine, self._quarantine = self._quarantine, []
        records, self._records = self._records, 0
        self._bytes = 0
        return ShardBatch(
            records=records,
            documents=pa.table(
                [
                    pa.array([row for row, _ in documents], pa.int64()),
                    pa.array([document.doc_id for _, document in documents], pa.string()),
                    pa.array([document.domain for _, document in documents], pa.string()),
                    pa.array([document.text for _, document in documents], pa.large_string()),
                ],
                schema=schemas.DOCUMENTS,
            ),
            quarantine=pa.table(
                [pa.array([record[i] for record in quarantine], field.type) for i, field in enumerate(schemas.QUARANTINE)],
                schema=schemas.QUARANTINE,
            ),
        )
