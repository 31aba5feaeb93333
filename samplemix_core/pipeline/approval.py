"""What a person is shown who decides whether a draft is published: the plan that it is, in Markdown."""

import re
from collections.abc import Sequence

from samplemix_core.logs import visible
from samplemix_core.manifest.format import ManifestDraft
from samplemix_core.mixing.plan import Plan

_GROUPS = 20
"""Groups of a column that are shown, the largest in the source."""


def subject(draft: ManifestDraft) -> str:
    """The question, in a line."""
    return f"Publish {draft.samples:,} documents, {draft.realised_tokens:,} tokens, as the next version of {draft.name}?"


def described(draft: ManifestDraft, plan: Plan | None, warnings: Sequence[str]) -> str:
    """The draft: its figures beside those of its source, shares by group, and warnings."""
    lines = [
        *(f"- {title}: {value}" for title, value in _facts(draft, plan)),
        f"- Budget: {draft.budget_tokens:,} tokens, of which {draft.realised_tokens:,} are met",
        *(f"- **Warning:** {_plain(warning)}" for warning in warnings),
    ]
    if plan is not None:
        lines += [f"- **Warning:** {_plain(starved)}" for starved in plan.starved]
        for column, groups in plan.groups.items():
            title = column.replace("_", " ").capitalize()
            lines += ["", f"| {title} | Source | Draft | Change | Epochs | Documents |", "|---|---:|---:|---:|---:|---:|"]
            lines += [
                f"| {_plain(group.name)} | {group.source_share:.1%} | {group.share:.1%} | x{group.multiplier:.2f}"
                f" | {group.epochs:.2f} | {group.documents:,} |"
                for group in groups[:_GROUPS]
            ]
            if rest := groups[_GROUPS:]:
                shares = (sum(group.source_share for group in rest), sum(group.share for group in rest))
                lines.append(
                    f"| {len(rest):,} smaller ones | {shares[0]:.1%} | {shares[1]:.1%} | | | {sum(g.documents for g in rest):,} |"
                )
    return "\n".join(lines) + "\n"


def _facts(draft: ManifestDraft, plan: Plan | None) -> list[tuple[str, str]]:
    left_out = draft.counts.left_out
    facts = [("Policy", draft.policy.name)]
    facts += [(f"Left out by {_plain(rule)}", f"{documents:,} documents") for rule, documents in left_out.items()]
    if plan is not None:
        facts += [
            ("Documents", f"{plan.documents:,} of {plan.source_documents:,}, {plan.copies:,} copies, {plan.most_copies} at most"),
            ("Mean quality", f"{plan.quality:.3f}, that of the source {plan.source_quality:.3f}"),
            ("Mean diversity", f"{plan.diversity:.3f}, that of the source {plan.source_diversity:.3f}"),
        ]
        if plan.overlap is not None:
            facts.append(("Same as the current version", f"{plan.overlap:.1%} of its tokens"))
    return facts


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, without links."""
    return re.sub(r"([\\`*_{}\[\]()<>#|~&:@])", r"\\\1", visible(text))
