import pwd
from pathlib import Path

import pytest

from samplemix_core.local import machine
from samplemix_core.local.stack import Stack, start_services
from samplemix_core.settings import Settings


def account(name: str, uid: int, shell: str) -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", uid, uid, "", f"/home/{name}", shell))


def test_root_is_told_of_the_people_who_can_log_in(monkeypatch: pytest.MonkeyPatch) -> None:
    accounts = [account("root", 0, "/bin/bash"), account("daemon", 2, "/bin/sh"), account("nobody", 65534, "/bin/sh")]
    said: list[str] = []
    monkeypatch.setattr(pwd, "getpwall", lambda: accounts)
    monkeypatch.setattr(Stack, "up", lambda *_, **__: Settings(home=Path()))

    def start(user: int) -> list[str]:
        said.clear()
        monkeypatch.setattr("os.geteuid", lambda: user)
        start_services(Path(), ["s3"], said.append)
        return said

    assert start(0) == []
    accounts += [account("ann", 1000, "/bin/bash"), account("ci", 1001, "/usr/sbin/nologin")]
    assert machine.other_users() == ["ann"]
    assert "(ann)" in start(0)[0]
    assert start(1000) == []
