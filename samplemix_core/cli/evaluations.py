"""The command that compares mixtures by what a small model learns from them."""

import json
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from samplemix_core.cli.common import AsJson, print_json, terminal_progress
from samplemix_core.cli.run import stored_values
from samplemix_core.config.evaluation import BESIDE, EvaluationConfig
from samplemix_core.config.variants import VARIANTS
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError
from samplemix_core.frozen import load_config
from samplemix_core.report.text import tell

if TYPE_CHECKING:
    from samplemix_core.evaluation.comparison import Comparison

app = typer.Typer()
frontier_app = typer.Typer()


_DEFAULTS = EvaluationConfig()
Targets = Annotated[list[str] | None, typer.Option("--target", help="A target; default: all that were drawn from the corpus")]
Tokens = Annotated[
    int, typer.Option("--tokens", help="Most tokens read of each mixture; of a larger one, a share of its documents")
]
Draws = Annotated[int, typer.Option("--draws", help="Draws of each mixture; errors are over these")]
Seed = Annotated[int, typer.Option("--seed", help="Another seed makes other draws")]


@app.command()
def evaluate(
    name: Annotated[str, typer.Argument(help="A mixture's name, or the URI of a manifest.json")],
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="JSON or YAML files of settings (policy, budget, constraints), each called as its file is"),
    ] = None,
    version: Annotated[int | None, typer.Option("--version", "-v", help="Version; default: the latest")] = None,
    policies: Annotated[
        list[str] | None, typer.Option("--with", help="A policy to compare with, at its defaults; default: temperature and unimax")
    ] = None,
    beside: Annotated[
        list[str] | None, typer.Option("--beside", help="Another published mixture of the corpus: NAME@VERSION")
    ] = None,
    targets: Targets = None,
    tokens: Tokens = _DEFAULTS.tokens,
    draws: Draws = _DEFAULTS.draws,
    controls: Annotated[
        bool, typer.Option("--controls", help="Compare shares of domains and weights within domains by themselves, too")
    ] = False,
    seed: Seed = 0,
    confirm: Annotated[bool, typer.Option("--confirm", help="Train a small transformer on each draw, too")] = False,
    parameters: Annotated[
        int, typer.Option("--parameters", help="About how many weights it has: 1,000,000 to 1,000,000,000")
    ] = _DEFAULTS.parameters,
    sequence: Annotated[int, typer.Option("--sequence", help="Tokens that it reads at once")] = _DEFAULTS.sequence,
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, or cuda, which waits for a worker with a GPU")
    ] = _DEFAULTS.device,
    plot: Annotated[Path | None, typer.Option("--plot", help="Also draw the gains to this .png or .svg file")] = None,
    as_json: AsJson = False,
) -> None:
    """Compare a mixture with others by what a small language model learns from each, on held-out targets.

    The reference is natural: every document alike. A 4-gram model reads each mixture, and its losses on the targets are taken
    twelve times on the way. The figure is how many times fewer tokens a mixture needs than natural does for the same loss, with its
    standard error over draws: above 1 it learns faster.

    Examples:

    `samplemix evaluate web --target web-held-out --target news`

    `samplemix evaluate web careful.yaml bold.yaml --with qurating --beside web@3 --controls --plot gains.png`

    `samplemix evaluate web --target news --confirm --tokens 1500000` (and a small transformer, minutes a draw on a CPU)

    `samplemix evaluate web --target news --confirm --parameters 50000000 --device cuda`
    """
    from samplemix_core.report.evaluation import draw_comparison, print_comparison
    from samplemix_core.report.picture import require_picture

    if plot is not None:
        require_picture(plot)
    settings = {"targets": targets or [], "tokens": tokens, "draws": draws, "controls": controls, "seed": seed}
    settings |= {"confirm": confirm, "parameters": parameters, "sequence": sequence, "device": device}
    config = load_config(EvaluationConfig, settings)
    wanted = policies or (() if files or beside else BESIDE)
    settings_of = _settings(files)
    title, number, comparison = _compare((name, version), config, wanted, beside or (), settings_of, quiet=as_json)
    if plot is not None:
        draw_comparison(plot, f"{title} and others", comparison)
    if as_json:
        print_json({"comparison": number, **comparison.model_dump(mode="json"), "said": comparison.said()})
        return
    print_comparison(comparison)
    tell(f"comparison {number} is stored: 'samplemix sql --query comparison comparison={number}'")


def _settings(files: list[Path] | None) -> dict[str, Any]:
    """Settings by what their files are called."""
    names = [file.stem for file in files or []]
    if twice := [name for name in names if names.count(name) > 1]:
        raise ConfigError(f"Two files are called {twice[0]}, and a mixture is called as its file is.", "Call one otherwise.")
    return {file.stem: stored_values(file) for file in files or []}


def _compare(
    which: tuple[str, int | None],
    config: EvaluationConfig,
    policies: Sequence[str],
    beside: Sequence[str],
    files: Mapping[str, Mapping[str, Any]],
    *,
    quiet: bool,
) -> "tuple[str, int, Comparison]":
    """Compare a version with others; returns its title, and the comparison with its number."""
    from samplemix_core.pipeline.context import RunContext
    from samplemix_core.pipeline.evaluate import Base, entrants, evaluate
    from samplemix_core.reading.versions import open_version

    deployment = Deployment.load()
    version = open_version(deployment, *which)
    own, compared = entrants(deployment, version, policies, beside, files)
    with terminal_progress(quiet=quiet) as report:
        run = RunContext(own, deployment, report, threading.Event(), step="evaluate")
        return f"{version.manifest.name} version {version.manifest.version}", *evaluate(
            run, Base.of(deployment, version), compared, config
        )


@frontier_app.command()
def frontier(
    name: Annotated[str, typer.Argument(help="A mixture's name, or the URI of a manifest.json")],
    files: Annotated[
        list[Path] | None, typer.Argument(help="JSON or YAML files of settings to place beside the standard ones")
    ] = None,
    version: Annotated[int | None, typer.Option("--version", "-v", help="Version; default: the latest")] = None,
    targets: Targets = None,
    tokens: Tokens = _DEFAULTS.tokens,
    draws: Draws = _DEFAULTS.draws,
    seed: Seed = 0,
    write: Annotated[
        Path | None, typer.Option("--write", help="Write a file of settings for each point of the frontier to this directory")
    ] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Also draw it to this .png or .svg file")] = None,
    as_json: AsJson = False,
) -> None:
    """Place mixtures by what they gain on your targets and what they cost on text like the source; name those that none beats.

    Beside the version, sixteen settings are solved over its scores: the paper's plain method, softer ones, ranks in place of
    ranges, languages and content types held, quality alone, qurating, temperature. It needs a target that was drawn from the
    corpus, and one of your own. Settings that look best on a target were chosen on it: confirm them on another.

    Example: `samplemix mixture frontier web --target web-held-out --target news --plot frontier.png --write policies`
    """
    from samplemix_core.database.targets import find_targets
    from samplemix_core.report.evaluation import draw_frontier, print_frontier, require_both
    from samplemix_core.report.picture import require_picture

    if plot is not None:
        require_picture(plot)
    values = {**VARIANTS, **_settings(files)}
    config = load_config(EvaluationConfig, {"targets": targets or [], "tokens": tokens, "draws": draws, "seed": seed})
    with Deployment.load().transaction() as cursor:
        require_both([target.corpus_uri is not None for target in find_targets(cursor, config.targets)])
    title, number, comparison = _compare((name, version), config, (), (), values, quiet=as_json)
    best = comparison.frontier
    if write is not None:
        write.mkdir(parents=True, exist_ok=True)
        for each in best:
            slug = re.sub(r"[^a-z0-9.]+", "-", each.name.lower()).strip("-.")
            (write / f"{slug}.json").write_text(json.dumps(each.settings, indent=2) + "\n")
    if plot is not None:
        draw_frontier(plot, title, comparison)
    if as_json:
        shown = {"name", "like_source", "elsewhere", "settings"}
        points = [
            {**each.model_dump(mode="json", include=shown), "on_the_frontier": each in best} for each in comparison.contenders
        ]
        print_json({"comparison": number, "points": points, "caveats": comparison.caveats()})
        return
    print_frontier(comparison)
    if write is not None:
        tell(f"{len(best)} files of settings are in {write}; 'samplemix mixture plan {name} {write}/*.json' shows what they make")
