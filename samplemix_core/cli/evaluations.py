"""The command that compares mixtures by what a small model learns from them."""

import threading
from pathlib import Path
from typing import Annotated

import typer

from samplemix_core.cli.common import AsJson, print_json, terminal_progress
from samplemix_core.cli.run import stored_values
from samplemix_core.config.evaluation import BESIDE, EvaluationConfig
from samplemix_core.deployment import Deployment
from samplemix_core.frozen import load_config
from samplemix_core.report.text import tell

app = typer.Typer()


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
    targets: Annotated[
        list[str] | None, typer.Option("--target", help="A target; default: all that were drawn from the corpus")
    ] = None,
    tokens: Annotated[
        int, typer.Option("--tokens", help="Most tokens read of each mixture; of a larger one, a share of its documents")
    ] = EvaluationConfig().tokens,
    draws: Annotated[int, typer.Option("--draws", help="Draws of each mixture; errors are over these")] = EvaluationConfig().draws,
    controls: Annotated[
        bool, typer.Option("--controls", help="Compare shares of domains and weights within domains by themselves, too")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Another seed makes other draws")] = 0,
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
    """
    from samplemix_core.pipeline.context import RunContext
    from samplemix_core.pipeline.evaluate import entrants
    from samplemix_core.pipeline.evaluate import evaluate as compare
    from samplemix_core.reading.versions import open_version
    from samplemix_core.report.evaluation import draw_comparison, print_comparison

    settings = {"targets": targets or [], "tokens": tokens, "draws": draws, "controls": controls, "seed": seed}
    config = load_config(EvaluationConfig, settings)
    deployment = Deployment.load()
    found = open_version(deployment, name, version)
    values = {file.stem: stored_values(file) for file in files or []}
    wanted = policies or (() if files or beside else BESIDE)
    own, compared = entrants(deployment, found, wanted, beside or [], values)
    with terminal_progress(quiet=as_json) as report:
        run = RunContext(own, deployment, report, threading.Event(), step="evaluate")
        number_of, comparison = compare(run, found, compared, config)
    if plot is not None:
        draw_comparison(plot, f"{found.manifest.name} version {found.manifest.version} and others", comparison)
    if as_json:
        print_json({"comparison": number_of, **comparison.model_dump(mode="json"), "said": comparison.said()})
        return
    print_comparison(comparison)
    tell(f"comparison {number_of} is stored: 'samplemix sql --query comparison comparison={number_of}'")
