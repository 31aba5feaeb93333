"""SampleMix: sample-wise pre-training data mixing by quality and diversity.

Read the pure packages in the order data flows: corpus, quality, scorers, embedding, diversity, mixing, manifest. Then objects,
database and compute, which handle state and machines; worker, which does the work, and pipeline, which drives it; and reading,
crawls, models, operations, report, pages, local, demo and cli. docs/architecture.md describes each.
"""

__version__ = "0.1.0"
