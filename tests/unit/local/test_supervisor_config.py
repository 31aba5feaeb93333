from pathlib import Path

import pytest
from supervisor.options import ServerOptions

from samplemix_core.errors import ServiceError
from samplemix_core.local.home import Home, write_private
from samplemix_core.local.service import Program, render


def program(home: Home, name: str = "one", **options: object) -> Program:
    return Program(service="both", name=name, command=("/bin/true",), directory=home.root, missing=lambda: None, **options)  # type: ignore[arg-type]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "a home, (not) plain & simple")
    home.create()
    return home


def test_supervisord_reads_back_what_was_meant(home: Home) -> None:
    values = {"PLAIN": "x", "EMPTY": "", "URL": "postgresql://a:b%40c@h/d?e=f,g;h#i", "APOSTROPHE": "it's 100% so"}
    first = Program(
        service="both",
        name="one",
        command=("/bin/echo", "with space", "100%", "it's"),
        directory=home.root,
        missing=lambda: None,
        environment=values,
        stop_signal="INT",
        stop_seconds=7,
    )
    write_private(home.supervisor_config, render([first, program(home, "two")], home, port=4242, password="secret"))
    options = ServerOptions()
    options.realize(["-c", str(home.supervisor_config)])
    (group,) = options.process_group_configs
    assert group.name == "both"
    one, two = group.process_configs
    assert (one.name, two.name) == ("one", "two")
    assert one.environment == values
    assert one.command == "/bin/echo 'with space' 100% 'it'\"'\"'s'"
    assert one.stdout_logfile == str(home.log("one"))
    assert (one.directory, one.stopwaitsecs, one.stopsignal.name) == (str(home.root), 7, "SIGINT")
    assert (one.autostart, one.stopasgroup, one.killasgroup) == (False, True, True)
    (server,) = options.server_configs
    assert (server["host"], server["port"], server["password"]) == ("127.0.0.1", 4242, "secret")


@pytest.mark.parametrize("value", ['a"b', "a\nb", "a ;b", "a #b", "a'"])
def test_a_value_that_the_file_can_not_state_is_refused_and_not_shown(home: Home, value: str) -> None:
    with pytest.raises(ServiceError, match="The value for SECRET has") as caught:
        render([program(home, environment={"SECRET": value})], home, port=1, password="x")
    assert value not in str(caught.value)


@pytest.mark.parametrize("character", ['"', "'", ";", "#", "%", "\n"])
def test_a_home_whose_path_the_file_can_not_state_is_refused(tmp_path: Path, character: str) -> None:
    with pytest.raises(ServiceError, match="SAMPLEMIX_HOME"):
        Home(tmp_path / f"a{character}b").create()
    assert list(tmp_path.iterdir()) == []


def test_the_files_are_private_from_their_first_byte(home: Home) -> None:
    home.supervisor_config.write_text("old")
    home.supervisor_config.chmod(0o644)
    write_private(home.supervisor_config, "new")
    assert home.supervisor_config.read_text() == "new"
    assert home.supervisor_config.stat().st_mode & 0o777 == 0o600
