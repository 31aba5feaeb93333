"""SampleMix: sample-wise pre-training data mixing by quality and diversity.

Read the pure rooms in the order data flows: corpus, quality, embedding, diversity, mixing, manifest; then objects, database and
compute, which hold state and machines; then worker, which works, and pipeline, which drives; then report, local, demo and cli.
"""

__version__ = "0.1.0"
