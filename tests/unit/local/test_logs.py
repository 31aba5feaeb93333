from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from samplemix_core.local.ports import follow, tail


def test_the_tail_of_no_file_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log", 5) == []


def test_the_tail_of_a_large_file_is_its_last_lines(tmp_path: Path) -> None:
    log = tmp_path / "large.log"
    log.write_text("".join(f"{number:09d}\n" for number in range(20_000)))
    assert tail(log, 2) == ["000019998", "000019999"]
    assert tail(log, 0) == []


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), max_size=5), min_size=1, max_size=8), st.data()
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
def test_following_gives_each_line_once_however_the_writes_are_cut(tmp_path: Path, lines: list[str], data: st.DataObject) -> None:
    text = "".join(f"{line}\n" for line in lines).encode()
    cut = data.draw(st.integers(0, len(text)))
    log = tmp_path / "cut.log"
    log.write_bytes(b"old\n")
    following = follow(log, 1)
    assert next(following) == "old"
    with log.open("ab") as file:
        file.write(text[:cut])
        file.flush()
        whole = text[:cut].count(b"\n")
        assert [next(following) for _ in range(whole)] == lines[:whole]
        file.write(text[cut:])
        file.flush()
        assert [next(following) for _ in range(whole, len(lines))] == lines[whole:]


def test_a_rotated_log_is_followed_in_its_successor(tmp_path: Path) -> None:
    log = tmp_path / "rotated.log"
    log.write_text("one\ntwo\n")
    following = follow(log, 1)
    assert next(following) == "two"
    log.rename(tmp_path / "rotated.log.1")
    log.write_text("3\n")
    assert next(following) == "3"


def test_a_log_that_does_not_exist_yet_is_followed_from_its_start(tmp_path: Path) -> None:
    log = tmp_path / "late.log"
    following = follow(log, 5)
    log.write_text("first\nsecond\n")
    assert [next(following), next(following)] == ["first", "second"]
