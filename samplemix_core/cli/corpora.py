"""Commands on saved corpora: the settings that their runs share, and their crawls."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

import typer

from samplemix_core.cli.common import AsJson, location, print_json, print_rows, say
from samplemix_core.cli.run import OPTIONS, Assignments, ConfigFile, assigned, stored_values, with_settings
from samplemix_core.config.run import CorpusConfig, merged
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError
from samplemix_core.frozen import load_config
from samplemix_core.report.text import tell

app = typer.Typer(help="Saved corpora: their places, and how their crawls are scored and mixed.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The corpus's name")]
Marker = Annotated[
    str | None, typer.Option("--marker", help="File in a snapshot's directory that marks it as complete (default: _SUCCESS)")
]


def corpus_config(
    name: str, base: dict[str, Any], options: dict[str, Any], marker: str | None, assignments: Sequence[str]
) -> CorpusConfig:
    """Return a corpus's configuration: a base, then the given options, then --set; `landing.x=...` is about its crawls."""
    landing = [text for text in assignments if text.startswith("landing.")]
    for part in ("run", "landing"):
        if not isinstance(base.get(part, {}), dict):
            raise ConfigError(f"{part} is {json.dumps(base[part])}, which is not an object of settings.", "Correct the file.")
    run = merged({"mixture_name": name, **base.get("run", {})}, options)
    values = assigned({"name": name, "landing": base.get("landing", {})}, landing)
    values["run"] = merged(run, assigned({}, [text for text in assignments if text not in landing]))
    if marker is not None:
        values["landing"]["marker"] = marker
    if values["run"].get("snapshots"):
        raise ConfigError("A saved corpus can't have a list of snapshots: all its crawls land.", "Leave snapshots out.")
    return load_config(CorpusConfig, values)


@app.command()
@with_settings(*OPTIONS, default={"mixture_name": "the corpus's name"}.get)
def add(
    chosen: dict[str, Any],
    name: Name,
    corpus_uri: Annotated[str, typer.Argument(help="The corpus's place: s3://bucket/prefix, or a directory")],
    marker: Marker = None,
    assignments: Assignments = None,
    config_file: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Save a corpus's place and settings under a name. Its mixture gets the same name unless you give another.

    Complete crawls, those with their marker, can be scored at once (`samplemix run NAME`, or Airflow's Backfill). Crawls that land
    from now on are scored and mixed automatically while Airflow is up.

    Examples:

    `samplemix corpus add web s3://samplemix/corpora/web --budget 20%`

    `samplemix corpus add books ./books --set embedding.encoder=multilingual-e5-small --marker _DONE`

    `samplemix corpus add web s3://crawls/web --set landing.queue_url=https://sqs.eu-west-1.amazonaws.com/123456789012/crawls`
    """
    from samplemix_core.crawls import landing

    options = {"corpus_uri": location(corpus_uri), **chosen}
    config = corpus_config(name, {"run": stored_values(config_file)}, options, marker, assignments or [])
    deployment = Deployment.load()
    landing.check_queue(deployment, config)
    found = landing.add(deployment, config)
    _print_crawls(found, as_json=as_json)
    for crawl in found:
        if crawl.reason:
            say(f"{crawl.snapshot} waits: it {crawl.reason}. 'samplemix corpus accept {name} {crawl.snapshot}' takes it as it is")


@app.command("list")
def corpus_list(as_json: AsJson = False) -> None:
    """List saved corpora: place, settings, number of crawls, latest version."""
    from samplemix_core.database.corpora import corpus_overview

    with Deployment.load().transaction() as cursor:
        print_rows(corpus_overview(cursor), as_json=as_json)


@app.command()
def show(name: Name, as_json: AsJson = False) -> None:
    """Show a saved corpus: the settings that differ from the defaults, and its crawls."""
    from samplemix_core.database import corpora

    with Deployment.load().transaction() as cursor:
        corpus = corpora.get_corpus(cursor, name)
        crawls = corpora.crawls(cursor, name)
    if as_json:
        print_json({**asdict(corpus), "config": corpus.config.model_dump(mode="json"), "crawls": [asdict(item) for item in crawls]})
        return
    set_here = corpus.config.model_dump(mode="json", exclude_defaults=True, exclude={"name"})
    print_rows({"setting": key, "value": value} for key, value in _flat({**set_here.pop("run"), **set_here}))
    if corpus.is_paused:
        tell(f"paused: crawls that land wait until 'samplemix corpus resume {name}'")
    _print_crawls(crawls, as_json=False)


@app.command("set")
@with_settings(*OPTIONS, default=lambda _: "as it is")
def corpus_set(
    chosen: dict[str, Any],
    name: Name,
    marker: Marker = None,
    assignments: Assignments = None,
    as_json: AsJson = False,
) -> None:
    """Change a corpus's settings from its next run on. Stored scores and published versions stay.

    Examples:

    `samplemix corpus set web --budget 10%`

    `samplemix corpus set web --set embedding.encoder=multilingual-e5-small --set landing.marker=_DONE`
    """
    from samplemix_core.crawls.landing import check_queue
    from samplemix_core.database import corpora

    deployment = Deployment.load()
    with deployment.transaction() as cursor:
        before, gone = corpora.known_settings(cursor, name)
        config = corpus_config(name, before, chosen, marker, assignments or [])
        if config.run.corpus_uri != before["run"]["corpus_uri"]:
            raise ConfigError(
                "A saved corpus's place can't be changed: its crawls belong to it.", "Add the new place as another corpus."
            )
        if config.landing.queue_url != before.get("landing", {}).get("queue_url"):
            check_queue(deployment, config)
        corpora.set_corpus(cursor, config)
    old, new = dict(_flat(before)) | gone, dict(_flat(config.model_dump(mode="json")))
    changed = [
        {"setting": key.removeprefix("run."), "before": old.get(key), "now": new.get(key)}
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]
    print_rows(changed, as_json=as_json)


@app.command()
def pause(name: Name) -> None:
    """Make crawls that land wait: nothing is scored or mixed automatically. Active runs continue."""
    _pause(name, paused=True)
    tell(f"{name} is paused: crawls that land wait")


@app.command()
def resume(name: Name) -> None:
    """Score and mix crawls automatically again, including those that landed meanwhile."""
    _pause(name, paused=False)
    tell(f"{name} is not paused")


@app.command()
def scan(name: Name, as_json: AsJson = False) -> None:
    """Scan a corpus's place thoroughly now, and show the crawls whose state changed: landed, waiting (and why), removed."""
    from samplemix_core.crawls import landing
    from samplemix_core.database import corpora

    deployment = Deployment.load()
    with deployment.transaction() as cursor:
        corpus = corpora.get_corpus(cursor, name)
    _print_crawls(landing.scan(deployment, corpus, thorough=True), as_json=as_json)


@app.command()
def accept(
    name: Name, snapshots: Annotated[list[str], typer.Argument(help="Snapshots to accept")], as_json: AsJson = False
) -> None:
    """Accept snapshots as complete without a marker, or with files newer than it: they land as they are now.

    Example: `samplemix corpus accept web crawl-a`
    """
    from samplemix_core.crawls import landing
    from samplemix_core.database import corpora

    deployment = Deployment.load()
    with deployment.transaction() as cursor:
        corpus = corpora.get_corpus(cursor, name)
    _print_crawls([landing.accept(deployment, corpus, snapshot) for snapshot in snapshots], as_json=as_json)


@app.command()
def remove(name: Name) -> None:
    """Remove a saved corpus's name, settings and crawls. Files, scores and mixtures stay."""
    from samplemix_core.database import corpora

    with Deployment.load().transaction() as cursor:
        corpora.get_corpus(cursor, name)
        corpora.remove_corpus(cursor, name)
    tell(f"{name} is forgotten; its files, scores and mixtures are where they were")


def _pause(name: str, *, paused: bool) -> None:
    from samplemix_core.database import corpora

    with Deployment.load().transaction() as cursor:
        corpora.get_corpus(cursor, name)
        corpora.pause_corpus(cursor, name, paused=paused)


def _print_crawls(crawls: Sequence[Any], *, as_json: bool) -> None:
    shown = ("snapshot", "partition_date", "state", "files", "bytes", "landed_at", "run", "reason")
    rows = [{name: getattr(crawl, name) for name in shown} for crawl in crawls]
    if not as_json:
        rows = [{name: f"{v:%Y-%m-%d %H:%M:%S}" if isinstance(v, datetime) else v for name, v in row.items()} for row in rows]
    print_rows(rows, as_json=as_json)


def _flat(values: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested settings as they are written after --set: 'diversity.seed' and its value."""
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]
    return found
