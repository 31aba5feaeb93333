"""Proof: what mixtures of a corpus gain on targets and cost on text like the source, against every document alike in the same run.

    python -m bench.evaluation [CORPUS TARGET ...] [--snapshot NAME ...] [--encoder NAME] [--full]

CORPUS is a directory of snapshot/domain/file, and each TARGET a file of texts; without them, documents of this machine, with the
descriptions of its packages as the target. All is scored and mixed on services of its own, at a fifth of the tokens. By default
documents are embedded with a static encoder that is distilled first, which takes seconds in place of minutes. --full also trains
a small transformer on the streams, which may take an hour. Ratios are of tokens that natural needs over those that a mixture needs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from backports import zstd

from bench.policy_table import command
from bench.scale import distill_shipped, services
from samplemix_core.demo.corpus import collect
from samplemix_core.local.owner import Owner

NAME, HELD, DOCUMENTS = "evaluated", "held", 6_000
NAMED = {"plain": "samplemix", "safe": "samplemix_safe", "best": "samplemix_calibrated"}
OTHERS = ("temperature", "qurating", "unimax")
CONFIRMED_TOKENS = 1_500_000
_TARGET_DOMAIN = "packages"


def of_this_machine(directory: Path) -> tuple[Path, list[Path]]:
    """A corpus of documents of this machine, and the texts of one of its domains as a target."""
    corpus, target = directory / "corpus", directory / f"{_TARGET_DOMAIN}.jsonl"
    collect(corpus, "s", DOCUMENTS)
    with target.open("wb") as file:
        for shard in sorted((corpus / "s" / _TARGET_DOMAIN).iterdir()):
            file.write(zstd.decompress(shard.read_bytes()))
            shard.unlink()
    return corpus, [target]


def compared(home: Path, corpus: Path, targets: list[Path], wanted: argparse.Namespace) -> dict[str, Any]:
    """Score the corpus, draw and add the targets, and compare the policies with natural."""
    with services(home, Owner.of(os.getpid()), ("postgres", "s3", "dask")):
        encoder = wanted.encoder
        if encoder is None:
            encoder = str(home / "static")
            distill_shipped(Path(encoder))
        chosen = [argument for snapshot in wanted.snapshot for argument in ("--snapshot", snapshot)]
        settings = ["--set", f"embedding.encoder={encoder}", "--policy", "natural", "--budget", "20%"]
        command("run", str(corpus), "--name", NAME, *settings, *chosen)
        command("target", "draw", HELD, str(corpus))
        for number, target in enumerate(targets):
            command("target", "add", f"target{number}", str(target))
        names = [HELD, *(f"target{number}" for number in range(len(targets)))]
        asked = [argument for name in names for argument in ("--target", name)]
        asked += [argument for policy in (*NAMED.values(), *OTHERS) for argument in ("--with", policy)]
        if wanted.full:
            asked += ["--confirm", "--tokens", str(CONFIRMED_TOKENS)]
        done = [str(Path(sys.executable).with_name("samplemix")), "evaluate", NAME, *asked, "--json"]
        found: dict[str, Any] = json.loads(subprocess.run(done, check=True, stdout=subprocess.PIPE).stdout)
        return found


def main() -> None:
    """Compare, print a table, and the figures as one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.evaluation", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("corpus", nargs="?", type=Path)
    parser.add_argument("targets", nargs="*", type=Path)
    parser.add_argument("--snapshot", action="append", default=[])
    parser.add_argument("--encoder", help="such as all-MiniLM-L6-v2; default: a static one that is distilled from it")
    parser.add_argument("--full", action="store_true", help="also train a small transformer")
    wanted = parser.parse_args()
    if wanted.corpus is not None and not wanted.targets:
        parser.error("a corpus of your own needs a file of texts as a target")
    with tempfile.TemporaryDirectory(prefix="samplemix-bench-", ignore_cleanup_errors=True) as made:
        directory = Path(made)
        corpus, targets = (wanted.corpus, wanted.targets) if wanted.corpus is not None else of_this_machine(directory)
        found = compared(directory / "home", corpus.absolute(), targets, wanted)
    contenders = {each["name"]: each for each in found["contenders"]}
    print(f"{'times fewer tokens than natural':<32} {'like the source':>17} {'targets':>17}")
    for name, each in contenders.items():
        cells = (f"{each[place]['mean']:.2f} +- {each[place]['error']:.2f}" for place in ("like_source", "elsewhere"))
        print(f"{name:<32} " + " ".join(f"{cell:>17}" for cell in cells))
    for line in found["said"]:
        print(line)
    seconds, tokens = (sum(each[name] for each in contenders.values()) for name in ("seconds", "tokens"))
    agreement = (found.get("confirmation") or {}).get("agreement", {})
    figures = {
        "quick_seconds_per_million_tokens": None if wanted.full else round(seconds / found["draws"] / tokens * 1e6, 2),
        **{
            f"{key}_{end}_ratio": round(contenders[policy][place]["mean"], 3)
            for key, policy in NAMED.items()
            for end, place in (("target", "elsewhere"), ("source", "like_source"))
        },
        "quick_confirm_spearman": agreement.get("spearman"),
        "decision_accuracy": round(agreement["alike"] / agreement["pairs"], 3) if agreement else None,
        "predictor_spearman": None,
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
