"""Commands that add users' own scorers, so that runs can name them."""

from typing import Annotated, Literal

import typer

from samplemix_core.cli.common import AsJson, location, print_json, print_rows, terminal_progress
from samplemix_core.cli.run import assigned
from samplemix_core.config.run import EmbeddingConfig
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError
from samplemix_core.frozen import load_config
from samplemix_core.settings import is_directory

app = typer.Typer(
    help="Add your own scorer: a classifier, a fastText model, existing scores, nearness to a target, or a combination.",
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="The scorer's name, for --scorer in runs")]
Low = Annotated[float | None, typer.Option("--low", help="Lowest possible score, which counts as 0")]
High = Annotated[float | None, typer.Option("--high", help="Highest possible score, which counts as 1")]


@app.command()
def transformer(
    name: Name,
    model: Annotated[str, typer.Argument(help="A sequence-classification model: a directory, or a repository on a hub")],
    revision: Annotated[str | None, typer.Option("--revision", help="Revision of the repository; pin it")] = None,
    output: Annotated[
        Literal["regression", "level", "probability"] | None,
        typer.Option("--output", help="Meaning of the outputs; default: guessed from the model's configuration"),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option("--label", help="The output that means quality, by name or number: a class, or one of several regressions"),
    ] = None,
    low: Low = None,
    high: High = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", min=8, help="Tokens to read of each text; default: the model's limit")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add a transformers sequence-classification model in safetensors. None of its own code is run.

    One output is a regression. Several are the levels of a score, unless --label names the one that means quality.

    Examples:

    `samplemix quality add transformer edu HuggingFaceFW/fineweb-edu-classifier --low 0 --high 5`

    `samplemix quality add transformer clean ./classifier --label good`

    `samplemix quality add transformer facts ./criteria --output regression --label facts --low -5 --high 5`
    """
    from samplemix_core.models.add_scorer import add_transformer

    place = location(model) if is_directory(model) else model
    added = add_transformer(
        name,
        place,
        Deployment.load(),
        revision=revision,
        output=output,
        label=label,
        low=low,
        high=high,
        max_tokens=max_tokens,
    )
    _show(added, as_json)


@app.command()
def fasttext(
    name: Name,
    file: Annotated[str, typer.Argument(help="A supervised model, .bin or .ftz: a path or s3://bucket/key")],
    label: Annotated[str, typer.Option("--label", help="The label whose probability is quality, with or without __label__")],
    as_json: AsJson = False,
) -> None:
    """Add a supervised fastText model.

    Example: `samplemix quality add fasttext dclm ./openhermes_reddit_eli5_vs_rw.bin --label hq`
    """
    from samplemix_core.models.add_scorer import add_fasttext

    _show(add_fasttext(name, file if "://" in file else location(file), label, Deployment.load()), as_json)


@app.command()
def external(
    name: Name,
    place: Annotated[
        str, typer.Argument(help="A file of scores (JSON lines or Parquet), or a directory: a path or s3://bucket/prefix")
    ],
    by: Annotated[Literal["doc_id", "content_hash"], typer.Option("--by", help="Key of the scores")],
    score: Annotated[str, typer.Option("--score", help="Column of the score")] = "score",
    column: Annotated[
        str | None, typer.Option("--column", help="Column of the id or hash; default: the one of the same name")
    ] = None,
    missing: Annotated[
        float | None, typer.Option("--missing", help="Quality of documents without a score; default: they are an error")
    ] = None,
    low: Low = None,
    high: High = None,
    as_json: AsJson = False,
) -> None:
    """Add existing scores, keyed by the documents' ids or by hashes of their texts (BLAKE2b, 128 bits).

    Examples:

    `samplemix quality add external edu s3://ours/edu-scores --by content_hash --low 0 --high 5`

    `samplemix quality add external ratings ratings.parquet --by doc_id --score rating --missing 0`
    """
    from samplemix_core.models.add_scores import add_external

    with terminal_progress(quiet=as_json) as report:
        added = add_external(
            name,
            location(place),
            Deployment.load(),
            report,
            by=by,
            score=score,
            column=column,
            missing=missing,
            low=low,
            high=high,
        )
    _show(added, as_json)


@app.command()
def ensemble(
    name: Name,
    members: Annotated[list[str], typer.Option("--of", help="A quality model that has scored the corpus; name two or more")],
    corpus: Annotated[str, typer.Option("--corpus", help="Corpus to rank within, by its name or URI")],
    combine: Annotated[Literal["mean", "max"], typer.Option("--combine", help="Mean of the ranks, or the highest")] = "mean",
    as_json: AsJson = False,
) -> None:
    """Combine several quality models: each ranks a document within a corpus, and the ranks are combined.

    Example: `samplemix quality add ensemble both --of legal --of edu --corpus web`
    """
    from samplemix_core.models.add_scorer import add_ensemble

    place = corpus if "://" in corpus or not is_directory(corpus) else location(corpus)
    _show(add_ensemble(name, members, place, Deployment.load(), combine=combine), as_json)


@app.command()
def calibrated(
    name: Name,
    of: Annotated[str, typer.Option("--of", help="The quality model to calibrate; it has scored the corpus")],
    corpus: Annotated[str, typer.Option("--corpus", help="Corpus to calibrate on, by its name or URI")],
    least: Annotated[
        int, typer.Option("--least", min=20, help="Documents that a content type and language needs for a calibration of its own")
    ] = 200,
    most: Annotated[float, typer.Option("--most", min=0.01, max=1, help="Largest move of a score, as a share of its range")] = 0.25,
    as_json: AsJson = False,
) -> None:
    """Calibrate a quality model: documents are compared only within their content type and language.

    Rules for prose punish code, and rules for one language punish others. After calibration, the median documents of all kinds
    count the same, unless that moves a score by more than --most: the best of a bad kind is still not good.

    Example: `samplemix quality add calibrated fair --of composite --corpus web`
    """
    from samplemix_core.models.add_scorer import calibrate

    place = corpus if "://" in corpus or not is_directory(corpus) else location(corpus)
    _show(calibrate(name, of, place, Deployment.load(), least=least, most=most), as_json)


Examples = Annotated[list[str], typer.Argument(help="Files of examples (JSON lines or Parquet): paths or s3://bucket/key")]
Fields = Annotated[
    list[str] | None, typer.Option("--text", help="Field with text; of several, the texts are joined. Default: text")
]


@app.command()
def similarity(
    name: Name,
    files: Examples,
    text: Fields = None,
    encoder: Annotated[str | None, typer.Option("--encoder", help="Encoder of the corpus; default: the shipped one")] = None,
    corpus: Annotated[str | None, typer.Option("--corpus", help="A saved corpus whose embedding settings to take instead")] = None,
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Another setting of the encoder, such as embedding.max_seq_tokens=512")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Add similarity to examples of a target, such as the training questions of a benchmark. Policy betr takes the most similar.

    Examples:

    `samplemix quality add similarity exams questions.jsonl --text question --text answer`

    `samplemix quality add similarity medicine s3://ours/medical.parquet --corpus web`
    """
    from samplemix_core.models.add_examples import add_similarity
    from samplemix_core.pipeline.configure import named_values

    deployment, chosen = Deployment.load(), {"encoder": encoder} if encoder else {}
    if corpus is not None:
        settings = named_values(deployment, corpus)
        if not settings:
            raise ConfigError(f"There is no saved corpus {corpus!r}.", "'samplemix corpus list' lists them; or give --encoder.")
        chosen = {**settings["embedding"], **chosen}
    values = assigned({"embedding": chosen}, assignments or [])
    if values.keys() != {"embedding"}:
        raise ConfigError(
            f"--set {min(values.keys() - {'embedding'})} is no setting of an encoder.", "Write --set embedding.NAME=..."
        )
    embedding = load_config(EmbeddingConfig, values["embedding"], "embedding")
    with terminal_progress(quiet=as_json) as report:
        places = [location(file) for file in files]
        added = add_similarity(name, places, deployment, report, fields=text or ["text"], embedding=embedding)
    _show(added, as_json)


@app.command()
def importance(
    name: Name,
    files: Examples,
    corpus: Annotated[str, typer.Option("--corpus", help="The scored corpus to compare with, by its name or URI")],
    text: Fields = None,
    as_json: AsJson = False,
) -> None:
    """Add importance for a target, by words and pairs of words, as DSIR does but per token. Policy importance draws by it.

    Example: `samplemix quality add importance medicine abstracts.jsonl --corpus web`
    """
    from samplemix_core.models.add_examples import add_importance

    place = corpus if "://" in corpus or not is_directory(corpus) else location(corpus)
    with terminal_progress(quiet=as_json) as report:
        places = [location(file) for file in files]
        added = add_importance(name, places, place, Deployment.load(), report, fields=text or ["text"])
    _show(added, as_json)


def _show(added: object, as_json: bool) -> None:
    values = vars(added)
    if as_json:
        print_json(values)
        return
    print_rows(
        [
            {
                "scorer": values["name"],
                "key": values["key"][:12],
                "range": f"{values['low']:g} to {values['high']:g}",
                **values["found"],
            }
        ]
    )
