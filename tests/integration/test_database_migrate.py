from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg2.extras import execute_values
from sqlalchemy.engine import make_url

from samplemix_core.corpus.records import Block
from samplemix_core.database.connection import connect, transaction
from samplemix_core.database.embeddings import EmbeddingFile, embedding_files
from samplemix_core.database.ledger import open_blocks, shard_states
from samplemix_core.database.migrate import downgrade, migrate
from samplemix_core.database.registration import ensure_encoder, register_corpus, register_snapshot
from samplemix_core.database.scope import Scope, ScoreVersion
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, ServiceError
from samplemix_core.objects.interface import ObjectInfo
from tests.conftest import PostgresServer, database_of

RELATIONS = """
SELECT relname FROM pg_class
WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'S') AND relname <> 'alembic_version'
"""


def relations(url: str) -> set[str]:
    with transaction(url) as cursor:
        cursor.execute(RELATIONS)
        return {name for (name,) in cursor.fetchall()}


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


def test_what_was_scored_before_there_were_blocks_is_one_block_counted_by_its_encoder(empty_database: Deployment) -> None:
    url = empty_database.database
    migrate(url, "0004")
    columns = "documents, scored, quarantined, tokens, embedding_key, embedding_sha256, embedding_rows, embedding_dim, seconds"
    with transaction(url) as cursor:
        corpora = [("key-1", "tok"), ("key-2", "nobody's")]
        execute_values(
            cursor,
            "INSERT INTO corpus (corpus_key, uri, reader, tokenizer_id) VALUES %s",
            [(k, "s3://b/c", "{}", t) for k, t in corpora],
        )
        shard = register_snapshot(cursor, 1, "s1", [ObjectInfo("s1/web/a.jsonl", 9, "etag")])
        cursor.execute("INSERT INTO quality_model (quality_model_key, spec, q_low, q_high) VALUES ('q', '{}', 0, 10)")
        ids = shard.last_shard_id, ensure_encoder(cursor, "e", {"name": "older", "tokenizer": "tok"}), 1
        cursor.execute(
            f"INSERT INTO shard_score (shard_id, encoder_id, quality_model_id, state, etag, {columns})"
            " VALUES (%s, %s, %s, 'done', 'etag', 3, 2, 1, 40, 'embeddings/x', %s, 2, 4, 1.5)",
            (*ids, "ab" * 32),
        )
        cursor.execute(f"SELECT {columns} FROM shard_score")
        before = cursor.fetchall()
    migrate(url)
    version = ScoreVersion(*ids[1:])
    with transaction(url) as cursor:
        (state,) = shard_states(cursor, Scope((shard.snapshot_id,), version, shard.last_shard_id))
        assert (state.state, state.embedding_digest) == ("done", "ab" * 32)
        assert embedding_files(cursor, version, [state]) == {ids[0]: (EmbeddingFile("embeddings/x", "ab" * 32, 2),)}
        cursor.execute("SELECT tokenizer, encoder_tokens FROM corpus, block_score ORDER BY corpus_id")
        assert cursor.fetchall() == [("older", 40), ("nobody's", 40)]
        assert open_blocks(cursor, [state.shard], ScoreVersion(ids[1], ids[2] + 1)) == {ids[0]: [Block()]}
    downgrade(url, "0004")
    with transaction(url) as cursor:
        cursor.execute(f"SELECT {columns} FROM shard_score WHERE state = 'done'")
        assert cursor.fetchall() == before


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
