"""A language model behind an endpoint that speaks OpenAI's protocol, asked patiently and no faster than it allows.

The only request used is chat/completions, and only the fields of _Completion are read. Waiting and asking again are our own: they
are counted, and all questions wait if one is told to.
"""

import asyncio
import json
import logging
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import httpx2
from pydantic import BaseModel, Field, ValidationError

from samplemix_core.config.quality import AnnotationConfig
from samplemix_core.database.annotations import Document, Judged, Refused
from samplemix_core.deployment import Deployment
from samplemix_core.errors import ConfigError
from samplemix_core.quality.labels import Reject, RejectedLabelError, encodable
from samplemix_core.quality.prompt import ask_about, ask_again, read_answer
from samplemix_core.quality.rubric import Rubric

MOST_WAIT_SECONDS = 300.0
MOST_ANSWER_BYTES = 2**20
"""Limit on what an endpoint sends; most_output_tokens of text take a hundredth of it."""

MOST_TURNED_AWAY = 30
"""429 answers to one document before it is set aside. They don't count as attempts, because nothing was read."""

_WRONG_SETUP = (401, 403, 404)
_PASSING = (408, 409)
"""Client errors that pass by themselves, as server errors do."""


class _Pace:
    """When the next question may go out: at most `per_minute` a minute, and none while the endpoint has asked for a pause."""

    def __init__(self, per_minute: int | None) -> None:
        self._interval = 60 / per_minute if per_minute else 0.0
        self._next = self._closed_until = 0.0

    def pause(self, seconds: float) -> None:
        """Hold all questions for this long."""
        self._closed_until = max(self._closed_until, asyncio.get_running_loop().time() + seconds)

    async def turn(self) -> None:
        """Wait until it is this caller's turn."""
        loop = asyncio.get_running_loop()
        at = max(loop.time(), self._next, self._closed_until)
        self._next = at + self._interval
        while at > loop.time() or self._closed_until > loop.time():
            await asyncio.sleep(max(at, self._closed_until) - loop.time())


CHARACTERS_OF_A_TOKEN = 4
"""Approximate; for estimates, and for endpoints that don't count tokens."""

_MOST_TOKENS = 2**31 - 1


class _Usage(BaseModel):
    prompt_tokens: int | None = Field(None, ge=0, le=_MOST_TOKENS)
    completion_tokens: int | None = Field(None, ge=0, le=_MOST_TOKENS)


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    """The parts of the protocol's answer that are read."""

    choices: list[_Choice] | None = None
    usage: Any = None

    def tokens(self, asked: int) -> tuple[int, int]:
        """Tokens read and written, as the endpoint counts them; else a guess from the characters `asked` and answered."""
        try:
            usage = _Usage.model_validate(self.usage or {})
        except ValidationError:
            usage = _Usage()
        said = sum(len(choice.message.content or "") for choice in self.choices or ())
        read, written = usage.prompt_tokens, usage.completion_tokens
        return (
            asked // CHARACTERS_OF_A_TOKEN if read is None else read,
            said // CHARACTERS_OF_A_TOKEN if written is None else written,
        )


class LanguageModel:
    """Asks a model about documents. It counts questions sent and those answered with 429, and all tokens read and written."""

    def __init__(self, config: AnnotationConfig, rubric: Rubric, deployment: Deployment) -> None:
        self._config, self._rubric = config, rubric
        # A line for each question would bury all others.
        logging.getLogger("httpx2").setLevel(logging.WARNING)
        self._url = f"{deployment.require('llm_base_url').rstrip('/')}/chat/completions"
        key = (deployment.llm_api_key or "none").strip()
        if not (key.isascii() and key.isprintable()):
            # The client would repeat it in an error.
            raise ConfigError("OPENAI_API_KEY holds characters that no key can have.", "Set it again, in one line.")
        self._client = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {key}"},
            timeout=config.timeout_seconds,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=config.concurrency),
            follow_redirects=True,
        )
        self._pace = _Pace(config.requests_per_minute)
        self._form: dict[str, Any] = {"model": config.model, "max_completion_tokens": config.most_output_tokens}
        if config.response_format == "json_schema":
            schema = {"name": "judgement", "strict": True, "schema": rubric.answer_schema()}
            self._form["response_format"] = {"type": "json_schema", "json_schema": schema}
        elif config.response_format == "json_object":
            self._form["response_format"] = {"type": "json_object"}
        if config.temperature is not None:
            self._form["temperature"] = config.temperature
        self.requests = self.turned_away = self.input_tokens = self.output_tokens = 0

    async def close(self) -> None:
        """Close its connections."""
        await self._client.aclose()

    async def judge(self, document: Document) -> Judged | Refused:
        """Ask about a document until there is a usable answer, or the attempts are used up.

        Raises ConfigError if no question can succeed: a wrong key, or a model that the endpoint does not have.
        """
        asked = messages = ask_about(self._rubric, document.text, self._config.most_characters)
        problem = RejectedLabelError(Reject.NO_ANSWER, "it was not asked")
        tokens, content = [0, 0], ""
        attempt = turned_away = 0
        while attempt < self._config.attempts and turned_away < MOST_TURNED_AWAY:
            try:
                content = await self._ask(messages, tokens)
                answer = read_answer(content, self._rubric)
                return Judged(document, answer.scores, answer.rationale, *tokens)
            except RejectedLabelError as error:
                problem = error
                attempt += 1
                if error.reason in (Reject.DECLINED, Reject.REQUEST_REFUSED):
                    break
                if error.reason is not Reject.NO_ANSWER:
                    messages = ask_again(asked, content, error.detail)
                elif attempt < self._config.attempts:
                    await asyncio.sleep(self._wait(attempt))
            except _TurnedAwayError as error:
                problem = RejectedLabelError(Reject.NO_ANSWER, f"turned away: {error.said}")
                self.turned_away += 1
                turned_away += 1
                self._pace.pause(error.seconds or self._wait(turned_away))
        return Refused(document, problem.reason, problem.detail, attempt + turned_away)

    def _wait(self, attempt: int) -> float:
        """Seconds to wait before asking again: doubling, and random so that questions don't come all at once."""
        longest = self._config.first_wait_seconds * 2.0 ** (attempt - 1)
        return min(MOST_WAIT_SECONDS, longest) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    async def _ask(self, messages: list[dict[str, str]], tokens: list[int]) -> str:
        """Ask once and return the answer's text. Raises RejectedLabelError if there is none, _TurnedAwayError if told to wait."""
        await self._pace.turn()
        self.requests += 1
        asked = sum(len(message["content"]) for message in messages)
        try:
            # The client's own limit applies to each wait, and an answer can trickle in.
            async with (
                asyncio.timeout(self._config.timeout_seconds),
                self._client.stream("POST", self._url, json={**self._form, "messages": messages}) as answer,
            ):
                body = await _body(answer)
        except RejectedLabelError:
            # The answer is too long, and was cut off before the endpoint said how many tokens it has.
            self._count(tokens, asked // CHARACTERS_OF_A_TOKEN, self._config.most_output_tokens)
            raise
        except (TimeoutError, httpx2.TimeoutException):
            raise RejectedLabelError(Reject.NO_ANSWER, f"none within {self._config.timeout_seconds:g} s") from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise RejectedLabelError(Reject.NO_ANSWER, f"{type(error).__name__}: {error}") from None
        if not answer.is_success:
            self._refuse(answer, body)
        try:
            # Half a surrogate pair would make the whole of it unreadable.
            whole = encodable(json.dumps(json.loads(body), ensure_ascii=False))
            return self._text_of(_Completion.model_validate_json(whole), tokens, asked)
        except (ValueError, RecursionError):
            raise RejectedLabelError(Reject.NO_ANSWER, "the endpoint's reply does not follow the protocol") from None

    def _refuse(self, answer: httpx2.Response, body: bytes) -> NoReturn:
        said = _said(answer, body)
        if answer.status_code == httpx2.codes.TOO_MANY_REQUESTS:
            raise _TurnedAwayError(said, _retry_after(answer))
        if answer.status_code in _WRONG_SETUP:
            raise ConfigError(
                f"The endpoint {self._url} refuses model {self._config.model!r}: {said}.",
                "Check OPENAI_BASE_URL, OPENAI_API_KEY, or the Airflow connection, and the model's name.",
            )
        passing = answer.is_server_error or answer.status_code in _PASSING
        raise RejectedLabelError(Reject.NO_ANSWER if passing else Reject.REQUEST_REFUSED, said)

    def _count(self, tokens: list[int], read: int, written: int) -> None:
        tokens[0] += read
        tokens[1] += written
        self.input_tokens += read
        self.output_tokens += written

    def _text_of(self, answer: _Completion, tokens: list[int], asked: int) -> str:
        self._count(tokens, *answer.tokens(asked))
        if not answer.choices:
            raise RejectedLabelError(Reject.NO_ANSWER, "the endpoint's answer has no choices")
        choice = answer.choices[0]
        if choice.message.refusal or choice.finish_reason == "content_filter":
            raise RejectedLabelError(Reject.DECLINED, f"the model declined: {choice.message.refusal or 'content filter'}")
        if choice.finish_reason == "length":
            raise RejectedLabelError(Reject.UNREADABLE, f"it is cut off after {self._config.most_output_tokens} tokens")
        return choice.message.content or ""


class _TurnedAwayError(Exception):
    """A 429 answer: its message, and how long the endpoint asks to wait, if it says."""

    def __init__(self, said: str, seconds: float | None) -> None:
        super().__init__(said)
        self.said, self.seconds = said, seconds


async def _body(answer: httpx2.Response) -> bytes:
    """Return the body; raise RejectedLabelError if it has more than MOST_ANSWER_BYTES, without reading the rest."""
    body = bytearray()
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > MOST_ANSWER_BYTES:
            raise RejectedLabelError(Reject.UNREADABLE, f"it has more than {MOST_ANSWER_BYTES:,} bytes")
    return bytes(body)


def _said(answer: httpx2.Response, body: bytes) -> str:
    """Summarise the endpoint's answer: its status and message, never the request, which may hold a key."""
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        message = answer.reason_phrase
    return encodable(f"{answer.status_code} {message or ''}".strip()[:300])


def _retry_after(answer: httpx2.Response) -> float | None:
    """How long the endpoint asks to wait, in seconds; None if it does not say."""
    said = answer.headers.get("retry-after", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return min(MOST_WAIT_SECONDS, max(0.0, seconds))
