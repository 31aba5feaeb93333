"""What a person is shown who approves or rejects a draft."""

from samplemix_core.mixing.plan import Plan, PlannedGroup
from samplemix_core.pipeline.approval import described, subject
from tests.manifests import manifest_of

DRAFT = manifest_of(1, ())


def planned(*groups: PlannedGroup) -> Plan:
    return Plan(
        **{"budget_tokens": 20, "realised_tokens": 21, "documents": 8, "copies": 12, "source_documents": 9, "source_tokens": 100},
        **{"epochs": 1.5, "most_copies": 4, "quality": 6.5, "source_quality": 5.25, "diversity": 0.5, "source_diversity": 0.4},
        overlap=0.75,
        groups={"content_type": groups},
    )


def group(name: str, source_share: float = 0.04, share: float = 0.02) -> PlannedGroup:
    return PlannedGroup(name=name, source_share=source_share, share=share, multiplier=share / source_share, epochs=0.5, documents=3)


def test_figures_shares_and_warnings_are_shown() -> None:
    assert subject(DRAFT) == "Publish 8 documents, 21 tokens, as the next version of demo?"
    lines = described(DRAFT, planned(group("prose", 0.5, 0.9), group("code", 0.4, 0.1)), ["the source is small"]).splitlines()
    assert "- Mean quality: 6.500, that of the source 5.250" in lines
    assert "- Same as the current version: 75.0% of its tokens" in lines
    assert "- **Warning:** the source is small" in lines
    assert r"- **Warning:** content\_type code has 0.25 times its natural share of 40.0%" in lines
    assert "| prose | 50.0% | 90.0% | x1.80 | 0.50 | 3 |" in lines


def test_many_groups_are_summed_up() -> None:
    lines = described(DRAFT, planned(*(group(f"g{i}") for i in range(25))), []).splitlines()
    assert "| 5 smaller ones | 20.0% | 10.0% | | | 15 |" in lines
    assert len([line for line in lines if line.startswith("| g")]) == 20


def test_names_are_no_markdown() -> None:
    lines = described(DRAFT, planned(group("a|b [x](http://y) <i> &amp;\r---")), []).split("\n")
    assert r"| a\|b \[x\]\(http\://y\) \<i\> \&amp;\\r--- | 4.0% | 2.0% | x0.50 | 0.50 | 3 |" in lines
