"""The stock readers of the formats, in an environment of their own: run by test_conformance.py, not by itself.

python stock_readers.py FORMAT DIRECTORY: prints what the format's own reader reads, an item a line as JSON: [sample key, number of
the copy or null, id, text, tokens], or the tokens of a document.
"""

import importlib.machinery
import json
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def without_images() -> None:
    """Stand in for torchvision, which StreamingDataset's package imports for images."""
    offered = {
        "torchvision": (),
        "torchvision.datasets": ("VisionDataset",),
        "torchvision.transforms": (),
        "torchvision.transforms.functional": ("to_tensor",),
    }
    for name, classes in offered.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        for each in classes:
            setattr(module, each, type(each, (), {}))
        sys.modules[name] = module


def rows(row: dict[str, Any]) -> Iterator[Any]:
    """A document as often as it has copies, or the copy that it is."""
    for _ in range(row.get("copies", 1)):
        yield row["sample_key"], row.get("copy"), row["id"], row["text"], int(row["n_tokens"])


def hugging_face(root: Path) -> Iterator[Any]:
    """The hub's own way to a repository: by its card."""
    import datasets

    for row in datasets.load_dataset(str(root), split="train", streaming=True):
        yield from rows(row)


def jsonl(root: Path) -> Iterator[Any]:
    """As JSON files of `datasets`."""
    import datasets

    files = sorted(map(str, root.glob("data/*.jsonl")))
    for row in datasets.load_dataset("json", data_files=files, split="train", streaming=True):
        yield from rows(row)


def parquet(root: Path) -> Iterator[Any]:
    """As Parquet files of `datasets`."""
    import datasets

    files = sorted(map(str, root.glob("data/*.parquet")))
    for row in datasets.load_dataset("parquet", data_files=files, split="train", streaming=True):
        yield from rows(row)


def webdataset(root: Path) -> Iterator[Any]:
    """WebDataset; each key must come once."""
    import webdataset as wds

    for row in wds.WebDataset(sorted(map(str, root.glob("*.tar"))), shardshuffle=False).decode():
        assert row["__key__"] == f"{row['json']['sample_key']}-c{row['json']['copy']}"
        yield from rows({**row["json"], "text": row["txt"]})


def mds(root: Path) -> Iterator[Any]:
    """StreamingDataset, with the streams as streams.json lists them."""
    without_images()
    from streaming import Stream, StreamingDataset

    listed = json.loads((root / "streams.json").read_text())["streams"]
    streams = [Stream(local=str(root / name), validate_hash="sha256", **options) for name, options in listed.items()]
    for row in StreamingDataset(streams=streams, batch_size=1, shuffle=True):
        yield from rows(row)


def litdata(root: Path) -> Iterator[Any]:
    """litdata's StreamingDataset, shuffled."""
    import litdata as package

    for row in package.StreamingDataset(str(root), shuffle=True):
        yield from rows(row)


def megatron(root: Path) -> Iterator[Any]:
    """Megatron's IndexedDataset, by the file for --data-args-path."""
    from megatron.core.datasets.indexed_dataset import IndexedDataset

    for prefix in (root / "data-args.txt").read_text().split():
        found = IndexedDataset(prefix)
        for number in range(len(found)):
            yield found[number].tolist()


def megatron_gpt(root: Path) -> Iterator[Any]:
    """Megatron's GPTDataset, built as its training script does from --data-args-path, and an epoch of it: all its tokens.

    Of each dataset its prefix, how many documents an epoch has, and the tokens of its sequences end to end.
    """
    import numpy as np
    from megatron.core.datasets.blended_megatron_dataset_builder import BlendedMegatronDatasetBuilder
    from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig

    class Tokenizer:
        """What the dataset asks of one."""

        eod, vocab_size, unique_identifiers = 0, 2**16, {"class": "words"}

    for prefix in (root / "data-args.txt").read_text().split():
        config = GPTDatasetConfig(
            random_seed=1,
            sequence_length=16,
            blend=([prefix], None),
            split="100,0,0",
            path_to_cache=str(root.parent / "megatron-cache"),
            tokenizer=Tokenizer(),
            reset_position_ids=False,
            reset_attention_mask=False,
            eod_mask_loss=False,
            mid_level_dataset_surplus=0.005,
        )
        train, _, _ = BlendedMegatronDatasetBuilder(GPTDataset, [None, None, None], lambda: True, config).build()
        # In the order of sequences before they were shuffled, they are the shuffled documents end to end.
        order = np.argsort(train.shuffle_index)
        tokens = [train[int(number)]["tokens"].tolist() for number in order]
        yield [prefix, len(train.document_index), [token for sequence in tokens for token in sequence]]


def energon(root: Path) -> Iterator[Any]:
    """Energon, after `energon prepare`."""
    import subprocess

    import megatron.energon as package

    prepare = [str(Path(sys.executable).with_name("energon")), "prepare", str(root), "--non-interactive", "--no-progress"]
    options = ["--split-ratio", "1,0,0", "--sample-type", "TextSample", "--field-map", '{"text": "txt"}']
    subprocess.run([*prepare, *options], check=True, stdout=subprocess.DEVNULL)
    dataset = package.get_train_dataset(
        root,
        worker_config=package.WorkerConfig(rank=0, world_size=1, num_workers=0),
        batch_size=1,
        shuffle_buffer_size=100,
        max_samples_per_sequence=None,
        repeat=False,
    )
    for batch in package.get_loader(dataset):
        key, _, copy = batch.__key__[0].rpartition("/")[2].rpartition("-c")
        yield key, int(copy), batch.text[0]


def olmo(root: Path) -> Iterator[Any]:
    """OLMo-core's dataset of padded documents, which finds them by the .csv.gz beside each array."""
    from olmo_core.data import NumpyPaddedFSLDatasetConfig, TokenizerConfig
    from olmo_core.data.types import NumpyDatasetDType

    origin = json.loads((root / "origin.json").read_text())
    tokenizer = TokenizerConfig(origin["vocab_size"], eos_token_id=origin["eos_token_id"], pad_token_id=origin["eos_token_id"])
    found = NumpyPaddedFSLDatasetConfig(
        tokenizer=tokenizer,
        paths=(root / "paths.txt").read_text().split(),
        sequence_length=4096,
        dtype=NumpyDatasetDType(origin["dtype"]),
        work_dir=str(root.parent / "olmo-work"),
    ).build()
    found.prepare()
    for number in range(len(found)):
        item = found[number]
        yield item["input_ids"][item["label_mask"]].tolist()


def croissant(root: Path) -> Iterator[Any]:
    """mlcroissant: validates the description, and loads its records."""
    import mlcroissant

    described = mlcroissant.Dataset(jsonld=str(root / "croissant.json"))
    issues = described.metadata.ctx.issues
    assert not issues.errors, issues.report()
    for record in described.records("samples"):
        values = {name.rpartition("/")[2]: value for name, value in record.items()}
        yield values["shard"].decode(), int(values["row"]), int(values["copies"])


def page(name: str, root: Path, **replaced: str) -> dict[str, Any]:
    """What the example of a page of docs/ defines, with these places in place of its own."""
    text = (Path(__file__).parents[2] / "docs" / f"{name}.md").read_text()
    code = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0]
    for old, new in {"/data/web-12": str(root), "/tmp/olmo-work": str(root.parent / "olmo-work"), **replaced}.items():
        code = code.replace(old, new)
    found: dict[str, Any] = {}
    exec(code, found)
    return found


def mosaicml_page(root: Path) -> Iterator[Any]:
    """The dataset of docs/mosaicml.md."""
    without_images()
    for row in page("mosaicml", root)["dataset"]:
        yield row["sample_key"], row["text"]


def olmo_page(root: Path) -> Iterator[Any]:
    """The dataset of docs/olmo.md: how many instances."""
    found = page("olmo", root)["config"].build()
    found.prepare()
    yield [len(found), len(found[0]["input_ids"])]


def noting(seen: list[int], collate: Any) -> Any:
    """The same collate function, which notes the positions of what it gets."""

    def noted(batch: list[Any]) -> Any:
        seen.extend(item.position for item in batch)
        return collate(batch)

    return noted


def trainer_page(root: Path) -> Iterator[Any]:
    """The Trainer of docs/hugging-face.md: ten steps, then five more from the checkpoint; the rows that each step had."""
    import os

    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    os.chdir(root)
    where = json.loads((root / "where.json").read_text())
    config = GPT2Config(vocab_size=where["vocabulary_size"], n_positions=128, n_embd=16, n_layer=1, n_head=1)
    make = page("hugging-face", root)["make_trainer"]
    for steps, done in ((10, 0), (15, 10)):
        torch.manual_seed(0)
        trainer = make(GPT2LMHeadModel(config), where["manifest"], where["tokenizer"], steps, done)
        trainer.args.save_strategy = "no"
        seen: list[int] = []
        trainer.data_collator = noting(seen, trainer.data_collator)
        trainer.train(resume_from_checkpoint=bool(done))
        trainer._save_checkpoint(trainer.model, trial=None)
        yield seen[: 4 * (steps - done)]


if __name__ == "__main__":
    reader = globals()[sys.argv[1].replace("-", "_")]
    for item in reader(Path(sys.argv[2])):
        print(json.dumps(item))
