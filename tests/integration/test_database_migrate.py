from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.engine import make_url

from samplemix_core.database.connection import connect, transaction
from samplemix_core.database.migrate import downgrade, migrate
from samplemix_core.database.registration import register_corpus
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, ServiceError
from tests.conftest import PostgresServer, database_of

RELATIONS = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'S') AND relname <> 'alembic_version'
"""


def relations(url: str) -> set[str]:
    with transaction(url) as cursor:
        cursor.execute(RELATIONS)
        return {name for (name,) in cursor.fetchall()}


COLUMNS = """
SELECT relname, obj_description(pg_class.oid), CASE relkind WHEN 'v' THEN pg_get_viewdef(pg_class.oid) END, attname,
       format_type(atttypid, atttypmod), col_description(pg_class.oid, attnum)
FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')
ORDER BY relname, attnum
"""


def columns(url: str) -> list[tuple[str, ...]]:
    with transaction(url) as cursor:
        cursor.execute(COLUMNS)
        return cursor.fetchall()


def test_a_step_back_leaves_what_was_there_before(empty_database: Deployment) -> None:
    url = empty_database.database
    migrate(url, "first_release")
    first = columns(url)
    assert len(first) > 100
    migrate(url)
    assert columns(url) != first
    downgrade(url, "first_release")
    assert columns(url) == first


def test_up_again_down_and_up(empty_database: Deployment) -> None:
    url = empty_database.database
    migrate(url)
    up = relations(url)
    assert {"sample", "shard_score", "sample_scores", "mixture_samples"} <= up
    migrate(url)
    assert relations(url) == up
    downgrade(url)
    assert relations(url) == set()
    migrate(url)
    assert relations(url) == up


@pytest.mark.parametrize(
    ("revision", "said"), [("0022", "development version before the first release"), ("second_release", "Upgrade SampleMix")]
)
def test_a_database_of_another_version_says_what_to_do(empty_database: Deployment, revision: str, said: str) -> None:
    url = empty_database.database
    migrate(url)
    with transaction(url) as cursor:
        cursor.execute("UPDATE alembic_version SET version_num = %s", (revision,))
    for step in (migrate, downgrade):
        with pytest.raises(ConfigError, match=said):
            step(url)


def test_two_migrations_at_once(empty_database: Deployment) -> None:
    url = empty_database.database
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(migrate, url) for _ in range(2)]:
            future.result()
    assert "sample" in relations(url)


def test_every_table_and_column_says_what_it_is(database: Deployment) -> None:
    with database.transaction() as cursor:
        cursor.execute(
            """
            SELECT relname, attname FROM pg_class
            LEFT JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped AND relkind <> 'v'
            WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v') AND relname <> 'alembic_version'
                AND (obj_description(pg_class.oid) IS NULL OR col_description(pg_class.oid, attnum) IS NULL AND attnum IS NOT NULL)
            """
        )
        assert cursor.fetchall() == []


def test_an_administrator_s_migration_limits_the_readers_role(empty_database: Deployment, postgres_server: PostgresServer) -> None:
    """An owner who may not alter the role migrates all the same: see the other tests."""
    database = make_url(empty_database.database).database
    url = postgres_server.superuser.set(database=database).render_as_string(hide_password=False)
    migrate(url)
    with transaction(url) as cursor:
        cursor.execute("SELECT setconfig FROM pg_db_role_setting WHERE setrole = 'samplemix_reader'::regrole AND setdatabase = 0")
        ((settings,),) = cursor.fetchall()
    connect(url).dispose()
    assert {"statement_timeout=60s", "default_transaction_read_only=on"} <= set(settings)


def test_a_database_that_is_not_migrated_is_an_error_with_its_remedy(empty_database: Deployment) -> None:
    with (
        pytest.raises(ServiceError, match=r"is not migrated.*samplemix up"),
        empty_database.transaction() as cursor,
    ):
        register_corpus(cursor, uri="s3://b/c", reader={}, tokenizer="a tokenizer", tokenizer_id="t")


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_can_not_hold_every_text_is_refused(
    services: Deployment, postgres_server: PostgresServer, encoding: str
) -> None:
    template = f"template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
    with (
        database_of(services, postgres_server, template) as settings,
        pytest.raises(ConfigError, match=rf"encoding {encoding}.*ENCODING 'UTF8'"),
    ):
        migrate(settings.database)


def test_a_wrong_password_is_an_error_that_does_not_tell_it(database: Deployment) -> None:
    url = database.database
    before, _, host = url.rpartition("@")
    user = before.split("//")[1].split(":")[0]
    with pytest.raises(ServiceError) as caught, transaction(f"postgresql://{user}:wrong-secret@{host}"):
        pytest.fail("the password is wrong")
    assert "wrong-secret" not in str(caught.value)


def test_a_broken_connection_is_an_error_and_the_next_one_works(database: Deployment) -> None:
    url = database.database
    with pytest.raises(ServiceError, match="does not answer"), transaction(url) as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    with transaction(url) as cursor:
        cursor.execute("SELECT 1")
        assert cursor.fetchone() == (1,)


def test_an_exception_rolls_back(database: Deployment) -> None:
    url = database.database

    def broken_off() -> None:
        with transaction(url) as cursor:
            register_corpus(cursor, uri="s3://b/c", reader={}, tokenizer="a tokenizer", tokenizer_id="t")
            raise KeyError

    with pytest.raises(KeyError):
        broken_off()
    with transaction(url) as cursor:
        cursor.execute("SELECT count(*) FROM corpus")
        assert cursor.fetchone() == (0,)
