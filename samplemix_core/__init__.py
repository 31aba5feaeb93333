"""SampleMix: sample-wise pre-training data mixing by quality and diversity.

Read the rooms in the order data flows: corpus, quality, embedding, diversity, mixing, manifest; then store and
compute, which hold state and machines; then pipeline, which puts the steps in order.
"""

__version__ = "0.1.0"
