"""Notifications of S3 buckets through an SQS queue: which of their objects were written or removed."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus, urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from samplemix_core.errors import ObjectAccessError, ObjectStoreError
from samplemix_core.settings import Settings

BATCH = 10
"""Most messages that SQS gives or takes at once."""

MOST_AT_ONCE = 2000
"""Most messages taken before what they say is examined: a large crawl has thousands of files."""

_REGION = re.compile(r"(?:^|\.)sqs(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.")


@dataclass(frozen=True)
class Notices:
    """What a queue said: URIs of objects that were written or removed, the number of messages, and how many were not S3's."""

    uris: frozenset[str]
    messages: int
    unclear: int


class BucketQueue:
    """An SQS queue that gets the event notifications of buckets: directly, by way of SNS, or by EventBridge."""

    def __init__(self, url: str, settings: Settings) -> None:
        self.url = url
        self._client = _client(url, settings.s3_access_key, settings.s3_secret_key)

    def check(self) -> None:
        """Raise ObjectAccessError or ObjectStoreError, with the remedy, if the queue is not there or may not be read."""
        with self._errors():
            self._client.get_queue_attributes(QueueUrl=self.url, AttributeNames=["ApproximateNumberOfMessages"])

    def take(self) -> Notices:
        """Take the messages that are there and delete them from the queue. Raises ObjectAccessError or ObjectStoreError."""
        uris: set[str] = set()
        messages = unclear = 0
        with self._errors():
            while messages < MOST_AT_ONCE:
                answer = self._client.receive_message(QueueUrl=self.url, MaxNumberOfMessages=BATCH)
                batch = answer.get("Messages", [])
                if not batch:
                    break
                messages += len(batch)
                for message in batch:
                    try:
                        uris.update(notified_uris(message["Body"]))
                    except ValueError:
                        unclear += 1
                entries = [{"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]} for i, message in enumerate(batch)]
                # A message that isn't deleted comes again, and its crawl is scanned once more.
                self._client.delete_message_batch(QueueUrl=self.url, Entries=entries)
        return Notices(frozenset(uris), messages, unclear)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            raise ObjectAccessError(
                f"The queue {self.url} can't be read ({code}).",
                "Check its URL, and the rights sqs:GetQueueAttributes, sqs:ReceiveMessage and sqs:DeleteMessage of the access key.",
            ) from error
        except (BotoCoreError, HTTPError) as error:
            raise ObjectStoreError(
                f"The queue {self.url} does not answer ({type(error).__name__}).", "Check its URL and the network."
            ) from error


def notified_uris(body: str) -> list[str]:
    """Return the objects that a message is about, as s3:// URIs; raise ValueError if it is not a notification of S3.

    Takes S3's own records, the same in an SNS envelope, or an EventBridge event. The test that S3 sends to a new queue names none.
    """
    try:
        event = json.loads(body)
        if event.get("Type") == "Notification":
            event = json.loads(event["Message"])
        if event.get("Event") == "s3:TestEvent":
            return []
        if "detail" in event:
            return [f"s3://{event['detail']['bucket']['name']}/{event['detail']['object']['key']}"]
        # Only these records have keys encoded as in a form.
        found = [record["s3"] for record in event["Records"]]
        return [f"s3://{item['bucket']['name']}/{unquote_plus(item['object']['key'])}" for item in found]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a notification of S3: {body[:200]!r}") from error


@lru_cache(maxsize=8)
def _client(url: str, access_key: str | None, secret_key: str | None) -> Any:
    """A client for the host of a queue: Amazon's, or any that speaks its protocol."""
    parts = urlsplit(url)
    region = _REGION.search(parts.hostname or "")
    return boto3.session.Session().client(
        "sqs",
        endpoint_url=f"{parts.scheme}://{parts.netloc}",
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=region[1] if region else "us-east-1",
        config=Config(retries={"mode": "standard", "max_attempts": 3}, connect_timeout=5, read_timeout=30),
    )
