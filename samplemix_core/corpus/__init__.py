"""The corpus, read: a shard's stream of bytes comes in; Arrow tables of documents and of quarantined records go out.

Nothing is imported here: who only lists shards (shards.py) needs none of what reads them.
"""
