"""Commands on published mixtures. All but changes and why need only an object store."""

import os
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, cast, get_args

import typer

from samplemix_core.cli.common import AsJson, print_json, print_rows, say, terminal_progress
from samplemix_core.cli.run import OPTIONS, Assignments, assigned, stored_values, with_settings
from samplemix_core.config.export import ExportConfig, FormatName
from samplemix_core.config.run import RunConfig, merged
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, ManifestError
from samplemix_core.frozen import load_config
from samplemix_core.report.text import tell, written

app = typer.Typer(help="Published mixtures: list, show, compare, verify.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The mixture's name, or the URI of a manifest.json")]
Version = Annotated[int | None, typer.Option("--version", "-v", help="Version; default: the latest")]


@app.command("list")
def mixture_list(as_json: AsJson = False) -> None:
    """List every published version of every mixture. A manifest that can't be read is named, and the exit code is 1."""

    mixtures, troubles = Deployment.load().mixtures, []
    listed = mixtures.list()
    tags = {name: mixtures.tags(name) for name in dict.fromkeys(name for name, _ in listed)}

    def rows() -> Iterator[dict[str, Any]]:
        for name, version in listed:
            try:
                own = ", ".join(tag for tag, number in tags[name].items() if number == version)
                yield {**_short(mixtures.open(name, version)), "tags": own}
            except ManifestError as error:
                troubles.append(str(error))

    print_rows(rows(), as_json=as_json)
    for trouble in troubles:
        say(f"not listed: {trouble}")
    if troubles:
        raise typer.Exit(1)


def _short(version: Any) -> dict[str, Any]:
    manifest = version.manifest
    return {
        "name": manifest.name,
        "version": manifest.version,
        "policy": manifest.policy.name,
        "tokenizer": manifest.tokenizer.name if manifest.tokenizer else None,
        "budget_tokens": manifest.budget_tokens,
        "realised_tokens": manifest.realised_tokens,
        "samples": manifest.samples,
        "copies": manifest.copies,
        "content_digest": manifest.content_digest,
        "created_at": manifest.created_at,
        "manifest": version.uri,
    }


@app.command("show")
def mixture_show(
    name: Name,
    version: Version = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Also draw it to this .png or .svg file")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one version: figures, domains before and after, lineage.

    Example: `samplemix mixture show demo --plot demo.png`
    """
    from samplemix_core.reading.versions import open_version

    deployment = Deployment.load()
    found = open_version(deployment, name, version)
    manifest = found.manifest
    if plot is not None:
        from samplemix_core.report.picture import draw_mixture
        from samplemix_core.report.record import load_record

        draw_mixture(plot, load_record(deployment, manifest))
    columns = found.unknown_columns()
    if as_json:
        unknown = {"unknown": {"fields": dict(found.unknown), "columns": columns}} if found.unknown or columns else {}
        print_json({"manifest": found.uri, **manifest.model_dump(mode="json"), **unknown})
        return
    from samplemix_core.report.text import output, print_mixture

    print_mixture(output(), manifest)
    print_rows([{"lineage": key, "value": value} for key, value in manifest.lineage.model_dump(mode="json").items()])
    for kind, names in (("fields", sorted(found.unknown)), ("columns", columns)):
        if names:
            tell(f"a later SampleMix wrote {kind} that this one doesn't know, and leaves out: {', '.join(names)}")
    tell(f"manifest: {found.uri}")


@app.command("plan")
@with_settings(*(name for name in OPTIONS if name not in ("mixture_name", "tokenizer")))
def mixture_plan(
    chosen: dict[str, Any],
    name: Name,
    files: Annotated[
        list[Path] | None,
        typer.Argument(help="JSON or YAML files of settings (policy, budget, constraints), each planned beside the others"),
    ] = None,
    version: Version = None,
    assignments: Assignments = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Also draw the shares to this .png or .svg file")] = None,
    as_json: AsJson = False,
) -> None:
    """Plan mixtures over the scores of a published one, without publishing: shares, multipliers, epochs, quality, overlap.

    Settings that a file or an option doesn't give are those of the version. Options hold for every file.

    Examples:

    `samplemix mixture plan web --policy natural`

    `samplemix mixture plan web policies/careful.yaml policies/bold.yaml --budget 20% --plot plans.png`

    `samplemix mixture plan web --set 'constraints.hold=["language"]' --json`
    """
    from samplemix_core.pipeline.plan import CURRENT, plan, recorded_config
    from samplemix_core.reading.versions import open_version
    from samplemix_core.report.text import output, print_plans

    deployment = Deployment.load()
    found = open_version(deployment, name, version)
    base = recorded_config(deployment, found)
    own = load_config(RunConfig, base, "version's settings")
    configs: dict[str, RunConfig] = {}
    asked: list[Path | None] = [*files] if files else [None]
    for file in asked:
        title = "asked" if file is None else file.stem
        title = title if title not in configs and title != CURRENT else str(file)
        values = merged(merged(base, stored_values(file)), {**chosen, "corpus_uri": base["corpus_uri"]})
        configs[title] = load_config(RunConfig, merged(values, assigned({}, assignments or [])), str(file or "settings"))
    outcomes = list(plan(deployment, found, own, configs))
    plans = {item.name: item.plan for item in outcomes if item.plan is not None}
    if plot is not None and plans:
        from samplemix_core.report.picture import draw_plans

        draw_plans(plot, f"{found.manifest.name} version {found.manifest.version} and plans", plans)
    if as_json:
        dumped = {item.name: item.plan.model_dump(mode="json") if item.plan else {"error": item.error} for item in outcomes}
        print_json(dumped)
    else:
        print_plans(
            output(),
            f"{found.manifest.name} version {found.manifest.version}, and what could be published in its place",
            {item.name: item.plan or item.error or "" for item in outcomes},
        )
    if len(plans) < len(outcomes):
        raise typer.Exit(1)


@app.command("changes")
def mixture_changes(
    name: Annotated[str, typer.Argument(help="The mixture's name")], version: Version = None, as_json: AsJson = False
) -> None:
    """Show a version's changes against the one before: samples, tokens by domain, and how much of each new crawl was kept.

    Example: `samplemix mixture changes web --version 12`
    """
    from samplemix_core.database.changes import version_changes
    from samplemix_core.reading.versions import open_version

    deployment = Deployment.load()
    found = open_version(deployment, name, version).manifest
    with deployment.transaction() as cursor:
        changes = version_changes(cursor, found.name, found.version)
    if as_json:
        print_json(changes.model_dump(mode="json"))
        return
    for line in changes.lines():
        tell(line)


@app.command("diff")
def mixture_diff(
    before: Annotated[str, typer.Argument(help="A version: web@11, or the URI of a manifest.json; web alone is its latest")],
    after: Annotated[str | None, typer.Argument(help="Another; without it, the first one is compared with its parent")] = None,
    plot: Annotated[Path | None, typer.Option("--plot", help="Also draw it to this .png or .svg file")] = None,
    parquet: Annotated[
        Path | None, typer.Option("--parquet", help="Also write every document that changed, with its quality and cluster")
    ] = None,
    groups: Annotated[
        Path | None, typer.Option("--groups", help="Also write what is printed, a row for each group, to this Parquet file")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two versions, of one mixture or of two: what entered, left, has more copies or fewer, and where tokens moved.

    The manifests are enough. Languages and content types are compared too where Postgres has both versions.

    Examples: `samplemix mixture diff web@11 web@12 --plot diff.png`, `samplemix mixture diff web --parquet changed.parquet`
    """
    import pyarrow.parquet as pq

    from samplemix_core.manifest.diff import CHANGED, diff
    from samplemix_core.reading.versions import open_version

    deployment = Deployment.load()
    first = open_version(deployment, before)
    if after is None:
        parent = first.manifest.parent_version
        if parent is None:
            raise ManifestError(f"{before} is the first version of {first.manifest.name}: it has no parent.", "Name two versions.")
        first, second = first.mixtures.open(first.manifest.name, parent), first
    else:
        second = open_version(deployment, after)
    with (
        written(parquet) if parquet else nullcontext(),
        pq.ParquetWriter(parquet, CHANGED, compression="zstd") if parquet else nullcontext() as writer,
    ):
        found = diff(first, second, writer.write_table if writer else lambda rows: None)
    if deployment.database_url is not None and find_spec("psycopg2") is not None:
        from samplemix_core.report.kinds import with_kinds

        found, said = with_kinds(deployment, found)
        if said:
            say(said)
    if groups is not None:
        with written(groups):
            pq.write_table(found.table(), groups)
    if plot is not None:
        from samplemix_core.report.picture import draw_diff

        draw_diff(plot, found)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    for line in found.lines():
        tell(line)


@app.command("why")
def mixture_why(
    document: Annotated[str, typer.Argument(help="A document: its sample key, or shard:row")],
    name: Annotated[str | None, typer.Option("--mixture", "-m", help="The mixture; not needed if there is one alone")] = None,
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Show why a document has its number of copies: quality, cluster, weight, its own number, and its duplicates.

    Example: `samplemix mixture why crawl-a/web/part-0.jsonl:17 --mixture web --version 12`
    """
    from samplemix_core.reading.versions import open_version
    from samplemix_core.report.why import explain, find_document

    deployment = Deployment.load()
    if name is None:
        names = sorted({mixture for mixture, _ in deployment.mixtures.list()})
        if len(names) != 1:
            raise ConfigError(f"There are {len(names)} mixtures: {', '.join(names) or 'none'}.", "Name one: --mixture.")
        (name,) = names
    found = open_version(deployment, name, version)
    shard, row = find_document(found, document)
    reader = deployment.require("reader_database_url")
    why = explain(deployment, reader, found.manifest.name, found.manifest.version, shard, row)
    if as_json:
        print_json(why.model_dump(mode="json"))
        return
    for line in why.lines():
        tell(line)


@app.command("tag")
def mixture_tag(
    version: Annotated[str, typer.Argument(help="A version: web@12; web alone is its latest")],
    tag: Annotated[str, typer.Argument(help="The tag: web@TAG then names the version, wherever a version is asked for")],
    delete: Annotated[bool, typer.Option("--delete", help="Remove the tag")] = False,
) -> None:
    """Tag a version, so that people and jobs can name it, and 'mixture gc' keeps it. A tag that is there moves.

    Examples: `samplemix mixture tag web@12 stable`, `samplemix mixture tag web stable --delete`
    """
    from samplemix_core.manifest.life import tag as put_tag
    from samplemix_core.manifest.life import untag
    from samplemix_core.reading.versions import open_version

    deployment, (name, at, _) = Deployment.load(), version.partition("@")
    mixtures = deployment.mixtures
    if "/" in version:
        raise ConfigError(f"{version!r} is a place, and tags are of this platform's mixtures.", "Name one, such as web@12.")
    if delete:
        named, meant = mixtures.tagged(name, tag), open_version(deployment, version).manifest.version if at else None
        if meant not in (None, named):
            raise ConfigError(f"{name}@{tag} names version {named}, not {meant}.", f"To remove it, say {name} {tag} --delete.")
        tell(f"{name}@{tag} named version {untag(mixtures, name, tag)}, and is removed")
        return
    number = open_version(deployment, version).manifest.version
    before = put_tag(mixtures, name, number, tag)
    moved = f"; it named version {before}" if before not in (None, number) else ""
    tell(f"{name}@{tag} names version {number}{moved}")


@app.command("gc")
def mixture_gc(
    name: Annotated[str | None, typer.Argument(help="Only this mixture")] = None,
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Versions past the newest so many may go")] = None,
    older_than: Annotated[
        int | None, typer.Option("--older-than", min=0, max=36_500, help="Versions may go that are older than so many days")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is found; otherwise it is only shown")] = False,
    as_json: AsJson = False,
) -> None:
    """Show, and with --yes remove, what no mixture needs: old drafts, versions that were begun and never published, stray files.

    With --keep or --older-than (or both), also the parts of versions past them, unless a tag or an export names the version, or a
    version that is kept has it as its parent. The latest stays, and manifests always stay: 'mixture show' still works, and mixing
    again with the same configuration fills a version again.

    Example: `samplemix mixture gc web --keep 10 --older-than 90`
    """
    from samplemix_core.manifest.life import Garbage, Rule, collect

    deployment, now, found = Deployment.load(), datetime.now(UTC), list[Garbage]()
    mixtures = deployment.mixtures
    names = [name] if name else sorted({mixture for mixture, _ in mixtures.list()})
    rule = Rule(keep, None if older_than is None else timedelta(days=older_than))
    for each in names:
        mixtures.latest(each)
        collect(mixtures, each, rule, now, dry_run=not yes, on_found=found.append)
    rows = [garbage.model_dump() for garbage in found]
    if find_spec("dask") is not None:
        from samplemix_core.pipeline.drafts import collect_drafts

        old = collect_drafts(deployment.state, now.date(), dry_run=not yes)
        size = sum(info.size for info in old)
        why = "drafts older than a week"
        rows += [{"mixture": None, "version": None, "why": why, "objects": len(old), "bytes": size}] if old else []
    print_rows(rows, as_json=as_json)
    if not as_json:
        total = sum(row["bytes"] for row in rows)
        tell(f"{total / 1e6:,.1f} MB {'removed' if yes else 'would be removed: --yes does it'}")


@app.command("copy")
def mixture_copy(
    name: Name,
    uri: Annotated[str, typer.Argument(help="Where mixtures are to lie: s3://bucket/prefix or a directory")],
    version: Version = None,
    as_json: AsJson = False,
) -> None:
    """Copy a version to another place, as <place>/<mixture>/<version>, each file checked when it is read and when it is written.

    The corpus stays where it is. Example: `samplemix mixture copy web@12 s3://cluster-b/mixtures`
    """
    from samplemix_core.manifest.catalogue import Mixtures
    from samplemix_core.manifest.life import copy_version
    from samplemix_core.reading.versions import open_version

    deployment = Deployment.load()
    made = copy_version(open_version(deployment, name, version), Mixtures(deployment.store(uri)))
    if as_json:
        print_json({"manifest": made.uri, "content_digest": made.manifest.content_digest})
        return
    tell(f"copied to {made.uri}")


@app.command("verify")
def mixture_verify(
    name: Name,
    version: Version = None,
    corpus: Annotated[bool, typer.Option("--corpus", help="Also check that the corpus's shards still have their etags")] = False,
    as_json: AsJson = False,
) -> None:
    """Read a published version back: hash its parts, add up its copies and tokens, and compare it with Postgres if Postgres has it.

    Exits with 1 if anything disagrees.
    """
    from samplemix_core.reading.versions import open_version, verify_version

    deployment = Deployment.load()
    found = open_version(deployment, name, version)
    if deployment.database_url is not None and find_spec("psycopg2") is not None:
        from samplemix_core.operations.check import verify_own

        report = verify_own(deployment, found, check_corpus=corpus)
    else:
        # SampleMix alone only reads mixtures.
        report = verify_version(deployment, found, check_corpus=corpus)
        if deployment.database_url is not None:
            say("not compared with Postgres: the package psycopg2 is not installed")
    if as_json:
        print_json(report.as_dict())
    else:
        for line in report.lines():
            tell(line)
    if report.problems:
        raise typer.Exit(1)


@app.command("export")
def mixture_export(
    name: Name,
    uri: Annotated[str, typer.Argument(help="Where to: s3://bucket/prefix or a directory; empty, or this export to go on with")],
    to: Annotated[str, typer.Option("--to", help=f"Format: {', '.join(get_args(FormatName))}")],
    version: Version = None,
    materialise: Annotated[
        bool, typer.Option("--materialise", help="Write each copy as a row, not a column 'copies' (jsonl, parquet, hugging-face)")
    ] = False,
    tokenizer: Annotated[
        str | None, typer.Option("--tokenizer", help="Where the manifest's tokenizer is, as a run names it (megatron, olmo)")
    ] = None,
    end_of_document: Annotated[
        str | None, typer.Option("--end-of-document", help="Token after each document, or none (megatron, olmo)")
    ] = None,
    prefix: Annotated[
        str | None, typer.Option("--prefix", help="Where the training job sees the export, if elsewhere (megatron, olmo)")
    ] = None,
    licence: Annotated[str | None, typer.Option("--license", help="The data's licence, such as odc-by (hugging-face)")] = None,
    languages: Annotated[
        list[str] | None, typer.Option("--language", help="A language of the texts, such as en; may be repeated (hugging-face)")
    ] = None,
    phase: Annotated[
        str | None, typer.Option("--phase", help="Of a mixture with phases: the one to export, or all, whose order is then lost")
    ] = None,
    corpus_root: Annotated[str | None, typer.Option("--corpus-root", help="Where the corpus is now, if it was copied")] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes here; default: the Dask cluster, or one per core without it")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be written, and write nothing")] = False,
    as_json: AsJson = False,
) -> None:
    """Export a version's documents in a format that training frameworks read, as often as they have copies.

    Each file is read back and checked. An export that was cut off goes on when it is asked for again, and one that is complete is
    left as it is; samplemix.json in it names the manifest and its digest.

    Examples: `samplemix mixture export web s3://bucket/exports/web-12 --to mds --version 12`,
    `samplemix mixture export web /data/web --to megatron --tokenizer org/model`
    """
    from samplemix_core.exports.exporting import describe_export, export_mixture

    deployment = Deployment.load()
    given: dict[str, Any] = {
        "materialise": materialise,
        "tokenizer": tokenizer,
        "end_of_document": end_of_document,
        "prefix": prefix,
    }
    given |= {"license": licence, "languages": tuple(languages or ()), "phase": phase}
    config = load_config(ExportConfig, {"format": to, **{key: value for key, value in given.items() if value}})
    if dry_run:
        described = describe_export(deployment, name, version, uri, config)
        print_json(described) if as_json else print_rows([{"export": key, "value": value} for key, value in described.items()])
        return
    processes = workers or (None if deployment.dask_scheduler else os.cpu_count() or 1)
    with terminal_progress(quiet=as_json) as report:
        try:
            found = export_mixture(
                deployment, name, version, uri, config, report, threading.Event(), workers=processes, corpus_root=corpus_root
            )
        except KeyboardInterrupt:
            say("stopped; the same command goes on, and keeps what is whole")
            raise
    if as_json:
        print_json(asdict(found))
        return
    state = "exported" if found.created else "was exported already"
    tell(
        f"{found.manifest} {state} to {found.uri} as {found.format}: {found.samples:,} documents in {found.copies:,} copies,"
        f" {found.tokens:,} tokens, {found.files:,} files of {found.bytes / 1e6:,.1f} MB"
    )


trace_app = typer.Typer()


@trace_app.command("trace")
def trace(
    name: Name,
    version: Version = None,
    step: Annotated[int | None, typer.Option("--step", min=0, help="List the documents that this step reads")] = None,
    document: Annotated[
        str | None, typer.Option("--document", help="List the steps that read this document: its sample key, or shard:row")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Documents of a rank's batch")] = 1,
    world_size: Annotated[int, typer.Option("--world-size", min=1, help="Number of ranks")] = 1,
    rank: Annotated[int | None, typer.Option("--rank", min=0, help="Only this rank's documents")] = None,
    seed: Annotated[int, typer.Option("--seed", help="The seed that the mixture was opened with")] = 0,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="Look for a document in so many epochs")] = 1,
    state: Annotated[
        Path | None, typer.Option("--state", help="A saved state (JSON) that the job was resumed from: steps count from there")
    ] = None,
    sequence_length: Annotated[
        int | None,
        typer.Option("--sequence-length", min=2, max=2**24, help="Tokens of a sequence, if the job read packed sequences"),
    ] = None,
    packing: Annotated[str, typer.Option("--packing", help="How it packed them: concatenate or best-fit")] = "concatenate",
    end_of_document: Annotated[
        bool, typer.Option("--end-of-document/--no-end-of-document", help="Whether a token followed each document")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Trace a training step to its documents, or a document to its steps, from the manifest alone.

    With --sequence-length, a batch is of packed sequences, and tokens start to stop of each document are in one.

    Examples: `samplemix trace web --step 1200 --batch-size 8 --world-size 64`,
    `samplemix trace web --document crawl-a/web/part-0.jsonl:17 --batch-size 8 --world-size 64`
    """
    from samplemix_core.reading.mixture import Mixture, open_mixture
    from samplemix_core.reading.packed import Packed
    from samplemix_core.reading.packed_order import Method, Packing
    from samplemix_core.reading.trace import Steps, find_sample, read_state

    if (step is None) == (document is None):
        raise ConfigError("Give either --step or --document.", "See samplemix trace --help.")
    if sequence_length is None and (packing != "concatenate" or not end_of_document):
        raise ConfigError("--packing and --no-end-of-document are of packed sequences.", "Give --sequence-length too.")
    saved = None if state is None else read_state(state)
    mixture = open_mixture(name, version=version, seed=seed if saved is None else saved["seed"])
    feed: Mixture | Packed = mixture
    if sequence_length is not None:
        packed = Packing(sequence_length, cast(Method, packing), end_of_document=end_of_document)
        feed = Packed(mixture.version, mixture.seed, mixture.texts, mixture.threads, packed)
    start = feed.state() if saved is None else feed.resume(saved)
    steps = Steps(feed, batch_size, world_size, start)
    if step is not None:
        found = steps.documents(step, rank)
    else:
        sample = find_sample(mixture, str(document))
        found = steps.of_sample(sample, epochs, rank)
    print_rows((traced._asdict() for traced in found), as_json=as_json)
