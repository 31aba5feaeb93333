"""A language model behind an endpoint that speaks OpenAI's protocol, asked patiently, and not faster than it likes."""

import asyncio
import random
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import openai
from pydantic import BaseModel, ValidationError

from samplemix_core.database.annotations import Document, Judged, Refused
from samplemix_core.errors import ConfigError
from samplemix_core.quality.labels import Reject, RejectedLabelError
from samplemix_core.quality.prompt import ask_about, ask_again, read_answer
from samplemix_core.quality.rubric import Rubric
from samplemix_core.quality_config import AnnotationConfig
from samplemix_core.settings import Settings

MOST_WAIT_SECONDS = 300.0
MOST_TURNED_AWAY = 30
"""Answers of 429 to one document before it is set aside. They are no attempts: nothing was read."""

_WRONG_SETUP = (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)


class _Pace:
    """When the next question may go out: at most so many a minute, and none while the endpoint wants to be left alone."""

    def __init__(self, per_minute: int | None) -> None:
        self._interval = 60 / per_minute if per_minute else 0.0
        self._next = self._closed_until = 0.0

    def pause(self, seconds: float) -> None:
        """Let no question out for so long."""
        self._closed_until = max(self._closed_until, asyncio.get_running_loop().time() + seconds)

    async def turn(self) -> None:
        """Wait until it is this caller's turn."""
        loop = asyncio.get_running_loop()
        at = max(loop.time(), self._next, self._closed_until)
        self._next = at + self._interval
        while at > loop.time() or self._closed_until > loop.time():
            await asyncio.sleep(max(at, self._closed_until) - loop.time())


class _Usage(BaseModel):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    """What is read of an answer of the protocol."""

    choices: list[_Choice] | None = None
    usage: _Usage | None = None


class LanguageModel:
    """Asks a model about documents. It counts questions that went out and those that met 429, and all tokens read and written."""

    def __init__(self, config: AnnotationConfig, rubric: Rubric, settings: Settings) -> None:
        self._config, self._rubric = config, rubric
        # Waiting and asking again are ours: they are counted, and all questions wait where one is told to.
        self._client = openai.AsyncOpenAI(
            base_url=settings.require("llm_base_url"),
            api_key=settings.llm_api_key or "none",
            max_retries=0,
            timeout=config.timeout_seconds,
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
        await self._client.close()

    async def judge(self, document: Document) -> Judged | Refused:
        """Ask about a document until there is an answer that can be used, or enough of asking.

        Raises ConfigError where no question can go well: a wrong key, or a model that the endpoint does not have.
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
            except openai.RateLimitError as error:
                problem = RejectedLabelError(Reject.NO_ANSWER, f"turned away: {_said(error)}")
                self.turned_away += 1
                turned_away += 1
                self._pace.pause(_retry_after(error) or self._wait(turned_away))
        return Refused(document, problem.reason, problem.detail, attempt + turned_away)

    def _wait(self, attempt: int) -> float:
        """Before asking again: doubling, and not all at once."""
        longest = self._config.first_wait_seconds * 2.0 ** (attempt - 1)
        return min(MOST_WAIT_SECONDS, longest) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret

    async def _ask(self, messages: list[dict[str, str]], tokens: list[int]) -> str:
        """One question; its answer's text. Raises RejectedLabelError where there is none, openai.RateLimitError as it comes."""
        await self._pace.turn()
        self.requests += 1
        try:
            # The client's own limit is for each wait, and an answer can come drop by drop.
            async with asyncio.timeout(self._config.timeout_seconds):
                # chat.completions.create() looks at the type of every part of a question, which takes longer than all else.
                answer = await self._client.post("/chat/completions", cast_to=object, body={**self._form, "messages": messages})
        except openai.RateLimitError:
            raise
        except _WRONG_SETUP as error:
            self._refuse_setup(error)
        except (TimeoutError, openai.APITimeoutError):
            raise RejectedLabelError(Reject.NO_ANSWER, f"none within {self._config.timeout_seconds:g} s") from None
        except (openai.InternalServerError, openai.ConflictError) as error:
            raise RejectedLabelError(Reject.NO_ANSWER, _said(error)) from None
        except openai.APIStatusError as error:
            raise RejectedLabelError(Reject.REQUEST_REFUSED, _said(error)) from None
        except (openai.APIError, ValueError) as error:
            # The connection broke, or what came is no answer of the protocol.
            raise RejectedLabelError(Reject.NO_ANSWER, f"{type(error).__name__}: {error}") from None
        try:
            return self._text_of(_Completion.model_validate(answer), tokens)
        except ValidationError:
            raise RejectedLabelError(Reject.NO_ANSWER, "what the endpoint sent is no answer of the protocol") from None

    def _text_of(self, answer: _Completion, tokens: list[int]) -> str:
        usage = answer.usage or _Usage()
        for i, count in enumerate((usage.prompt_tokens or 0, usage.completion_tokens or 0)):
            tokens[i] += count
        self.input_tokens += usage.prompt_tokens or 0
        self.output_tokens += usage.completion_tokens or 0
        if not answer.choices:
            raise RejectedLabelError(Reject.NO_ANSWER, "the endpoint's answer has no choices")
        choice = answer.choices[0]
        if choice.message.refusal or choice.finish_reason == "content_filter":
            raise RejectedLabelError(Reject.DECLINED, f"the model declined: {choice.message.refusal or 'content filter'}")
        if choice.finish_reason == "length":
            raise RejectedLabelError(Reject.UNREADABLE, f"it is cut off after {self._config.most_output_tokens} tokens")
        return choice.message.content or ""

    def _refuse_setup(self, error: openai.APIStatusError) -> NoReturn:
        raise ConfigError(
            f"The endpoint {self._client.base_url} refuses model {self._config.model!r}: {_said(error)}.",
            "Check OPENAI_BASE_URL, OPENAI_API_KEY, or the Airflow connection, and the model's name.",
        ) from None


def _said(error: openai.APIStatusError) -> str:
    """What the endpoint said, in short: its status and message, never the request, which may hold a key."""
    body = error.body if isinstance(error.body, dict) else {}
    return f"{error.status_code} {body.get('message') or ''}".strip()[:300]


def _retry_after(error: openai.APIStatusError) -> float | None:
    """How long the endpoint wants to be left alone, in seconds; None if it does not say."""
    said = error.response.headers.get("retry-after", "")
    try:
        seconds = float(said)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            return None
    return min(MOST_WAIT_SECONDS, max(0.0, seconds))
