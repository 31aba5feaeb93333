"""Facts of a document that need nothing but its text: size and content hash."""

import hashlib

import numpy as np
import pyarrow as pa

HASH_BYTES = 16


def describe(documents: pa.Table) -> tuple[pa.Array, pa.Array]:
    """Size of each text in bytes of UTF-8, int32 (n,), and its identity.content_hash, binary(16) (n,).

    `documents` has schemas.DOCUMENTS. Works on the Arrow buffers: no Python string is made.
    """
    n_bytes: list[np.ndarray] = []
    digests = bytearray()
    for chunk in documents.column("text").chunks:
        _, offset_buffer, data = chunk.buffers()
        offsets = np.frombuffer(offset_buffer, dtype=np.int64, count=len(chunk) + 1, offset=8 * chunk.offset)
        view = memoryview(b"" if data is None else data)
        for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
            digests += hashlib.blake2b(view[start:end], digest_size=HASH_BYTES).digest()
        n_bytes.append(np.diff(offsets))
    sizes = np.concatenate([*n_bytes, np.empty(0, dtype=np.int64)]).astype(np.int32)
    hashes = pa.FixedSizeBinaryArray.from_buffers(pa.binary(HASH_BYTES), documents.num_rows, [None, pa.py_buffer(bytes(digests))])
    return pa.array(sizes), hashes
