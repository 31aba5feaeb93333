"""SampleMix: sample-wise pre-training data mixing by quality and diversity.

Read the pure packages in the order data flows: corpus, quality, embedding, diversity, mixing, manifest; then objects, database and
compute, which handle state and machines; then worker, which does the work, and pipeline, which drives it; then report, local, demo
and cli.
"""

__version__ = "0.1.0"
