"""Groups of a target's texts."""

from samplemix_core.models.targets import MOST_GROUPS, OTHERS, merge_groups


def test_few_groups_stay_as_they_are() -> None:
    texts = [("a text", "web"), ("another", "")]
    assert merge_groups(texts, {}) == (texts, {})
    assert merge_groups(texts, {"web": 5, "books": 1}) == (texts, {"web": 5, "books": 1})


def test_of_many_groups_the_smallest_are_one() -> None:
    texts = [("x" * (number + 1), f"group {number}") for number in range(500)]
    merged, shares = merge_groups(texts, {})
    assert shares == {}
    assert [text for text, _ in merged] == [text for text, _ in texts]
    own = {group for _, group in merged}
    assert own == {OTHERS, *(f"group {number}" for number in range(500 - MOST_GROUPS + 1, 500))}
    # The corpus's shares decide, where there are any, and stay whole; a group without a text counts with the others, or alone.
    known = {f"group {number}": number for number in range(400)}
    merged, shares = merge_groups(texts, known)
    assert sum(shares.values()) == sum(known.values())
    assert len(shares) == MOST_GROUPS == len({group for _, group in merged})
    assert {group for group in shares if group != OTHERS} == {f"group {number}" for number in range(400 - MOST_GROUPS + 1, 400)}
