"""A scripted OpenAI-compatible chat server for tests: what it says, how late, what it breaks.

    with Scripted(lambda payload: last_text(payload).upper(), faults={"drop": 0.1}) as server:
        EndpointSettings(url=server.url, model=server.model)

It runs in a thread with a loop of its own, so synchronous tests and command lines can use it too.
As a program it is a server to launch:  python tests/backends/scripted.py --port 8000
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Self

from aiohttp import web

Payload = dict[str, Any]

TRANSPORT_FAULTS = (
    "drop",  # the connection is closed instead of an answer
    "hang",  # nothing ever comes: give the client a short timeout
    "status-429",  # with Retry-After
    "status-500",
    "html",  # a page of a proxy, with status 200
    "truncated-json",
    "empty-choices",
    "empty-content",
    "no-content",  # a message without the field
)
"""Drawn anew each time that a payload is sent."""
CONTENT_FAULTS = ("cut",)  # half of the text, with finish_reason `length`
"""Drawn once for a payload: sending it again changes nothing."""


def last_text(payload: Payload) -> str:
    """Return the text of the last message, whichever way its content is written."""
    content = payload["messages"][-1]["content"]
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content if part["type"] == "text")


class Scripted:
    """A server at `url`; a context manager.

    Args:
        reply: request's JSON -> text of the answer; called in the server's thread. An exception
            becomes a status 500, and its text the message.
        latency: seconds before each answer.
        faults: name, of `TRANSPORT_FAULTS` or `CONTENT_FAULTS` -> share of the answers.
        seed: of the faults; the same payloads meet the same faults, in whatever order they come.
        model: name of the one model there is.
        root: what `/v1/models` says that the model is.
        retry_after: seconds of the header beside a 429.
        api_key: asked for, if given.
        context_length: characters of the last message above which it answers 400.
        capacity: requests in flight above which it answers 429; None for any number.
        dies_after: after so many answers it closes all connections and stops listening, ...
        dead_for: ... and comes back at the same port after so many seconds.
        record: keep the requests.
    """

    def __init__(
        self,
        reply: Callable[[Payload], str] = last_text,
        *,
        latency: float = 0.0,
        faults: Mapping[str, float] | None = None,
        seed: int = 0,
        model: str = "scripted",
        root: str = "",
        retry_after: float = 0.01,
        api_key: str | None = None,
        context_length: int | None = None,
        capacity: int | None = None,
        dies_after: int | None = None,
        dead_for: float = 0.2,
        port: int = 0,
        record: bool = True,
    ) -> None:
        self.faults = dict(faults or {})
        unknown = set(self.faults) - {*TRANSPORT_FAULTS, *CONTENT_FAULTS}
        assert not unknown, f"no such fault: {unknown}"
        self.reply, self.latency, self.seed, self.model = reply, latency, seed, model
        self.root, self.retry_after, self.api_key = root, retry_after, api_key
        self.context_length, self.capacity = context_length, capacity
        self.dies_after, self.dead_for = dies_after, dead_for
        self.port, self.record = port, record
        self.requests: list[Payload] = []
        """Every chat request, in the order in which they came."""
        self.counts: Counter[str] = Counter()
        """How often each fault was played, and `answer`."""
        self.in_flight = 0
        self.most_in_flight = 0
        self.headers: list[dict[str, str]] = []
        """Of every chat request."""
        self._tries: Counter[str] = Counter()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True, name="scripted-server")
        self._stop: asyncio.Event
        self._runner: web.AppRunner
        self._site: web.TCPSite
        self._revival: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Address of the API."""
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(30), "the scripted server did not start"
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(30)

    def texts(self) -> list[str]:
        """Return the last message of every request."""
        return [last_text(payload) for payload in self.requests]

    def die(self, seconds: float) -> None:
        """Close every connection and stop listening; come back after `seconds`."""
        asyncio.run_coroutine_threadsafe(self._die(seconds), self._loop).result(30)

    # -- in the server's thread

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        app = web.Application(client_max_size=1 << 30)
        app.router.add_post("/v1/chat/completions", self._chat)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/health", self._health)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1, access_log=None)
        await self._runner.setup()
        await self._listen()
        self._ready.set()
        await self._stop.wait()
        if self._revival is not None:
            self._revival.cancel()
        self._abort_connections()
        await self._runner.cleanup()

    async def _listen(self) -> None:
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()
        self.port = self._runner.addresses[-1][1]

    async def _die(self, seconds: float) -> None:
        await self._site.stop()
        self._abort_connections()
        self._revival = asyncio.create_task(self._revive(seconds))

    async def _revive(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self._listen()

    def _abort_connections(self) -> None:
        assert self._runner.server is not None
        for connection in list(self._runner.server.connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.abort()

    async def _health(self, request: web.Request) -> web.Response:
        return web.Response()

    async def _models(self, request: web.Request) -> web.Response:
        if not self._is_allowed(request):
            return _error(401, "Incorrect API key provided")
        about = {"id": self.model, "object": "model", "owned_by": "tests"}
        return web.json_response(
            {"object": "list", "data": [{**about, "root": self.root} if self.root else about]}
        )

    def _is_allowed(self, request: web.Request) -> bool:
        wanted = f"Bearer {self.api_key}"
        return self.api_key is None or request.headers.get("Authorization") == wanted

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answer(request)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        payload = await request.json()
        if self.record:
            self.requests.append(payload)
            self.headers.append(dict(request.headers))
        if not self._is_allowed(request):
            return _error(401, "Incorrect API key provided")
        if payload.get("model") != self.model:
            return _error(404, f"The model `{payload.get('model')}` does not exist.")
        if self.context_length is not None and len(last_text(payload)) > self.context_length:
            return _error(400, f"This model's maximum context length is {self.context_length}.")
        if self.capacity is not None and self.in_flight > self.capacity:
            self.counts["over-capacity"] += 1
            return _error(429, "Too many requests", {"Retry-After": str(self.retry_after)})
        key = json.dumps(payload, sort_keys=True)
        self._tries[key] += 1
        fault = self._draw(f"{self.seed}/{key}/{self._tries[key]}", TRANSPORT_FAULTS)
        if self.latency:
            await asyncio.sleep(self.latency)
        if fault is not None:
            self.counts[fault] += 1
            return await self._play(fault, request)
        try:
            text = self.reply(payload)
        except Exception as error:
            self.counts["reply-failed"] += 1
            return _error(500, f"{type(error).__name__}: {error}")
        finish = "stop"
        if self._draw(f"{self.seed}/{key}", CONTENT_FAULTS) == "cut":
            self.counts["cut"] += 1
            text, finish = text[: max(1, len(text) // 2)], "length"
        self.counts["answer"] += 1
        completion = _completion(self.model, payload, text, finish)
        if "prompt_logprobs" in payload:
            completion["prompt_logprobs"] = _prompt_logprobs(payload)
        if self.dies_after is not None and self.counts["answer"] >= self.dies_after:
            self.dies_after = None
            self.counts["death"] += 1
            await self._die(self.dead_for)
        return web.json_response(completion)

    def _draw(self, seed: str, names: tuple[str, ...]) -> str | None:
        shares = {name: self.faults[name] for name in names if self.faults.get(name)}
        if not shares:
            return None
        point = random.Random(seed).random()
        for name, share in shares.items():
            point -= share
            if point < 0:
                return name
        return None

    async def _play(self, fault: str, request: web.Request) -> web.StreamResponse:
        if fault == "drop":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if fault == "hang":
            await self._stop.wait()
            return web.Response()
        if fault == "status-429":
            return _error(429, "Rate limit reached", {"Retry-After": str(self.retry_after)})
        if fault == "status-500":
            return web.Response(status=500, text="Internal Server Error")
        if fault == "html":
            page = "<!DOCTYPE html><html><body>Bad gateway</body></html>"
            return web.Response(text=page, content_type="text/html")
        if fault == "truncated-json":
            body = json.dumps(_completion(self.model, {}, "half of an answer", "stop"))
            return web.Response(text=body[: len(body) // 2], content_type="application/json")
        completion = _completion(self.model, {}, "", "stop")
        if fault == "empty-choices":
            completion["choices"] = []
        if fault == "no-content":
            del completion["choices"][0]["message"]["content"]
        return web.json_response(completion)


def _completion(model: str, payload: Payload, text: str, finish: str) -> dict[str, Any]:
    prompt = sum(len(str(message["content"]).split()) for message in payload.get("messages", ()))
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": finish,
            }
        ],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": len(text.split()),
            "total_tokens": prompt + len(text.split()),
        },
    }


def _prompt_logprobs(payload: Payload) -> list[dict[str, Any] | None]:
    """Return what vLLM does, with a token for each letter whose logprob is minus its place.

    Four tokens stand for the template before each message, also before the one to come.
    """
    tokens = []
    for message in payload["messages"]:
        tokens += [*"<<>>", *message["content"]]
    if payload.get("add_generation_prompt", True):
        tokens += [*"<<>>"]
    told: list[dict[str, Any] | None] = [
        {str(ord(token)): {"logprob": -float(place), "rank": 1, "decoded_token": token}}
        for place, token in enumerate(tokens)
    ]
    return [None, *told[1:]]


def _error(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.json_response(
        {"error": {"message": message, "type": "error", "code": status}},
        status=status,
        headers=dict(headers or {}),
    )


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description="A scripted chat server: answers in capitals.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--model", default="scripted")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds")
    parser.add_argument("--load", type=float, default=0.0, help="seconds before it listens")
    parser.add_argument("--fail", help="say this instead of serving, and end with 3")
    arguments = parser.parse_args()
    print(f"loading {arguments.model}", flush=True)
    time.sleep(arguments.load)
    if arguments.fail:
        print(arguments.fail, file=sys.stderr)
        sys.exit(3)
    server = Scripted(
        lambda payload: last_text(payload).upper(),
        model=arguments.model,
        latency=arguments.latency,
        port=arguments.port,
        record=False,
    )
    with server, contextlib.suppress(KeyboardInterrupt):
        print(f"listening at {server.url}", flush=True)
        threading.Event().wait()


if __name__ == "__main__":
    main()
