"""One process at a time holds the lock of a name, and a process that is killed holds it no longer."""

import subprocess
import sys
import threading

import pytest

from samplemix_core.database.connection import exclusive, transaction
from samplemix_core.deployment import Deployment
from samplemix_core.errors import CancelledRunError

HOLDER = """
import os, sys, threading
from samplemix_core.database.connection import exclusive
with exclusive(os.environ["URL"], "work", threading.Event(), lambda: None):
    print("held", flush=True)
    sys.stdin.read()
"""


def hold(url: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER], env={"URL": url}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_who_is_killed_lets_go(database: Deployment) -> None:
    url = database.database
    with hold(url) as holder:
        waited = threading.Event()
        got = threading.Event()

        def take() -> None:
            with exclusive(url, "work", threading.Event(), waited.set):
                got.set()

        taker = threading.Thread(target=take)
        taker.start()
        assert waited.wait(30)
        assert not got.is_set()
        with exclusive(url, "other work", threading.Event(), lambda: pytest.fail("another name is another lock")):
            pass
        holder.kill()
        taker.join(30)
        assert got.is_set()


def test_who_waits_can_be_cancelled_and_who_failed_lets_go(database: Deployment) -> None:
    url = database.database
    cancelled = threading.Event()
    with hold(url) as holder:
        with pytest.raises(CancelledRunError), exclusive(url, "work", cancelled, cancelled.set):
            pytest.fail("two hold it")
        holder.communicate("")
    with pytest.raises(KeyError), exclusive(url, "work", threading.Event(), lambda: None):
        raise KeyError
    # Not in a transaction, which would keep the database from cleaning up for hours.
    idle = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%' AND datname = current_database()"
    with exclusive(url, "work", threading.Event(), lambda: pytest.fail("it is still held")), transaction(url) as cursor:
        cursor.execute(idle)
        assert cursor.fetchone() == (0,)
