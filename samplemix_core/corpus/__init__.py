"""Read a corpus: from a shard's bytes to Arrow tables of documents and of quarantined records.

Nothing is imported here: listing shards (shards.py) needs none of the packages that read them.
"""
