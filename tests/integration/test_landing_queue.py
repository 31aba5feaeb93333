"""Crawls in buckets that notify a queue: S3 and SQS as moto speaks them, over HTTP, beside the real database."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from samplemix_core.config.run import CorpusConfig, LandingConfig, RunConfig
from samplemix_core.crawls import landing
from samplemix_core.crawls.watch import Watch
from samplemix_core.database import corpora
from samplemix_core.database.corpora import NamedCorpus
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError, ObjectAccessError, ObjectStoreError
from samplemix_core.objects.notifications import BucketQueue, notified_uris


@dataclass
class Cloud:
    """A bucket that tells a queue of what is written and removed, and settings with which both are reached."""

    settings: Deployment
    s3: Any
    sqs: Any
    queue: str

    def put(self, *keys: str) -> None:
        for key in keys:
            self.s3.put_object(Bucket="crawls", Key=key, Body=b'{"text": "a"}\n')

    def add(self, name: str, queue: str | None = None) -> NamedCorpus:
        config = CorpusConfig(
            name=name,
            run=RunConfig(corpus_uri=f"s3://crawls/{name}", mixture_name=name),
            landing=LandingConfig(queue_url=queue or self.queue),
        )
        with self.settings.transaction() as cursor:
            corpora.add_corpus(cursor, config)
        return NamedCorpus(config)

    def waiting(self) -> int:
        found = self.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=["ApproximateNumberOfMessages"])
        return int(found["Attributes"]["ApproximateNumberOfMessages"])


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def cloud(database: Deployment, moto: str) -> Iterator[Cloud]:
    access: dict[str, Any] = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    s3, sqs = (boto3.session.Session().client(name, endpoint_url=moto, **access) for name in ("s3", "sqs"))
    queue = sqs.create_queue(QueueName=f"crawls-{uuid.uuid4()}")["QueueUrl"]
    s3.create_bucket(Bucket="crawls")
    arn = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events = {"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
    s3.put_bucket_notification_configuration(Bucket="crawls", NotificationConfiguration={"QueueConfigurations": [events]})
    settings = replace(database, s3_endpoint=moto, s3_bucket="crawls", s3_access_key="key", s3_secret_key="secret")
    yield Cloud(settings, s3, sqs, queue)
    for item in s3.list_objects_v2(Bucket="crawls").get("Contents", []):
        s3.delete_object(Bucket="crawls", Key=item["Key"])
    s3.delete_bucket(Bucket="crawls")
    sqs.delete_queue(QueueUrl=queue)


def requests_of(cloud: Cloud, watch: Watch, now: float, monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], list[str]]:
    """The crawls that wait after a look, and the snapshots that it looked at."""
    looked: list[str] = []
    real = landing._look

    def counted(store: Any, snapshot: str, *args: Any, **kwargs: Any) -> Any:
        looked.append(f"{store.uri.rsplit('/', 1)[1]}/{snapshot}")
        return real(store, snapshot, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(landing, "_look", counted)
        return [f"{crawl.corpus}/{crawl.snapshot}" for crawl in watch.look(cloud.settings, now)], looked


def test_only_what_the_queue_names_is_looked_at(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("web", "books"):
        cloud.add(name)
    cloud.put("web/crawl a/en/1.jsonl", "web/crawl a/_SUCCESS", "books/one/en/1.jsonl", "README.md")
    said: list[str] = []
    watch = Watch(said.append)
    # At first everything, whatever the queue says.
    landed, looked = requests_of(cloud, watch, 0.0, monkeypatch)
    assert (landed, sorted(looked)) == (["web/crawl a"], ["books/one", "web/crawl a"])
    assert cloud.waiting() == 0
    assert requests_of(cloud, watch, 6.0, monkeypatch) == (["web/crawl a"], [])
    cloud.put("books/one/_SUCCESS")
    assert requests_of(cloud, watch, 12.0, monkeypatch) == (["web/crawl a", "books/one"], ["books/one"])
    cloud.put("web/crawl b/en/1.jsonl", *(f"web/crawl b/en/{i}.jsonl" for i in range(2, 25)), "web/crawl b/_SUCCESS")
    assert requests_of(cloud, watch, 13.0, monkeypatch)[1] == [], "asked every five seconds"
    assert requests_of(cloud, watch, 18.0, monkeypatch) == (["web/crawl a", "books/one", "web/crawl b"], ["web/crawl b"])
    for key in ("one/en/1.jsonl", "one/_SUCCESS"):
        cloud.s3.delete_object(Bucket="crawls", Key=f"books/{key}")
    cloud.put("books/two/en/1.jsonl")
    assert requests_of(cloud, watch, 24.0, monkeypatch) == (["web/crawl a", "web/crawl b"], ["books/two"])
    assert [line.split(":")[0] for line in said[-2:]] == ["crawl books/two is waiting", "crawl books/one is removed"]


def test_a_lost_message_and_a_strange_one_lose_no_crawl(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    cloud.add("web")
    cloud.put("web/kept/en/1.jsonl")
    said: list[str] = []
    watch = Watch(said.append)
    requests_of(cloud, watch, 0.0, monkeypatch)
    cloud.put("web/lost/en/1.jsonl", "web/lost/_SUCCESS")
    assert BucketQueue(cloud.queue, cloud.settings).take().messages == 2
    assert requests_of(cloud, watch, 599.0, monkeypatch) == ([], [])
    assert requests_of(cloud, watch, 605.0, monkeypatch) == (["web/lost"], ["web/kept", "web/lost"])
    cloud.sqs.send_message(QueueUrl=cloud.queue, MessageBody="hello")
    assert requests_of(cloud, watch, 611.0, monkeypatch)[1] == ["web/kept", "web/lost"]
    assert "1 messages" in said[-1]
    assert cloud.waiting() == 0
    assert requests_of(cloud, watch, 617.0, monkeypatch)[1] == []


def test_an_error_that_nobody_foresaw_loses_no_crawl_and_stops_one_corpus(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("books", "web"):
        cloud.add(name)
    said: list[str] = []
    watch = Watch(said.append)
    requests_of(cloud, watch, 0.0, monkeypatch)
    cloud.put("books/one/en/1.jsonl", "books/one/_SUCCESS", "web/one/en/1.jsonl", "web/one/_SUCCESS")

    def broken(settings: Deployment, corpus: NamedCorpus, **options: Any) -> Any:
        if corpus.name == "books":
            raise RuntimeError("a hiccup")
        return scan(settings, corpus, **options)

    scan = landing.scan
    with monkeypatch.context() as patch:
        patch.setattr("samplemix_core.crawls.watch.scan", broken)
        assert [crawl.corpus for crawl in watch.look(cloud.settings, 6.0)] == ["web"]
    (line,) = said
    assert line.startswith("corpus books: RuntimeError('a hiccup'). Nobody foresaw this: please report it.\nTraceback")
    assert cloud.waiting() == 0
    assert requests_of(cloud, watch, 12.0, monkeypatch)[0] == ["web/one", "books/one"]


def test_without_its_queue_a_corpus_is_looked_at_itself(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = cloud.add("web", f"{cloud.queue}-gone")
    with pytest.raises(ObjectAccessError, match=r"NonExistentQueue.*sqs:ReceiveMessage"):
        landing.check_queue(cloud.settings, corpus.config)
    cloud.put("web/one/en/1.jsonl", "web/one/_SUCCESS")
    said: list[str] = []
    watch = Watch(said.append)
    for now in (0.0, 6.0):
        assert requests_of(cloud, watch, now, monkeypatch) == (["web/one"], ["web/one"])
    assert len(said) == 1
    assert "looked at without it" in said[0]
    elsewhere = corpus.config.model_copy(update={"landing": LandingConfig(queue_url="http://127.0.0.1:9/1/crawls")})
    with pytest.raises(ObjectStoreError, match="does not answer"):
        landing.check_queue(cloud.settings, elsewhere)
    here = elsewhere.model_copy(update={"run": RunConfig(corpus_uri="/corpus")})
    with pytest.raises(ConfigError, match="not for one in a directory"):
        landing.check_queue(cloud.settings, here)


RECORD = {"s3": {"bucket": {"name": "b"}, "object": {"key": "web/crawl+a/%C3%A4.jsonl"}}}
EVENT = {"detail-type": "Object Created", "detail": {"bucket": {"name": "b"}, "object": {"key": "web/crawl+a/ä.jsonl"}}}


@pytest.mark.parametrize(
    ("message", "uris"),
    [
        ({"Records": [RECORD, RECORD]}, ["s3://b/web/crawl a/ä.jsonl"] * 2),
        ({"Type": "Notification", "Message": json.dumps({"Records": [RECORD]})}, ["s3://b/web/crawl a/ä.jsonl"]),
        (EVENT, ["s3://b/web/crawl+a/ä.jsonl"]),
        ({"Event": "s3:TestEvent", "Bucket": "b"}, []),
    ],
)
def test_notifications_come_in_three_forms(message: dict[str, Any], uris: list[str]) -> None:
    assert notified_uris(json.dumps(message)) == uris


DEEP = pytest.param("[" * 9999, id="deep")


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"Records": [{}]}', '{"Type": "Notification"}', '{"detail": 3}', "null", DEEP])
def test_what_is_no_notification_is_told_apart(body: str) -> None:
    with pytest.raises(ValueError, match="not a notification of S3"):
        notified_uris(body)
