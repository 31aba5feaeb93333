"""A local server that speaks OpenAI's protocol of chat completions, and misbehaves where a document says so.

A document with PLAY:x is answered as x says, the first time or always; any other gets scores that hang on its text alone. Run as a
program it listens until it is killed, and writes one line a question to a file, as the tests that kill its callers want.
"""

import asyncio
import hashlib
import json
import re
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

ONCE = (
    "429",
    "429-date",
    "500",
    "503",
    "timeout",
    "broken-json",
    "out-of-range",
    "truncated",
    "drip",
    "not-json",
    "no-choices",
    "cut-off",
    "reset",
    "nested",
    "endless",
    "true-score",
)
"""What a document can ask for that passes: the second question is answered well."""

ODD = ("surrogate",)
"""What is answered well, in an odd way."""

ALWAYS = ("always-500", "always-range", "always-prose", "always-drip", "refusal", "filter", "400")


class Served:
    """Where it listens, and what it was asked: the texts of documents, and requests in flight at most."""

    def __init__(self, *, latency: float = 0.0, log: Path | None = None) -> None:
        self.port = 0
        self.latency, self.log = latency, log
        self.asked: Counter[str] = Counter()
        self.requests: list[dict[str, Any]] = []
        self.in_flight = self.most_in_flight = 0
        self.wanted_key: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                size = re.search(r"content-length: (\d+)", head)
                body = await reader.readexactly(int(size[1])) if size else b""
                self.in_flight += 1
                self.most_in_flight = max(self.most_in_flight, self.in_flight)
                try:
                    await self._answer(head, json.loads(body), writer)
                finally:
                    self.in_flight -= 1
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _answer(self, head: str, request: dict[str, Any], writer: asyncio.StreamWriter) -> None:
        self.requests.append(request)
        if self.wanted_key and f"authorization: bearer {self.wanted_key}" not in head:
            send(writer, 401, {"error": {"message": "Incorrect API key provided"}})
            return
        if request["model"] == "missing":
            send(writer, 404, {"error": {"message": "The model `missing` does not exist"}})
            return
        found = re.search(r"<<<DOCUMENT\n(.*)\nDOCUMENT>>>", request["messages"][1]["content"], re.DOTALL)
        text = found[1] if found else ""
        self.asked[text] += 1
        if self.log:
            with self.log.open("a") as file:
                file.write(hashlib.sha256(text.encode()).hexdigest() + "\n")
        await asyncio.sleep(self.latency)
        play = re.search(r"PLAY:([\w-]+)", text)
        name = play[1] if play else ""
        if name in ALWAYS or name in ODD or (name in ONCE and self.asked[text] == 1):
            await self._play(name, request, text, writer)
        else:
            send(writer, 200, completion(json.dumps(scores_for(request, text))))

    async def _play(self, name: str, request: dict[str, Any], text: str, writer: asyncio.StreamWriter) -> None:
        good = scores_for(request, text)
        first = next(iter(set(good) - {"rationale"}))
        match name:
            case "429":
                send(writer, 429, {"error": {"message": "Rate limit reached"}}, "retry-after: 0.3")
            case "429-date":
                send(writer, 429, {"error": {"message": "Rate limit reached"}}, "retry-after: Wed, 21 Oct 2015 07:28:00 GMT")
            case "500" | "always-500":
                send(writer, 500, {"error": {"message": "The server had an error"}})
            case "503":
                send_raw(writer, 503, b"<html>Service Unavailable</html>")
            case "timeout":
                await asyncio.sleep(5)
                writer.close()
            case "broken-json":
                send(writer, 200, completion('{"rationale": "a thought that'))
            case "out-of-range" | "always-range":
                send(writer, 200, completion(json.dumps(good | {first: 99})))
            case "always-prose":
                send(writer, 200, completion("I would give this document high marks."))
            case "truncated":
                body = json.dumps(completion(json.dumps(good))).encode()
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode())
                writer.write(body[: len(body) // 2])
                writer.close()
            case "surrogate":
                # One in the answer's own JSON, and one in the protocol's.
                said = json.dumps(completion(json.dumps(good | {"rationale": "half a pair: \ud83d"})))
                send_raw(writer, 200, said.replace("half a pair", "half \\ud83d a pair").encode())
            case "nested":
                send(writer, 200, completion("[" * 5000))
            case "endless":
                send(writer, 200, completion("so " * 2**20))
            case "true-score":
                send(writer, 200, completion(json.dumps(good | {first: True})))
            case "drip" | "always-drip":
                body = json.dumps(completion(json.dumps(good))).encode()
                writer.write(f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode())
                for byte in body:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(0.1)
            case "not-json":
                send_raw(writer, 200, b"this is no JSON")
            case "no-choices":
                send(writer, 200, {**completion(""), "choices": []})
            case "cut-off":
                send(writer, 200, completion('{"rationale": "on and on', finish_reason="length"))
            case "reset":
                writer.transport.abort()
            case "refusal":
                send(writer, 200, completion(None, refusal="I can't help with that."))
            case "filter":
                send(writer, 200, completion("", finish_reason="content_filter"))
            case "400":
                send(writer, 400, {"error": {"message": "This model's maximum context length is 4096 tokens"}})


def scores_for(request: dict[str, Any], text: str) -> dict[str, Any]:
    """Scores in range that hang on the text: of the dimensions that the answer's schema, or the instructions, name."""
    form = request.get("response_format", {})
    if form.get("type") == "json_schema":
        dimensions = form["json_schema"]["schema"]["properties"]
        maxima = {name: value["maximum"] for name, value in dimensions.items() if name != "rationale"}
    else:
        maxima = {
            name: int(top) for name, top in re.findall(r"^- (\w+), 0 to (\d+):", request["messages"][0]["content"], re.MULTILINE)
        }
    digest = hashlib.sha256(text.encode()).digest()
    return {
        "rationale": f"It begins with {text[:20]!r}.",
        **{name: digest[i] % (top + 1) for i, (name, top) in enumerate(maxima.items())},
    }


def completion(content: str | None, *, finish_reason: str = "stop", refusal: str | None = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "refusal": refusal}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "judge",
        "choices": [{"index": 0, "finish_reason": finish_reason, "message": message}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }


def send(writer: asyncio.StreamWriter, status: int, body: dict[str, Any], *headers: str) -> None:
    send_raw(writer, status, json.dumps(body).encode(), "content-type: application/json", *headers)


def send_raw(writer: asyncio.StreamWriter, status: int, body: bytes, *headers: str) -> None:
    lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(body)}", *headers, "", ""]
    writer.write("\r\n".join(lines).encode() + body)


@asynccontextmanager
async def listening(served: Served, port: int = 0) -> AsyncIterator[asyncio.Server]:
    server = await asyncio.start_server(served.handle, "127.0.0.1", port)
    served.port = server.sockets[0].getsockname()[1]
    async with server:
        yield server


@contextmanager
def serving(*, latency: float = 0.0) -> Iterator[Served]:
    """A server in a thread of its own, on a free port."""
    served, ready = Served(latency=latency), threading.Event()
    loop = asyncio.new_event_loop()
    end = asyncio.Event()

    async def run() -> None:
        async with listening(served):
            ready.set()
            await end.wait()

    def main() -> None:
        loop.run_until_complete(run())
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()

    thread = threading.Thread(target=main)
    thread.start()
    ready.wait(10)
    try:
        yield served
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


async def _main(latency: str, log: str) -> None:
    served = Served(latency=float(latency), log=Path(log))
    async with listening(served) as server:
        print(served.url, flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
