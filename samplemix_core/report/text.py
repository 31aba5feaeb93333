"""Text for people: print strangers' data, and a published mixture with where its tokens went and what was left out."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from samplemix_core.errors import ConfigError
from samplemix_core.logs import visible
from samplemix_core.manifest.format import DomainShare, Manifest, held_back, unmet

if TYPE_CHECKING:
    # Who only lists and shows mixtures has no Numba.
    from samplemix_core.mixing.plan import Plan

WIDE = 1000

MOST_DOMAINS = 40
"""Rows of a mixture's table; the smaller domains share one."""


@contextmanager
def written(path: Path) -> Iterator[None]:
    """While a file is written for people: raise ConfigError, naming it, if it can't be."""
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"{path} can't be written: {error.strerror or error}.",
            "Name a file in a directory that is there, where you may write and there is room.",
        ) from error


class PlainConsole(Console):
    """A console for strangers' data. In its text, only line ends have a meaning: no markup, emoji code or control character does.

    Style is for Text objects, which are built from `visible` text.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """See Console.render_str."""
        return super().render_str(visible(text, "\n"), **options)


def output() -> PlainConsole:
    """Standard output; a pipe or a file has no width, so nothing is folded there."""
    console = PlainConsole()
    if not console.is_terminal:
        console.width = WIDE
    return console


def tell(line: str) -> None:
    """Print a line on standard output."""
    output().print(line, soft_wrap=True)


def print_mixture(console: Console, manifest: Manifest, warnings: Sequence[str] = ()) -> None:
    """Print a version's domains before and after (the smallest as one), its figures, what became of the documents, and warnings."""
    table = Table(title=f"{manifest.name} version {manifest.version}: share of tokens by domain", header_style="bold")
    table.add_column("domain", overflow="fold")
    for name in ("documents", "tokens before", "share before", "share after", "change", "mean copies"):
        table.add_column(name, justify="right")
    domains = sorted(manifest.domains, key=lambda item: (-item.source_tokens, item.domain))
    most = MOST_DOMAINS if len(domains) > MOST_DOMAINS + 1 else len(domains)
    for domain in domains[:most]:
        table.add_row(visible(domain.domain), *_domain_cells([domain]))
    if domains[most:]:
        table.add_row(f"{len(domains) - most:,} smaller domains (--json has all)", *_domain_cells(domains[most:]))
    console.print(table)
    counts = manifest.counts
    by = f" of {manifest.tokenizer.name}" if manifest.tokenizer else ""
    short = manifest.budget_tokens - manifest.realised_tokens
    by_less = f", less than the {manifest.solver.next_tokens:,} tokens of the next copy" if short else ""
    for line in (
        *([] if manifest.phases else [f"policy: {manifest.policy}"]),
        *(
            f"phase {phase.name}: {phase.realised_tokens:,} tokens, {phase.samples:,} samples, {phase.copies:,} copies; policy"
            f" {phase.policy}, at most {phase.solver.max_copies} copies"
            for phase in manifest.phases
        ),
        *(
            f"constraint: {name} {json.dumps(value)}"
            for name, value in manifest.constraints.model_dump(mode="json", exclude_defaults=True).items()
        ),
        f"seed: {manifest.seed}",
        f"budget: {manifest.budget_tokens:,} tokens{by}; realised: {manifest.realised_tokens:,} ({short:,} short{by_less})",
        f"mixture: {manifest.samples:,} samples, {manifest.copies:,} copies",
        f"documents: {counts.documents:,} = {counts.scored:,} scored + {counts.quarantined:,} quarantined + "
        f"{counts.duplicates:,} exact duplicates",
        *(f"left out by {rule}: {documents:,} documents" for rule, documents in counts.left_out.items()),
        *([f"shards left out as a whole: {counts.refused_shards}"] if counts.refused_shards else []),
        f"content digest: {manifest.content_digest}",
        *(f"warning: {warning}" for warning in dict.fromkeys([*unmet(manifest), *held_back(manifest), *warnings])),
    ):
        console.print(line, soft_wrap=True)


def _domain_cells(domains: Sequence[DomainShare]) -> tuple[str, ...]:
    """The table's cells for several domains together."""

    def total(name: str) -> float:
        return float(sum(getattr(item, name) for item in domains))

    documents, before, after = total("source_samples"), total("source_share"), total("mixture_share")
    change = after / before if before else 0.0
    return (
        f"{documents:,.0f}",
        f"{total('source_tokens'):,.0f}",
        f"{before:.1%}",
        f"{after:.1%}",
        f"x{change:.2f}",
        f"{total('copies') / max(documents, 1):.2f}",
    )


_PLAN_ROWS = 12
"""Groups of a column that plans are shown by; --json has all."""


def print_plans(console: Console, title: str, plans: "Mapping[str, Plan | str]") -> None:
    """Print plans side by side, with what can't be met and what is starved; a plan that is text says why there is none."""
    table = Table(title=title, header_style="bold")
    table.add_column("")
    table.add_column("source", justify="right")
    found = {name: plan for name, plan in plans.items() if not isinstance(plan, str)}
    for name in found:
        table.add_column(visible(name), justify="right", overflow="fold")
    first = next(iter(found.values()), None)
    if first is not None:
        for words, source, value in _PLAN_FIGURES:
            table.add_row(words, source(first), *(value(plan) for plan in found.values()))
        for column in first.groups:
            table.add_section()
            own = [{group.name: group for group in plan.groups[column]} for plan in found.values()]
            # What a plan leaves out is in another.
            known = {name: group for groups in reversed(own) for name, group in groups.items()}
            names = sorted(known, key=lambda name: (-known[name].source_share, name))
            for name in names[:_PLAN_ROWS]:
                shown = (f"{one[name].share:.1%}  x{one[name].multiplier:.2f}" if name in one else "left out" for one in own)
                table.add_row(visible(f"{column.replace('_', ' ')} {name}"), f"{known[name].source_share:.1%}", *shown)
            if rest := names[_PLAN_ROWS:]:
                shares = [sum(one[name].share for name in rest if name in one) for one in own]
                source_share = sum(known[name].source_share for name in rest)
                table.add_row(f"{len(rest):,} smaller ones", f"{source_share:.1%}", *(f"{share:.1%}" for share in shares))
        console.print(table)
    for name, plan in plans.items():
        if isinstance(plan, str):
            console.print(f"{name}: {plan}", soft_wrap=True)
        else:
            for starved in plan.starved:
                console.print(f"warning: {name}: {starved}", soft_wrap=True)


_PLAN_FIGURES: "tuple[tuple[str, Callable[[Plan], str], Callable[[Plan], str]], ...]" = (
    ("tokens", lambda plan: f"{plan.source_tokens:,}", lambda plan: f"{plan.realised_tokens:,}"),
    ("of the budget", lambda plan: "", lambda plan: f"{plan.realised_tokens / plan.budget_tokens:.2%}"),
    ("documents", lambda plan: f"{plan.source_documents:,}", lambda plan: f"{plan.documents:,}"),
    ("copies", lambda plan: "", lambda plan: f"{plan.copies:,}"),
    ("epochs of what is taken", lambda plan: "", lambda plan: f"{plan.epochs:.2f}"),
    ("most copies", lambda plan: "", lambda plan: f"{plan.most_copies}"),
    ("mean quality", lambda plan: f"{plan.source_quality:.3f}", lambda plan: f"{plan.quality:.3f}"),
    ("mean diversity", lambda plan: f"{plan.source_diversity:.3f}", lambda plan: f"{plan.diversity:.3f}"),
    ("same as the current", lambda plan: "", lambda plan: "" if plan.overlap is None else f"{plan.overlap:.1%}"),
)
