import socket

import pytest

from samplemix_core.database.connection import connect, transaction
from samplemix_core.errors import ConfigError, ServiceError


@pytest.mark.parametrize("url", ["nonsense:secret", "mysql://u:secret@h/d", "sqlite:///secret"])
def test_what_is_no_postgres_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        connect(url)
    assert "secret" not in str(caught.value)
    assert "postgresql://" in str(caught.value)


def test_one_engine_a_process_and_database() -> None:
    assert connect("postgresql://u@h/d") is connect("postgresql://u@h/d")
    assert connect("postgresql://u@h/d") is not connect("postgresql://u@h/e")


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with (
        pytest.raises(ServiceError, match=f"127.0.0.1:{port}/scores does not answer") as caught,
        transaction(f"postgresql://user:secret@127.0.0.1:{port}/scores"),
    ):
        pytest.fail("there is no server")
    assert "secret" not in str(caught.value)
    assert "SAMPLEMIX_DATABASE_URL" in str(caught.value)
