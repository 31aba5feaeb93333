"""Why a document has its number of copies in a version: what the pages and the command line say."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from samplemix_core.config.constraints import ConstraintsConfig
from samplemix_core.database.connection import transaction
from samplemix_core.database.query import ask
from samplemix_core.database.selection import rule_of
from samplemix_core.deployment import Deployment
from samplemix_core.errors import QueryError, SampleMixError
from samplemix_core.frozen import FrozenModel
from samplemix_core.manifest.catalogue import Version
from samplemix_core.manifest.format import PolicyRecord, SolverRecord
from samplemix_core.mixing.phases import carried_on
from samplemix_core.policies.policy import Columns
from samplemix_core.policies.registry import policy_kind, recorded
from samplemix_core.reading.versions import open_version
from samplemix_core.sample_key import sample_keys, uniforms


class Chance(FrozenModel):
    """How a sample came to its copies: min(max_copies, floor(kappa * weight + u)), where u is the sample's own number in [0, 1).

    `note` says why it has fewer, if it does. In a mixture with phases there is one for each, by its name, with the copies it gave.
    """

    phase: str | None = None
    copies: int = 0
    weight: float
    kappa: float
    u: float
    wanted: float
    max_copies: int
    note: str = ""


class Why(FrozenModel):
    """A document and what decided its copies.

    `became` says it in a word. `twins` are all places of its text, of which the first is mixed. `alike` are documents of nearly the
    same text: the one for which this is left out, or those that are left out for it. `holds` is what it has of benchmarks, largest
    overlap first. `qualities` are each quality model's scores.
    `chances` has one chance, or one for each phase; none for a duplicate or near-duplicate, which has no chance of its own, for a
    document that is not assigned to a cluster, and if the manifest can't be read: then `trouble` says why.
    """

    document: dict[str, Any]
    became: str
    chances: list[Chance]
    trouble: str
    twins: list[dict[str, Any]]
    alike: list[dict[str, Any]]
    holds: list[dict[str, Any]]
    qualities: list[dict[str, Any]]
    corpus_id: int

    def lines(self) -> Iterator[str]:
        """Yield sentences for people."""
        document = self.document
        yield f"row {document['row']} of {document['shard']}: {document['copies']} copies ({self.became})"
        yield (
            f"{document['domain']}, {document['n_tokens']:,} tokens, quality {document['quality']:.3f} by"
            f" {document['quality_model']} ({document['quality_low']:g} to {document['quality_high']:g})"
        )
        if document["diversity"] is not None:
            yield f"diversity {document['diversity']:.3f}, cluster {document['cluster']}"
        if self.became == "duplicate":
            yield f"an exact duplicate of row {self.twins[0]['row']} of {self.twins[0]['shard']}, which is the one that is mixed"
        if self.became == "near-duplicate":
            (kept,) = self.alike
            yield (
                f"a near-duplicate of row {kept['row']} of {kept['shard']}, which may be mixed: their runs of five words have the"
                f" Jaccard similarity {kept['similarity']:.3f}"
            )
        for number, chance in enumerate(self.chances):
            phase, left = "" if chance.phase is None else f"phase {chance.phase}: ", "what is left of " if number else ""
            yield (
                f"{phase}weight {chance.weight:.4g} times kappa {chance.kappa:.4g} is {chance.wanted:.3f} copies; with"
                f" {left}its own number"
                f" u = {chance.u:.3f} that is {chance.wanted + chance.u:.3f}, whose whole part is its copies,"
                f" {chance.max_copies} at most: {chance.copies}"
            )
            if chance.note:
                yield chance.note
        if not self.chances and self.became not in ("duplicate", "near-duplicate"):
            yield self.trouble or "it is not assigned to a cluster of the version's model, so it has no weight"
        if len(self.twins) > 1 and self.became not in ("duplicate", "left out"):
            yield f"its text is in {len(self.twins):,} places of the mixture's crawls; the others are duplicates of this one"
        if self.alike and self.became != "near-duplicate":
            more = " or more" if len(self.alike) == _MOST_ALIKE else ""
            yield f"{len(self.alike):,}{more} documents of nearly the same text are left out for it"


def find_document(version: Version, document: str) -> tuple[str, int]:
    """The shard and row of a document: 'shard:row', or the sample key of one that the version took.

    Raises QueryError if it is neither.
    """
    shard, colon, row = document.rpartition(":")
    if colon and row.isascii() and row.isdigit():
        return shard, int(row)
    if re.fullmatch(r"[0-9a-f]{32}", document):
        for table in version.rows():
            at = pc.index(table["sample_key"], pa.scalar(bytes.fromhex(document), pa.binary(16))).as_py()
            if at >= 0:
                return str(table["shard"][at].as_py()), int(table["row"][at].as_py())
    raise QueryError(
        f"{document[:200]!r} is no document of {version.manifest.name} version {version.manifest.version}.",
        "Name it as crawl/domain/shard.jsonl:row, or by the sample key of one that was taken.",
    )


def explain(deployment: Deployment, reader_url: str, name: str, version: int, shard: str, row: int) -> Why:
    """Explain a document's copies in a version; raise QueryError if it isn't one of the version's documents."""
    (mixture,) = ask(reader_url, "mixture_version", mixture=name, version=version)
    found = ask(reader_url, "sample_why", mixture=name, version=mixture["version"], shard=shard, row=row)
    if not found:
        raise QueryError(
            f"{shard[:200]!r} has no document in row {row} that this version was made from.",
            "Its shard may have been replaced since, or the record was set aside: see the corpus's page.",
        )
    (document,) = found
    among = set(mixture["snapshots"])
    constraints = ConstraintsConfig.model_validate(mixture["config"].get("constraints") or {})
    rules: dict[tuple[str, int], str] = {}
    twins = [
        item for item in ask(reader_url, "same_text", corpus=mixture["corpus"], shard=shard, row=row) if item["snapshot"] in among
    ]
    if constraints.selects:
        rules = _left_out(reader_url, mixture["mixture_id"], constraints, [*twins, {"shard": shard, "row": row}])
        # What is left out has no place to take.
        twins = [item for item in twins if (item["shard"], item["row"]) not in rules]
    if document["copies"]:
        became = "taken"
    elif twins and (twins[0]["shard"], twins[0]["row"]) != (shard, row):
        became = "duplicate"
    else:
        became = "not taken"
    chances, trouble = list[Chance](), ""
    if became != "taken" and (shard, row) in rules:
        became, trouble = "left out", f"the constraint {rules[shard, row]} leaves it out"
    alike = ask(reader_url, "near_duplicates_of", mixture=name, version=mixture["version"], shard=shard, row=row)
    if became == "not taken" and any(item["is_kept"] for item in alike):
        became = "near-duplicate"
    holds = ask(reader_url, "contamination_of", corpus=mixture["corpus"], shard=shard, row=row)
    kept_out = {item["key"] for item in ask(reader_url, "kept_out", mixture=name, version=mixture["version"])}
    if became not in ("taken", "left out") and (met := [item for item in holds if item["key"] in kept_out]):
        became = "left out"
        most = met[0]
        trouble = f"it holds {most['overlap']:.0%} of the {most['field']} of item {most['item']} of benchmark {most['benchmark']}"
    drops_noise = (mixture["config"].get("diversity") or {}).get("noise") == "drop"
    if became not in ("taken", "left out") and document["is_noise"] and drops_noise:
        # So do its twins, which have its vector.
        became, trouble = "left out", "it is farther from its cluster than members are, and noise is dropped"
    if became not in ("duplicate", "near-duplicate", "left out") and document["diversity"] is not None:
        try:
            chances = _chances(deployment, mixture, document)
        except SampleMixError as error:
            trouble = str(error)
    return Why(
        document=document,
        became=became,
        chances=chances,
        trouble=trouble,
        twins=twins,
        alike=alike,
        holds=holds,
        qualities=ask(reader_url, "sample_qualities", corpus=mixture["corpus"], shard=shard, row=row),
        corpus_id=mixture["corpus_id"],
    )


def _left_out(
    reader_url: str, mixture_id: int, constraints: ConstraintsConfig, places: Sequence[dict[str, Any]]
) -> dict[tuple[str, int], str]:
    """The rules that leave out documents, by their places."""
    found: dict[tuple[str, int], str] = {}
    with transaction(reader_url) as cursor:
        for item in places[-_MOST_TWINS:]:
            rule = rule_of(cursor, reader_url, mixture_id, item["shard"], item["row"], constraints)
            if rule is not None:
                found[item["shard"], item["row"]] = rule
    return found


_MOST_ALIKE = 200
"""Rows of the query near_duplicates_of."""

_MOST_TWINS = 50
"""Of a document, whose rules are asked for."""


def _chances(deployment: Deployment, mixture: dict[str, Any], document: dict[str, Any]) -> list[Chance]:
    manifest = open_version(deployment, mixture["mixture"], mixture["version"]).manifest
    columns = Columns(
        np.array([document["quality"]], dtype=np.float32),
        np.array([document["diversity"]], dtype=np.float32),
        tokens=np.array([document["n_tokens"]]),
    )
    rows = np.array([document["row"]], dtype=np.int64)
    u = float(uniforms(manifest.seed, sample_keys(document["snapshot"], document["shard"], rows))[0])
    parts: list[tuple[str | None, PolicyRecord, SolverRecord]] = [(item.name, item.policy, item.solver) for item in manifest.phases]
    parts = parts or [(None, manifest.policy, manifest.solver)]
    in_phases = document["phase_copies"] or [0] * len(manifest.phases)
    own_copies = in_phases if manifest.phases else [document["copies"]]
    chances, spent = [], 0
    for (name, policy, solver), copies in zip(parts, own_copies, strict=True):
        kappa, by_chance = cell_kappa(solver, document), policy_kind(policy.name).chance
        weight = _weight(policy, columns, document if not manifest.phases else {})
        own = u if by_chance else 0.0
        wanted = kappa * weight
        most = min(solver.max_copies, manifest.constraints.cap(document, manifest.solver.max_copies) - spent)
        note = why_fewer(solver, manifest.budget_tokens, wanted + own, copies, document["n_tokens"], spent, most)
        chances.append(
            Chance(phase=name, copies=copies, weight=weight, kappa=kappa, u=own, wanted=wanted, max_copies=most, note=note)
        )
        if by_chance:
            u = carried_on(u, wanted, copies, min(solver.max_copies, manifest.solver.max_copies))
        spent += copies
    return chances


def cell_kappa(solver: SolverRecord, document: dict[str, Any]) -> float:
    """The kappa by which a document was copied: that of its cell, where shares of groups had to hold."""
    if not solver.cells:
        return solver.kappa
    own = (cell.kappa for cell in solver.cells if all(str(document[column]) == value for column, value in cell.of.items()))
    return next(own, 0.0)


def _weight(policy: PolicyRecord, columns: Columns, document: dict[str, Any]) -> float:
    """A document's weight: as it was published, or computed. Raises ConfigError if it depends on the whole source."""
    if document.get("weight") is not None:
        return float(document["weight"])
    return float(recorded(policy.name, policy.parameters)(columns)[0])


def why_fewer(
    solver: SolverRecord, budget_tokens: int, wanted: float, copies: int, n_tokens: int, spent: int = 0, most: int | None = None
) -> str:
    """Why a sample has fewer copies than the whole part of `wanted`; empty if it has as many.

    `spent` copies were given by earlier phases, so that `most` are left; without phases, as many as the solver allows.
    """
    most = solver.max_copies if most is None else most
    if copies < min(most, int(wanted)):
        if (spent + copies + 1) * n_tokens > int(solver.max_share * budget_tokens):
            return f"Another copy would exceed {solver.max_share:.2%} of the budget, the most for one document."
        return "Another copy is longer than what was left of the budget, so it was skipped." if solver.passed_over else ""
    if copies > min(most, int(wanted)):
        return "It was next in line, and what was left of the budget, or of its group's share, paid for one copy more."
    if most < min(solver.max_copies, int(wanted)) and not spent:
        return f"The constraints allow it {most} {'copy' if most == 1 else 'copies'} at most."
    if most < min(solver.max_copies, int(wanted)):
        return f"Earlier phases had spent {spent} of its copies, so that {most} {'was' if most == 1 else 'were'} left."
    return ""
