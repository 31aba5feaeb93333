"""The Arrow schemas that pass between packages: the contract, in one place.

A sample is known by (snapshot, shard path relative to the corpus root, row). `row` is the 0-based index of the record in
its shard, in reading order: the line number in JSON lines (blank lines count as lines, not as documents), the row
number in Parquet.
"""

import pyarrow as pa

DIMENSIONS = ("clarity", "completeness", "structure", "credibility", "significance", "knowledge", "reasoning")
"""The seven quality dimensions (Table 1 of arXiv 2503.01506), in order. Their ranges: DEFAULT_RUBRIC in quality/rubric.py."""

UNKNOWN = "und"
"""The language of a text that has none, or none that can be told; what is said of any kind that isn't stored."""

DOCUMENTS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("doc_id", pa.string()),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("license", pa.string()),
    ]
)
"""corpus -> quality, embedding. url and license: null where the reader names no field, or a record has none."""

QUARANTINE = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("byte_offset", pa.int64(), nullable=False),
        pa.field("reason", pa.string(), nullable=False),
        pa.field("detail", pa.string(), nullable=False),
    ]
)
"""corpus -> database. byte_offset counts decompressed bytes (JSON lines); it is -1 for Parquet, whose records have none,
and for a document without a token, which is set aside later."""

SAMPLES = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("doc_id", pa.string()),
        pa.field("n_tokens", pa.int32(), nullable=False),
        pa.field("unknown_tokens", pa.int32(), nullable=False),
        pa.field("n_bytes", pa.int32(), nullable=False),
        pa.field("content_hash", pa.binary(16), nullable=False),
        pa.field("content_type", pa.string(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("url", pa.string()),
        pa.field("host", pa.string()),
        pa.field("license", pa.string()),
    ]
)
"""corpus, quality and a tokenizer -> database. content_type and language: quality/kinds.py. host: of the URL, in small letters."""

QUALITY = pa.schema(
    [pa.field("row", pa.int64(), nullable=False), pa.field("quality", pa.float32(), nullable=False)]
    + [pa.field(name, pa.float32()) for name in DIMENSIONS]
)
"""quality -> database. quality in its scorer's range; each dimension in its rubric range, null if the scorer has none."""

LABELS = pa.schema(
    [
        pa.field("content_hash", pa.binary(16), nullable=False),
        pa.field("text", pa.large_string(), nullable=False),
        pa.field("doc_id", pa.string()),
        pa.field("source", pa.string(), nullable=False),
        pa.field("language", pa.string()),
        pa.field("split_group", pa.string()),
        pa.field("scores", pa.list_(pa.int16()), nullable=False),
        pa.field("rationale", pa.string()),
    ]
)
"""A file of labels, or an annotator -> database -> training. scores: one for each dimension of a rubric, in its order."""


def embeddings(dim: int) -> pa.Schema:
    """embedding -> diversity, the shard's embedding file: float16 unit vectors in row order."""
    return pa.schema(
        [
            pa.field("row", pa.int64(), nullable=False),
            pa.field("vector", pa.list_(pa.float16(), dim), nullable=False),
        ]
    )


ASSIGNMENTS = pa.schema(
    [
        pa.field("row", pa.int64(), nullable=False),
        pa.field("cluster", pa.int32(), nullable=False),
        pa.field("distance", pa.float32(), nullable=False),
        pa.field("is_noise", pa.bool_(), nullable=False),
        pa.field("diversity", pa.float32(), nullable=False),
    ]
)
"""diversity -> database. distance is cosine distance, 1 - cos, to the cluster's centroid; diversity is the document's, 0..1."""

CLUSTERS = pa.schema(
    [
        pa.field("cluster", pa.int32(), nullable=False),
        pa.field("size", pa.int64(), nullable=False),
        pa.field("compactness", pa.float64(), nullable=False),
        pa.field("separation", pa.float64(), nullable=False),
        pa.field("diversity", pa.float64(), nullable=False),
    ]
)
"""diversity -> database. diversity is normalised to [0, 1] with bounds that belong to the cluster model; a document's own is
averaged over the model's fits."""

CELLS = pa.schema(
    [
        pa.field("domain", pa.string(), nullable=False),
        pa.field("cluster", pa.int32(), nullable=False),
        pa.field("quality_band", pa.int32(), nullable=False),
        pa.field("language", pa.string(), nullable=False),
        pa.field("content_type", pa.string(), nullable=False),
        pa.field("diversity", pa.float32(), nullable=False),
        pa.field("diversity_spread", pa.float32(), nullable=False),
        pa.field("mixture_diversity", pa.float32(), nullable=False),
    ]
    + [
        pa.field(name, pa.int64(), nullable=False)
        for name in (
            *("documents", "tokens", "quality_sum", "quality_square_sum", "distance_sum", "distance_square_sum"),
            *("samples", "copies", "mixture_tokens", "mixture_quality_sum", "mixture_quality_square_sum"),
            *("mixture_distance_sum", "mixture_distance_square_sum"),
        )
    ]
)
"""mixing -> database. A mixture by domain, cluster, band of quality, language and content type, which are empty where they aren't
told apart: its source's documents, each once, and, in columns named
mixture_..., their copies. Sums are of ten-thousandths. diversity is the mean over the documents, diversity_spread its standard
deviation, and mixture_diversity the mean over the copies, or over the documents where there are none."""

COPY_COUNTS = pa.schema(
    [
        pa.field("snapshot", pa.string(), nullable=False),
        pa.field("domain", pa.string(), nullable=False),
        pa.field("copies", pa.int32(), nullable=False),
        pa.field("samples", pa.int64(), nullable=False),
        pa.field("tokens", pa.int64(), nullable=False),
    ]
)
"""mixing -> database. Samples of a mixture's source by their number of copies, including 0, and their tokens, each once."""
