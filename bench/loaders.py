"""Peers of the reader, in an environment of their own: run by bench/readers.py, not by itself.

python loaders.py WHAT DIRECTORY: one of the functions below. Prints what it finds as one line of JSON.
"""

import json
import os
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from tests.conformance.stock_readers import without_images

SECONDS = 8.0
SHUFFLE = 1000


def rate(documents: Iterator[Any]) -> float:
    """Documents a second, of all or of those that come in SECONDS."""
    start = time.perf_counter()
    count = 0
    for _ in documents:
        count += 1
        if not count % 1000 and time.perf_counter() - start > SECONDS:
            break
    return count / (time.perf_counter() - start)


def hf_stream(files: list[str]) -> Any:
    """Hugging Face's datasets, streaming."""
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset("json", data_files=files, split="train", streaming=True)


def to_mds(files: list[str], out: str) -> None:
    """The same documents as MosaicML's shards."""
    from streaming import MDSWriter

    with MDSWriter(out=out, columns={"id": "str", "text": "str"}, size_limit=2**26) as writer:
        for file in files:
            with Path(file).open() as lines:
                for line in lines:
                    document = json.loads(line)
                    writer.write({"id": document["id"], "text": document["text"]})


def datasets(directory: Path) -> float:
    """Documents a second of Hugging Face's datasets, shuffled, from local files."""
    return rate(iter(hf_stream(sorted(map(str, (directory / "corpus").rglob("*.jsonl")))).shuffle(seed=0, buffer_size=SHUFFLE)))


def streaming(directory: Path) -> float:
    """Documents a second of StreamingDataset, shuffled, from local shards of its own, which are made first."""
    without_images()
    from streaming import StreamingDataset

    mds = str(directory / "mds")
    to_mds(sorted(map(str, (directory / "corpus").rglob("*.jsonl"))), mds)
    best = 0.0
    for batch_size in (1, 64):
        dataset = StreamingDataset(local=mds, remote=None, shuffle=True, batch_size=batch_size, num_canonical_nodes=1)
        best = max(best, rate(iter(dataset)))
    return best


def s3_datasets(directory: Path) -> float:
    """The same as datasets() from a bucket, by addresses that are signed."""
    import boto3

    client = boto3.client("s3", endpoint_url=os.environ["S3_ENDPOINT_URL"])
    bucket, _, prefix = os.environ["BENCH_PLACE"].removeprefix("s3://").partition("/")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/corpus/")
    keys = [item["Key"] for page in pages for item in page["Contents"]]
    files = [client.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}) for key in keys]
    return rate(iter(hf_stream(files).shuffle(seed=0, buffer_size=SHUFFLE)))


def s3_streaming(directory: Path) -> float:
    """The same as streaming() from a bucket, by its own way."""
    without_images()
    from streaming import StreamingDataset

    place, local = f"{os.environ['BENCH_PLACE']}/mds", str(directory / "streamed")
    return rate(iter(StreamingDataset(local=local, remote=place, shuffle=True, batch_size=64, num_canonical_nodes=1)))


def resume(directory: Path) -> dict[str, Any]:
    """Stop and go on at random places, by loader: how many documents are lost, and how many come twice, of all."""
    files = sorted(map(str, (directory / "corpus").rglob("*.jsonl")))
    ids = [json.loads(line)["id"] for file in files for line in Path(file).read_text().splitlines()]
    return {"datasets": resumed(partial(hf_case, files), len(ids)), "torchdata": resumed(partial(torchdata_case, ids), len(ids))}


def resumed(case: Any, want: int) -> dict[str, Any]:
    """What some cases of one loader lose and repeat."""
    rng = random.Random(0)
    lost = repeated = exact = failed = 0
    cases = 20
    for _ in range(cases):
        seen, error = case(*rng.sample([1, 2, 4], 2), rng)
        failed += error
        lost += want - len(seen)
        twice = sum(seen.values()) - len(seen)
        repeated += twice
        exact += not error and not twice and len(seen) == want
    documents = cases * want
    return {"cases": cases, "exact": exact, "failed": failed, "lost": lost / documents, "repeated": repeated / documents}


def torchdata_case(ids: list[str], before: int, after: int, rng: random.Random) -> tuple[Counter[str], bool]:
    """One stop and one resume of StatefulDataLoader over a DistributedSampler, with other ranks and workers."""
    from torch.utils.data import DistributedSampler
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader(rank: int, world_size: int, workers: int) -> Any:
        # A list is a map-style dataset, which its type doesn't say.
        sampler: Any = DistributedSampler(ids, world_size, rank, seed=1, drop_last=False)  # type: ignore[arg-type]
        return StatefulDataLoader(ids, batch_size=4, sampler=sampler, num_workers=workers, collate_fn=list)

    seen: Counter[str] = Counter()
    steps, workers = rng.randrange(5, max(6, len(ids) // before // 8)), rng.choice([0, 2])
    states = []
    for rank in range(before):
        part = loader(rank, before, workers)
        for _, batch in zip(range(steps), part, strict=False):
            seen.update(batch)
        states.append(part.state_dict())
    for rank in range(after):
        part = loader(rank, after, rng.choice([0, 2]))
        try:
            part.load_state_dict(states[rank % before])
            for batch in part:
                seen.update(batch)
        # What it raises for states of other ranks or workers: they count as refused.
        except (StopIteration, AssertionError, ValueError, TypeError, RuntimeError, IndexError, KeyError):
            return seen, True
    return seen, False


def hf_case(files: list[str], before: int, after: int, rng: random.Random) -> tuple[Counter[str], bool]:
    """One stop and one resume, with other ranks."""
    from datasets.distributed import split_dataset_by_node

    seen: Counter[str] = Counter()
    stop = rng.randrange(50, 400)
    states = []
    for rank in range(before):
        part = split_dataset_by_node(hf_stream(files).shuffle(seed=1, buffer_size=100), rank, before)
        for count, document in enumerate(part, start=1):
            seen[document["id"]] += 1
            if count == stop // before:
                break
        states.append(part.state_dict())
    for rank in range(after):
        part = split_dataset_by_node(hf_stream(files).shuffle(seed=1, buffer_size=100), rank, after)
        try:
            part.load_state_dict(states[rank % before])
            for document in part:
                seen[document["id"]] += 1
        except (ValueError, TypeError, RuntimeError, IndexError, KeyError):
            return seen, True
    return seen, False


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    measures = {each.__name__: each for each in (datasets, streaming, s3_datasets, s3_streaming, resume)}
    print(json.dumps(measures[sys.argv[1]](Path(sys.argv[2]))))
