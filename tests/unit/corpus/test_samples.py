import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from samplemix_core import schemas
from samplemix_core.corpus.records import describe
from samplemix_core.identity import content_hash


def documents(texts: list[str]) -> pa.Table:
    columns = [list(range(len(texts))), [None] * len(texts), ["web"] * len(texts), texts, [None] * len(texts), [None] * len(texts)]
    return pa.table([pa.array(c, f.type) for c, f in zip(columns, schemas.DOCUMENTS, strict=True)], schema=schemas.DOCUMENTS)


@settings(deadline=None)
@given(st.lists(st.text(), max_size=8), st.lists(st.text(), max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_size_and_hash_are_those_of_each_text(first: list[str], second: list[str], start: int, length: int) -> None:
    table = pa.concat_tables([documents(first), documents(second)]).slice(start, length)
    texts = table.column("text").to_pylist()
    n_bytes, hashes = describe(table["text"])
    assert n_bytes.equals(pa.array([len(text.encode()) for text in texts], pa.int32()))
    assert hashes.equals(pa.array([content_hash(text) for text in texts], pa.binary(16)))
