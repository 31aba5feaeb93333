"""Say how far crawls are from the sample that clusters were fitted on, and what new clusters change before a version has them."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from samplemix_core.database import clusters
from samplemix_core.database import drift as database
from samplemix_core.diversity.drift import ALL, Drift, drift_of, over_limits
from samplemix_core.diversity.lineage import Change
from samplemix_core.errors import CancelledRunError, SampleMixError
from samplemix_core.manifest.format import Manifest, ManifestDraft
from samplemix_core.pipeline.context import RunContext
from samplemix_core.pipeline.drafts import read_draft
from samplemix_core.pipeline.handoff import ClusterModelRef, DriftFound, Reclustered, Registered
from samplemix_core.steps import MIX


def check_drift(run: RunContext, registered: Registered, cluster_model: ClusterModelRef) -> DriftFound:
    """Compare each crawl with the sample that the clusters were fitted on, and store what is found; nothing stops.

    A crawl is measured again only if other documents of it are assigned. Crawls that the sample was drawn from can't drift.
    """
    with run.deployment.transaction() as cursor:
        record = clusters.load_cluster_model(cursor, cluster_model.cluster_model_id)
        sample = database.load_sample(cursor, record)
    if sample is None:
        run.tell(0, 0, "these clusters have no sample to compare crawls with", unit="crawls")
        return DriftFound(crawls=0, drifted={})
    sampled, profiles = sample
    lines, over = list[str](), dict[str, tuple[str, ...]]()
    for number, (name, snapshot_id) in enumerate(zip(registered.snapshots, registered.snapshot_ids, strict=True)):
        run.tell(number, len(registered.snapshots), name, unit="crawls")
        in_sample = snapshot_id in sampled
        with run.deployment.transaction() as cursor:
            assigned = database.assigned_digest(cursor, record.cluster_model_id, snapshot_id)
            known = database.load_drift(cursor, record.cluster_model_id, snapshot_id, assigned)
            found = known or drift_of(profiles, database.count_crawl(cursor, record, snapshot_id))
            # Limits may have been different before.
            found = [replace(found[0], over=() if in_sample else over_limits(found[0], run.config.diversity)), *found[1:]]
            if found != known:
                database.save_drift(cursor, record.cluster_model_id, snapshot_id, assigned, found, in_sample=in_sample)
        if found[0].over:
            over[name] = found[0].over
        if not in_sample or len(registered.snapshots) == 1:
            lines.append(_said(name, found))
    crawls = len(registered.snapshots)
    said = "\n  ".join([f"{len(over)} of {crawls} drift", *lines])
    run.tell(crawls, crawls, said, unit="crawls")
    return DriftFound(crawls=crawls, drifted=over)


def _said(name: str, found: list[Drift]) -> str:
    whole = found[0]
    said = (
        f"{name}: {whole.far:.1%} of {whole.documents:,} documents are far, {whole.far_in_sample:.1%} in the sample;"
        f" distances differ by {whole.distance_shift:.2f}, shares of clusters by {whole.share_shift:.2f}"
    )
    if new := [drift.language for drift in found if drift.language != ALL and not drift.known]:
        said += f"; languages that the sample hardly has: {', '.join(new)}"
    return said + (f". It drifts: {'; '.join(whole.over)}" if whole.over else "")


def report_clusters(run: RunContext, registered: Registered, cluster_model: ClusterModelRef) -> Reclustered:
    """Say what clusters that were fitted again change: names, d, and the next version; then have the next version made with them.

    The next version is mixed as a draft, which nobody publishes. Versions change to clusters once in a run: if the run is repeated,
    and others were chosen meanwhile, those stay.
    """
    with run.deployment.transaction() as cursor:
        record = clusters.load_cluster_model(cursor, cluster_model.cluster_model_id)
    known, lines = record.change or {}, list[str]()
    change = Change.of(known["against_parent"]) if "against_parent" in known else None
    if change is not None:
        lines.append(str(change))
        lines += [
            f"{group.language}: mean d of {group.documents:,} documents {group.before:.3f} before, {group.after:.3f} now"
            for group in change.groups[:_GROUPS]
        ]
    else:
        lines.append("there are no clusters to compare these with")
    run.tell(0, 1, f"{lines[0]}; mixing the next version, as a draft", unit="models")
    mixture = _next_version(run, registered, cluster_model)
    is_repeated = known.get("reported_by") == run.name
    with run.deployment.transaction() as cursor:
        is_new = not is_repeated and clusters.adopt_refit(cursor, record)
        clusters.save_change(cursor, record.cluster_model_id, known | {"mixture": mixture, "reported_by": run.name})
    lines += _mixture_lines(mixture)
    if is_new:
        lines.append("the next version is made with these clusters; 'samplemix diversity use' takes others")
    run.tell(1, 1, "\n  ".join(lines), unit="models")
    return Reclustered(
        fates={} if change is None else change.fates,
        correlation=None if change is None else change.correlation,
        overlap=mixture.get("overlap"),
        is_new=is_new,
    )


_GROUPS = 10


def _next_version(run: RunContext, registered: Registered, cluster_model: ClusterModelRef) -> dict[str, Any]:
    """What the next version would hold beside the current one, or why that can't be said."""
    try:
        current = run.deployment.mixtures.open(run.config.mixture_name).manifest
        # A draft that a person is asked about has a plan.
        asking = replace(run, config=run.config.model_copy(update={"approval": True}))
        mixed = asking.do(MIX, {"registered": registered, "cluster_model": cluster_model})
        draft = read_draft(run.deployment.state, mixed.draft)
    except SampleMixError as error:
        if error.may_pass or isinstance(error, CancelledRunError):
            raise
        return {"error": str(error)}
    before, after = _shares(current), _shares(draft.manifest)
    moved = sorted(before.keys() | after.keys(), key=lambda name: (-abs(after.get(name, 0) - before.get(name, 0)), name))
    return {
        "mixture": current.name,
        "version": current.version,
        "overlap": None if draft.plan is None else draft.plan.overlap,
        "domains": [{"domain": name, "before": before.get(name, 0.0), "after": after.get(name, 0.0)} for name in moved],
    }


def _shares(manifest: Manifest | ManifestDraft) -> dict[str, float]:
    """Share of the tokens of each domain."""
    return {domain.domain: domain.mixture_share for domain in manifest.domains}


def _mixture_lines(mixture: dict[str, Any]) -> Iterator[str]:
    if "error" in mixture:
        yield f"the next version is not compared: {mixture['error']}"
        return
    if mixture["overlap"] is not None:
        yield (
            f"the next version of {mixture['mixture']} would hold {mixture['overlap']:.1%} of the tokens of version"
            f" {mixture['version']}"
        )
    for each in mixture["domains"][:_GROUPS]:
        yield f"{each['domain']}: {each['before']:.1%} of the tokens in version {mixture['version']}, {each['after']:.1%} then"
