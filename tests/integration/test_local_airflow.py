"""The embedded Airflow starts over an embedded Postgres, lets in who has the password, and leaves nothing behind."""

import http.client
import json
import os
from pathlib import Path
from urllib.parse import urlsplit

from samplemix_core.local.home import Home
from samplemix_core.local.stack import PROCESSES, Stack
from samplemix_core.local.supervisor import stack_processes
from samplemix_core.settings import Settings


def login_status(settings: Settings, password: str | None) -> int:
    connection = http.client.HTTPConnection(urlsplit(str(settings.airflow_url)).netloc)
    try:
        body = json.dumps({"username": settings.airflow_user, "password": password})
        connection.request("POST", "/auth/token", body, {"Content-Type": "application/json"})
        return connection.getresponse().status
    finally:
        connection.close()


def test_airflow_starts_is_started_once_and_stops(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    folders = {"SAMPLEMIX_DAGS_FOLDER": str(tmp_path / "empty"), "SAMPLEMIX_PLUGINS_FOLDER": str(tmp_path / "empty")}
    home = tmp_path / "home"
    stack = Stack(home, ports="free", environ={"PATH": os.environ["PATH"], **folders})
    try:
        settings = stack.up({"airflow"})
        kept = {row.process: row.pid for row in stack.status() if row.pid is not None}
        assert set(kept) == {"postgres", *PROCESSES["airflow"]}
        assert login_status(settings, settings.airflow_password) == 201
        assert login_status(settings, "wrong") == 401
        commands = [" ".join(process.cmdline()) for process in stack_processes(Home(home).read_state().stack)]
        assert len(commands) >= len(kept)
        secrets = json.loads((home / "secrets.json").read_text()).values()
        assert not [command for command in commands if any(secret in command for secret in secrets)]

        assert stack.up({"airflow"}) == settings
        assert {row.process: row.pid for row in stack.status() if row.pid is not None} == kept

        stack.down()
        assert stack_processes(Home(home).read_state().stack) == []
    finally:
        stack.destroy()
