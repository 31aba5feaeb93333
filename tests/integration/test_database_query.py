import time
from contextlib import closing

import psycopg2
import pytest

from samplemix_core.database import query
from samplemix_core.database.connection import transaction
from samplemix_core.database.query import run_query
from samplemix_core.deployment import Deployment
from samplemix_core.errors import QueryError, ServiceError
from tests.integration.conftest import LedgeredCorpus


@pytest.fixture
def reader(database: Deployment) -> str:
    return database.require("reader_database_url")


def test_rows_with_their_columns(reader: str) -> None:
    assert run_query(reader, "SELECT 1 AS a, 'x' AS b UNION ALL SELECT 2, NULL ORDER BY a") == [
        {"a": 1, "b": "x"},
        {"a": 2, "b": None},
    ]
    assert run_query(reader, "SELECT * FROM sample_scores") == []
    assert run_query(reader, "SELECT 1 AS a, 2 AS a, 3 AS a") == [{"a": 1, "a_2": 2, "a_3": 3}]
    assert run_query(reader, "SELECT '50%' AS share") == [{"share": "50%"}]


def test_values_are_bound_not_pasted(reader: str) -> None:
    text = "'; DROP TABLE sample; --"
    assert run_query(reader, "SELECT %(t)s AS t", {"t": text}) == [{"t": text}]


@pytest.mark.parametrize("statement", ["EXPLAIN SELECT 1", "-- why\n  explain SELECT * FROM sample", "SHOW statement_timeout"])
def test_explaining_and_showing(reader: str, statement: str) -> None:
    assert run_query(reader, statement)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM corpus",
        "WITH gone AS (DELETE FROM corpus RETURNING *) SELECT * FROM gone",
        "INSERT INTO domain (name) VALUES ('x')",
        "CREATE TABLE mine (x int)",
        "CREATE TEMP TABLE mine (x int)",
        "DROP VIEW sample_scores",
        "SELECT 1; DROP VIEW sample_scores",
        "EXPLAIN ANALYZE DELETE FROM corpus",
        "SELECT 1; COMMIT; SET default_transaction_read_only = off; DROP VIEW sample_scores",
        "SELECT * FROM corpus FOR UPDATE",
        "SELECT nextval('domain_domain_id_seq')",
        "COPY corpus TO PROGRAM 'true'",
        "SHOW work_mem; COMMIT; BEGIN READ WRITE; SELECT lo_create(0)",
        "EXPLAIN SELECT 1; COMMIT; BEGIN READ WRITE; SELECT lo_create(0)",
        "SELECT 1; COMMIT; BEGIN READ WRITE; SELECT lo_create(0)",
        "SELECT '; SELECT 1' AS \"'; SELECT 1\"; COMMIT; SELECT lo_create(0)",
        "SET work_mem = '4GB'",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        "ALTER ROLE samplemix_reader SET search_path = nowhere",
        "COMMIT",
        "DO 'BEGIN PERFORM 1; END'",
        "LISTEN x",
    ],
)
def test_analysts_can_only_read(reader: str, statement: str) -> None:
    with pytest.raises(QueryError):
        run_query(reader, statement)
    assert run_query(reader, "SELECT count(*) AS n FROM sample_scores") == [{"n": 0}]
    assert run_query(reader, "SELECT count(*) AS n FROM pg_largeobject_metadata") == [{"n": 0}]


def test_limits_are_the_platform_s_whatever_a_session_has_set(reader: str) -> None:
    with transaction(reader) as cursor:
        cursor.execute("SET work_mem = '4GB'; SET search_path = nowhere; SET statement_timeout = 0; SET lock_timeout = 0")
    limits = "current_setting('work_mem') AS m, current_setting('search_path') AS p, current_setting('statement_timeout') AS t"
    for _ in range(3):
        assert run_query(reader, f"SELECT {limits}, count(*) AS n FROM sample", timeout_seconds=7) == [
            {"m": "16MB", "p": "public", "t": "7s", "n": 0}
        ]


def test_a_text_is_one_statement_whatever_quotes_it_has(reader: str) -> None:
    text = "it's \\ $$ $query$ %(x)s \"'"
    assert run_query(reader, "SELECT %(t)s AS t, 'it''s' AS u -- ; COMMIT", {"t": text}) == [{"t": text, "u": "it's"}]
    assert run_query(reader, "/* ; */ VALUES (1, 'a;b');") == [{"column1": 1, "column2": "a;b"}]


def test_a_transaction_that_is_kept_busy_is_ended_by_its_age(database: Deployment, reader: str) -> None:
    with closing(psycopg2.connect(reader.replace("+psycopg2", ""))) as session:
        busy = session.cursor()
        busy.execute("SET transaction_timeout = 0")
        session.commit()
        busy.execute("SELECT 1")
        with database.transaction() as cursor:
            assert query.end_long_reads(cursor, 60) == 0
            time.sleep(0.3)
            busy.execute("SELECT 1")
            assert query.end_long_reads(cursor, 0.2) == 1
        with pytest.raises(psycopg2.OperationalError, match=r"terminating connection|server closed"):
            busy.execute("SELECT 1")


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("SELEC 1", "syntax error"),
        ("SELECT * FROM no_such_table", "no_such_table"),
        ("SELECT 1/0", "division by zero"),
        ("SELECT %(missing)s", "needs the parameter 'missing'"),
        ("", "Postgres refuses"),
    ],
)
def test_a_wrong_query_is_told(reader: str, statement: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        run_query(reader, statement, {"other": 1})


def test_a_long_query_is_stopped(reader: str) -> None:
    with pytest.raises(QueryError, match=r"longer than 0.2 s"):
        run_query(reader, "SELECT pg_sleep(30)", timeout_seconds=0.2)


def test_too_many_rows_are_an_error_not_a_part(reader: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "MAX_ROWS", 10)
    assert len(run_query(reader, "SELECT generate_series(1, 10)")) == 10
    with pytest.raises(QueryError, match="more than 10 rows"):
        run_query(reader, "SELECT generate_series(1, 11)")


def test_a_new_table_is_readable_too(ledgered: LedgeredCorpus) -> None:
    rows = run_query(ledgered.reader_url, f"SELECT count(*) AS n FROM sample_s{ledgered.snapshot_ids[0]}")
    assert rows == [{"n": 0}]


def test_a_server_that_refuses_is_a_service_error(reader: str) -> None:
    with pytest.raises(ServiceError):
        run_query(reader.rpartition("/")[0] + "/no_such_database", "SELECT 1")
