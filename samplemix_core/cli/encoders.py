"""Commands on encoders: distil a transformer into a static one, and compare two."""

from pathlib import Path
from typing import Annotated

import typer

from samplemix_core.cli.common import AsJson, location, print_json, say, terminal_progress
from samplemix_core.cli.run import run_config
from samplemix_core.config.run import EmbeddingConfig, RunConfig
from samplemix_core.deployment import Deployment
from samplemix_core.report.text import tell

app = typer.Typer(help="Encoders: distil a fast static one from a transformer, or compare two on a corpus.", no_args_is_help=True)

SHIPPED = EmbeddingConfig().encoder

Snapshots = Annotated[list[str] | None, typer.Option("--snapshot", "-s", help="Only these snapshots of the corpus")]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", help="Any setting of a run, such as reader.text_field=body or diversity.seed=7")
]


def _config(corpus_uri: str, encoder: str, snapshots: list[str] | None, assignments: list[str] | None) -> RunConfig:
    options = {"corpus_uri": corpus_uri, "snapshots": snapshots or []}
    return run_config({}, options, [*(assignments or []), f"embedding.encoder={encoder}"])


@app.command()
def distill(
    corpus_uri: Annotated[str | None, typer.Argument(help="Corpus to fit it to; without one, only the vocabulary is used")] = None,
    encoder: Annotated[str, typer.Option("--encoder", help="The transformer, by name or path")] = SHIPPED,
    dimensions: Annotated[int, typer.Option("--dimensions", min=2, help="Length of the vectors; at most the transformer's")] = 384,
    documents: Annotated[
        int, typer.Option("--documents", min=1, help="Number of documents to read; one in four is held out for the comparison")
    ] = 6000,
    snapshots: Snapshots = None,
    to: Annotated[
        Path | None,
        typer.Option("--to", help="Directory to save it in; default: one under SAMPLEMIX_HOME, named after its content"),
    ] = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Distil a transformer into a static encoder: one vector per token, no forward pass, tens of times faster.

    If you give a corpus, the encoder is fitted to it, which makes it agree far better with the transformer, and both are compared
    on documents that were held out. Use it in a run with `--set embedding.encoder=DIRECTORY`.

    Examples:

    `samplemix encoder distill s3://samplemix/corpora/web`

    `samplemix encoder distill ./corpus --encoder ./my-model --dimensions 256 --to ./my-static`
    """
    from samplemix_core.models.distil import distill_encoder

    config = _config(corpus_uri or ".", encoder, snapshots, assignments)
    with terminal_progress(quiet=as_json) as report:
        made = distill_encoder(
            config,
            Deployment.load(),
            report,
            on_corpus=corpus_uri is not None,
            documents=documents,
            dimensions=dimensions,
            to=to and Path(location(str(to))),
        )
    if as_json:
        print_json(made.as_json())
        return
    tell(f"{made.tokens:,} tokens, {made.dimensions} dimensions, fitted to {made.fitted_on:,} documents, in {made.seconds:.0f} s")
    if made.comparison is None:
        say(f"not compared: {made.not_compared}")
    else:
        tell(str(made.comparison))
        tell(_rates(made.comparison.documents_per_second, made.comparison.reference_documents_per_second))
    tell(f"encoder: {made.directory}")


def _rates(own: float, reference: float) -> str:
    return f"{own:,.0f} documents/s in one process, the reference {reference:,.0f}: {own / reference:.1f} times"


@app.command()
def compare(
    corpus_uri: Annotated[str, typer.Argument(help="Corpus to compare on")],
    encoder: Annotated[str, typer.Argument(help="The encoder, by name or path")],
    reference: Annotated[str, typer.Argument(help="The encoder to compare it with, by name or path")] = SHIPPED,
    documents: Annotated[int, typer.Option("--documents", min=1, help="Number of documents to read")] = 2000,
    snapshots: Snapshots = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Compare two encoders: agreement of their clusters and diversities on the same documents, and speed.

    The adjusted mutual information of clusters is 1 if they are identical and 0 if they agree only by chance. In brackets is the
    reference's agreement with itself under another seed: expect nothing better than that.

    Example: `samplemix encoder compare s3://samplemix/corpora/web ./my-static`
    """
    from dataclasses import asdict

    from samplemix_core.models.distil import compare_encoders

    config = _config(corpus_uri, encoder, snapshots, assignments)
    with terminal_progress(quiet=as_json) as report:
        found = compare_encoders(config, Deployment.load(), reference, documents, report)
    if as_json:
        print_json(asdict(found))
        return
    tell(str(found))
    tell(_rates(found.documents_per_second, found.reference_documents_per_second))
