"""Documents in: shards of JSON lines and Parquet become Arrow tables; records that can't be read become a quarantine."""

from samplemix_core.corpus.batches import ShardBatch
from samplemix_core.corpus.listing import is_shard, parse_shard_path, select_snapshots
from samplemix_core.corpus.reader import read_shard
from samplemix_core.corpus.records import Reason
from samplemix_core.corpus.samples import describe

__all__ = ["Reason", "ShardBatch", "describe", "is_shard", "parse_shard_path", "read_shard", "select_snapshots"]
