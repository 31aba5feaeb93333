"""What listens on supervisord's port may be anything: what then goes wrong does not tell supervisord's password."""

import http.server
import threading
import traceback
from pathlib import Path

import pytest

from samplemix_core.errors import ServiceError
from samplemix_core.local.home import Home, write_json
from samplemix_core.local.supervisor import Supervisor


class Refusing(http.server.BaseHTTPRequestHandler):
    """Answers 401 and keeps what it was sent."""

    seen: str | None = None

    def do_POST(self) -> None:
        type(self).seen = self.headers["Authorization"]
        self.send_error(401)

    def log_message(self, *arguments: object) -> None:
        pass


def test_no_exception_tells_the_password(tmp_path: Path) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            write_json(tmp_path / "supervisord.json", {"port": server.server_port, "password": "s3cret"})
            supervisor = Supervisor(Home(tmp_path))
            with pytest.raises(ServiceError, match="did not do getPID") as caught:
                supervisor.shutdown()
        finally:
            server.shutdown()
            thread.join()
    assert Refusing.seen == "Basic c2FtcGxlbWl4OnMzY3JldA=="
    told = "".join(traceback.format_exception(caught.value))
    assert "401" in told
    assert "s3cret" not in told
