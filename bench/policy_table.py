"""The table of all policies in docs/policies.md: each planned over a scored corpus at a fifth of its tokens.

    python -m bench.policy_table CORPUS [SNAPSHOT ...]

CORPUS is a directory or a URI of snapshot/domain/file, with some ten thousand documents in these snapshots, or in all. It is scored
and mixed on services of its own, which takes minutes. Policies for a target get the first documents of one domain as examples;
`weights` and `fixed` get simple ones: the composite quality, and equal shares.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from samplemix_core.config.run import RunConfig
from samplemix_core.database.migrate import migrate
from samplemix_core.frozen import load_config
from samplemix_core.local.owner import Owner
from samplemix_core.local.stack import Stack
from samplemix_core.pipeline.plan import CURRENT, plan, recorded_config
from samplemix_core.policies.policy import POLICIES
from samplemix_core.policies.registry import policy_kind
from samplemix_core.reading.mixture import open_mixture
from samplemix_core.reading.versions import open_version

EXAMPLES = 200
NAME, TARGET, WORDS = "table", "target", "words"
BY_OTHERS = {"betr": TARGET, "importance": WORDS}
"""Policies that take the scores of another scorer than the composite one."""


def main(corpus: str, *snapshots: str) -> None:
    """Score and mix the corpus, plan all policies, and print the table."""
    with tempfile.TemporaryDirectory(prefix="samplemix-bench-", ignore_cleanup_errors=True) as directory:
        stack = Stack(Path(directory) / "home", ports="free", owner=Owner.of(os.getpid()))
        try:
            deployment = stack.up({"postgres", "s3", "dask"})
            os.environ["SAMPLEMIX_HOME"] = str(deployment.home)
            migrate(deployment.database)
            chosen = [argument for snapshot in snapshots for argument in ("--snapshot", snapshot)]
            command("run", corpus, "--name", "first", "--policy", "natural", *chosen)
            examples = Path(directory) / "examples.jsonl"
            version = open_version(deployment, "first", None)
            shares = {row.domain: row.source_tokens for row in version.manifest.domains}
            target = max(shares, key=lambda domain: (domain in ("wikipedia", "books"), shares[domain]))
            print(f"examples of the target: the first {EXAMPLES} documents of domain {target}", file=sys.stderr)
            write_examples(version.uri, target, examples)
            command("quality", "add", "similarity", TARGET, str(examples))
            command("quality", "add", "importance", WORDS, str(examples), "--corpus", corpus)
            scorers = [argument for name in ("composite", TARGET, WORDS) for argument in ("--scorer", name)]
            command("run", corpus, "--name", NAME, *scorers, *chosen)
            version = open_version(deployment, NAME, None)
            base = recorded_config(deployment, version)
            own = load_config(RunConfig, base)
            domains = [row.domain for row in version.manifest.domains]
            equal = {domain: 1 / len(domains) for domain in domains}
            others: dict[str, dict[str, Any]] = {
                "fixed": {"policy": {"name": "fixed", "shares": equal}},
                **{name: {"scorers": [scorer]} for name, scorer in BY_OTHERS.items()},
            }
            configs = {
                name: load_config(RunConfig, {**base, "policy": {"name": name}, "budget": "20%", **others.get(name, {})})
                for name in sorted(POLICIES)
            }
            outcomes = {found.name: found for found in plan(deployment, version, own, configs)}
        finally:
            stack.destroy()
    print_table(domains, {name: found for name, found in outcomes.items() if name != CURRENT})


def command(*arguments: str) -> None:
    """Run the command samplemix, with its progress on standard error."""
    subprocess.run([Path(sys.executable).with_name("samplemix"), *arguments], check=True, stdout=sys.stderr)


def write_examples(uri: str, domain: str, path: Path) -> None:
    """Write the first documents of a domain."""
    with path.open("w") as file:
        found = (document for document in open_mixture(uri).documents() if document.domain == domain)
        for _, document in zip(range(EXAMPLES), found, strict=False):
            file.write(json.dumps({"text": document.text}) + "\n")


def print_table(domains: list[str], outcomes: Mapping[str, Any]) -> None:
    """Print the table as Markdown, with what a policy can't do in its row."""
    print(f"| policy | documents | quality | diversity | {' | '.join(domains)} | use it when |")
    print(f"|---|---|---|---|{'---|' * len(domains)}---|")
    for name, found in outcomes.items():
        if found.plan is None:
            print(f"| `{name}` | {found.error} |")
            continue
        made = found.plan
        shares = {group.name: group.share for group in made.groups["domain"]}
        cells = " | ".join(f"{shares.get(domain, 0):.0%}" for domain in domains)
        # By another scorer, quality is on another scale.
        quality = "-" if name in BY_OTHERS else f"{made.quality:.2f}"
        print(f"| `{name}` | {made.documents:,} | {quality} | {made.diversity:.2f} | {cells} | {policy_kind(name).when} |")


if __name__ == "__main__":
    main(*sys.argv[1:])
