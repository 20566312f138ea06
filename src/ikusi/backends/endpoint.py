"""A model behind an OpenAI-compatible chat server.

Place: settings -> [endpoint] -> run. Contract: what comes back is read strictly. A page of HTML,
half a JSON text, no choice, no content: each is a `TransportFault` with a name, never an answer.

    {kind: endpoint, url: "http://localhost:8000/v1", model: HiTZ/Latxa-Llama-3.1-70B-Instruct}
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Self

from ikusi.backends.base import (
    Answer,
    BackendError,
    Capabilities,
    Request,
    RequestRefused,
    Score,
    TransportFault,
)
from ikusi.backends.chat_format import (
    parse_completion,
    read_json,
    read_prompt_logprobs,
    to_message,
    what_it_says,
)
from ikusi.backends.managed import Server
from ikusi.backends.settings import EndpointSettings
from ikusi.core.artifact import hash_data
from ikusi.core.errors import first_line, suggest

if TYPE_CHECKING:
    import aiohttp

_CONNECT_SECONDS = 30.0
_BODY_BYTES = 64 << 20  # far above any answer: what is longer is a file, and no answer
_ABOUT_THE_REQUEST = (400, 413, 422)
"""Statuses by which servers refuse one request, such as one that is too long."""
_TRY_AGAIN = (408, 409, 425, 429)
_LOST = ("connection-refused", "connection-dropped")


class Endpoint:
    """Answers by a chat server; see `open`."""

    def __init__(self, settings: EndpointSettings, url: str, server: Server | None = None) -> None:
        """Prepare to ask the server at `url`; `open` also looks whether it is there.

        Args:
            settings: of the backend.
            url: address of the API, which may change when `server` starts again.
            server: the launched server, if it is one of ours; released with the backend.

        Raises:
            BackendError: the key's environment variable is not set.
        """
        self.name = settings.model
        self.revision = _revision(settings, "")
        self.capabilities = Capabilities(chat=True, images=settings.images, score=settings.score)
        self._settings = settings
        self._url = url
        self._server = server
        self._headers = {**settings.headers, **_authorisation(settings)}
        self._models: tuple[str, ...] = ()
        self._session: aiohttp.ClientSession | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    async def open(cls, settings: EndpointSettings) -> Self:
        """Return a backend whose server was seen to answer, launched first where the settings say.

        Raises:
            BackendError: it does not answer, refuses the key, or cannot be launched.
        """
        server = None
        if settings.launch is not None:
            server = Server(settings)
            await server.acquire()
        try:
            url = await server.ready() if server else str(settings.url)
            endpoint = cls(settings, url, server)
        except BaseException:
            if server is not None:
                await server.release()
            raise
        try:
            await endpoint._look()
        except BaseException:
            await endpoint.close()
            raise
        return endpoint

    async def complete(self, request: Request) -> Answer:
        """Answer a request.

        Raises:
            TransportFault: no answer arrived; try again.
            RequestRefused: the server will not take this one, or it cannot be sent.
            BackendError: wrong address, model or key, or a launched server that stays down.
        """
        return parse_completion(
            await self._post("chat/completions", self._payload(request)), request
        )

    async def score(self, request: Request, text: str) -> Score:
        """Return how likely `text` is as the answer to a request.

        By `prompt_logprobs`, as vLLM documents it: the likelihoods of all tokens of the prompt, of
        which the answer is made a part; the prompt alone tells how many of them are not its own.

        Raises:
            TransportFault: no answer arrived; try again.
            RequestRefused: the server will not take this one.
            BackendError: the server cannot do it, or not be used at all.
        """
        if not self.capabilities.score:
            raise BackendError(
                f"{self.name}: is not said to score texts. Set `score: true` if its server gives "
                "`prompt_logprobs`."
            )
        payload = self._payload(replace(request, max_tokens=1))
        asked = await self._post("chat/completions", payload | {"prompt_logprobs": 0})
        answered = await self._post(
            "chat/completions",
            payload
            | {
                "messages": [*payload["messages"], {"role": "assistant", "content": text}],
                "prompt_logprobs": 0,
                "add_generation_prompt": False,
                "continue_final_message": True,
            },
        )
        own = read_prompt_logprobs(answered)[len(read_prompt_logprobs(asked)) :]
        if not own or None in own:
            raise TransportFault("wrong-type", detail="no likelihoods of the given text")
        return Score(sum(value for value in own if value is not None), len(own))

    async def close(self) -> None:
        """Close the connections; the last user of a launched server stops it."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()
        server, self._server = self._server, None
        if server is not None:
            await server.release()

    def _payload(self, request: Request) -> dict[str, Any]:
        if request.images and not self.capabilities.images:
            raise BackendError(
                f"{self.name}: is sent pictures, but the settings say that it sees none. "
                "Set `images: true` if it does."
            )
        payload: dict[str, Any] = {
            "model": self._settings.model,
            "messages": [to_message(turn, request.images) for turn in request.turns],
            "temperature": request.temperature,
        }
        if request.max_tokens is not None:
            payload["max_tokens"] = request.max_tokens
        if request.temperature > 0:
            payload["seed"] = request.sample
        payload |= {**self._settings.extra, **request.extra}
        return {key: value for key, value in payload.items() if value is not None}

    async def _post(self, path: str, payload: dict[str, Any]) -> Any:
        """Send JSON and return the JSON that comes back."""
        # ASCII escapes: a lone surrogate cannot be sent as UTF-8, but as an escape it can.
        body = json.dumps(payload).encode("ascii")
        headers = {"Content-Type": "application/json"}
        try:
            status, answer, wait = await self._send("POST", path, headers, body)
        except TransportFault as fault:
            if self._server is not None and fault.reason in _LOST:
                # Wait here, so that nobody's tries are used up while it loads the model again.
                self._url = await self._server.ready()
            raise
        if status == 200:
            return read_json(answer)
        said = what_it_says(answer)
        if status in _TRY_AGAIN or status >= 500:
            raise TransportFault(f"status-{status}", wait, said)
        if status in _ABOUT_THE_REQUEST:
            raise RequestRefused(
                f"refused-{status}", f"{self._url}: refused the request ({status}: {said})."
            )
        raise self._refusal(status, said)

    async def _look(self) -> None:
        """Ask which models there are: it tells whether the server is there, and the revision."""
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                status, body, _ = await self._send("GET", "models", {}, None)
        except TimeoutError:  # busy, perhaps; whoever asks will see
            return
        except TransportFault as fault:
            if fault.reason == "timeout":
                return
            raise BackendError(
                f"{self._url}: no server answers there ({fault.detail or fault.reason}). "
                "Start it, correct `url`, or let ikusi `launch` one."
            ) from None
        if status in (401, 403):
            raise self._refusal(status, what_it_says(body))
        try:
            models = {entry["id"]: entry for entry in json.loads(body)["data"]}
        except (ValueError, TypeError, KeyError):
            return  # not every server has such a list
        self._models = tuple(str(name) for name in models)
        root = models.get(self._settings.model, {}).get("root")
        if isinstance(root, str) and root != self._settings.model:
            self.revision = _revision(self._settings, root)

    def _refusal(self, status: int, said: str) -> BackendError:
        told = f"{self._url}: answered {status} ({said})."
        if status in (401, 403):
            variable = self._settings.api_key_env
            hint = (
                f"Check the key in the environment variable {variable}."
                if variable
                else "Set `api_key_env` to the name of an environment variable with the key."
            )
        elif status == 404 and self._models and self._settings.model not in self._models:
            hint = f"There is no model {self._settings.model!r}. "
            hint += suggest(self._settings.model, self._models)
        elif status == 404:
            hint = "Check `model`, and that `url` ends in /v1 where the server wants that."
        elif 300 <= status < 400:
            hint = "It sends us elsewhere: set `url` to the address that it really has."
        else:
            hint = "Check `url` and the settings."
        return BackendError(f"{told} {hint}")

    async def _send(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, bytes, float | None]:
        """Return the status, the body, and the seconds of a Retry-After."""
        import aiohttp

        try:
            async with self._session_here().request(
                method, f"{self._url}/{path}", data=body, headers=headers, allow_redirects=False
            ) as response:
                content = await _read_body(response)
                return response.status, content, _retry_after(response.headers.get("Retry-After"))
        except TimeoutError:
            seconds = self._settings.timeout
            raise TransportFault("timeout", detail=f"nothing came in {seconds:g} s") from None
        except aiohttp.InvalidURL:
            raise BackendError(f"{self._url}: is no address. Correct `url`.") from None
        except aiohttp.ClientConnectorCertificateError as error:
            raise BackendError(
                f"{self._url}: its certificate cannot be trusted ({first_line(error)}). Correct "
                "`url`, or let SSL_CERT_FILE name the certificates to trust."
            ) from None
        except aiohttp.ClientConnectorError as error:
            raise TransportFault("connection-refused", detail=first_line(error)) from None
        except (aiohttp.ClientError, OSError) as error:
            raise TransportFault("connection-dropped", detail=first_line(error)) from None

    def _session_here(self) -> aiohttp.ClientSession:
        """Return the session of the running loop: one backend may be used by several, in turn."""
        import aiohttp

        loop = asyncio.get_running_loop()
        if self._session is None or self._loop is not loop:
            if self._session is not None:
                self._session.detach()  # its loop has ended, and its connections with it
            # A proxy of the environment is for the world outside, not for a server beside us.
            local = any(name in self._url for name in ("//localhost", "//127.", "//[::1]"))
            timeout = aiohttp.ClientTimeout(
                total=self._settings.timeout, sock_connect=_CONNECT_SECONDS
            )
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # `run` decides how many there are
                timeout=timeout,
                headers=self._headers,
                trust_env=not local,
            )
            self._loop = loop
        return self._session


async def _read_body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        body += chunk
        if len(body) > _BODY_BYTES:
            raise TransportFault("body-too-long", detail=f"over {_BODY_BYTES} bytes")
    return bytes(body)


def _retry_after(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, which is a number or a date."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds()
        except (ValueError, TypeError):
            return None
    return seconds if 0 <= seconds < float("inf") else None


def _authorisation(settings: EndpointSettings) -> dict[str, str]:
    if settings.api_key_env is None:
        return {}
    key = os.environ.get(settings.api_key_env, "").strip()
    if not key:
        raise BackendError(
            f"{settings.model}: the environment variable {settings.api_key_env} is not set. "
            "Put the server's key into it."
        )
    return {"Authorization": f"Bearer {key}"}


def _revision(settings: EndpointSettings, root: str) -> str:
    revision = f"endpoint {settings.model}"
    if settings.revision or root:
        revision += f" @ {settings.revision or root}"
    if settings.extra:
        revision += f" with {hash_data(settings.extra)[:16]}"
    return revision
