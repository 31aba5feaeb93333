"""Text for people on standard output: a published mixture, where its tokens went, and what was left out."""

from rich.console import Console
from rich.table import Table

from samplemix_core.manifest.format import Manifest

WIDE = 1000


def output() -> Console:
    """Standard output; a pipe or a file has no width, so nothing is folded there."""
    console = Console()
    if not console.is_terminal:
        console.width = WIDE
    return console


def print_mixture(console: Console, manifest: Manifest) -> None:
    """Print a version's domains before and after, its figures, and what became of every document."""
    table = Table(title=f"{manifest.name} version {manifest.version}: share of tokens by domain", header_style="bold")
    table.add_column("domain")
    for name in ("documents", "tokens before", "share before", "share after", "change", "mean copies"):
        table.add_column(name, justify="right")
    for domain in sorted(manifest.domains, key=lambda item: (-item.source_tokens, item.domain)):
        change = domain.mixture_share / domain.source_share if domain.source_share else 0.0
        table.add_row(
            domain.domain,
            f"{domain.source_samples:,}",
            f"{domain.source_tokens:,}",
            f"{domain.source_share:.1%}",
            f"{domain.mixture_share:.1%}",
            f"x{change:.2f}",
            f"{domain.mean_copies:.2f}",
        )
    console.print(table)
    counts = manifest.counts
    by = f" of {manifest.tokenizer.name}" if manifest.tokenizer else ""
    short = manifest.budget_tokens - manifest.realised_tokens
    for line in (
        f"policy: {manifest.policy.name} {dict(manifest.policy.parameters)}, seed {manifest.seed}",
        f"budget: {manifest.budget_tokens:,} tokens{by}; realised: {manifest.realised_tokens:,} "
        f"({short:,} short, less than one document)",
        f"mixture: {manifest.samples:,} samples, {manifest.copies:,} copies",
        f"documents: {counts.documents:,} = {counts.scored:,} scored + {counts.quarantined:,} quarantined + "
        f"{counts.duplicates:,} exact duplicates",
        *([f"shards left out as a whole: {counts.refused_shards}"] if counts.refused_shards else []),
        f"content digest: {manifest.content_digest}",
    ):
        console.print(line, highlight=False, soft_wrap=True, markup=False)
