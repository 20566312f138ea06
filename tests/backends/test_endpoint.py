"""A chat server is asked correctly, and read strictly."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.backends.fakes import ask
from tests.backends.scripted import TRANSPORT_FAULTS, Scripted, last_text

from ikusi.backends.base import (
    Answer,
    BackendError,
    Request,
    RequestRefused,
    Score,
    TransportFault,
)
from ikusi.backends.chat_format import parse_completion
from ikusi.backends.endpoint import Endpoint, _retry_after
from ikusi.backends.settings import EndpointSettings
from ikusi.core.types import Image, assistant, user

T = TypeVar("T")
PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20


def settings(server: Scripted, **fields: Any) -> EndpointSettings:
    return EndpointSettings(url=server.url, **{"model": server.model, "timeout": 60.0, **fields})


def using(made: EndpointSettings, do: Callable[[Endpoint], Awaitable[T]]) -> T:
    """Open a backend, do something with it, and close it."""

    async def all_of_it() -> T:
        backend = await Endpoint.open(made)
        try:
            return await do(backend)
        finally:
            await backend.close()

    return asyncio.run(all_of_it())


def complete(made: EndpointSettings, request: Request) -> Answer:
    return using(made, lambda backend: backend.complete(request))


def test_what_is_sent() -> None:
    request = Request(
        "7",
        (user("What is ", Image(0), " here?"), assistant("A dog."), user("And\ud800 \0?")),
        images=(PNG,),
        max_tokens=20,
        temperature=0.5,
        sample=3,
        extra={"top_p": 0.9, "stop": None},
    )
    with Scripted(lambda payload: "An answer.") as server:
        made = settings(server, images=True, extra={"stop": ["x"], "min_p": 0.1})
        answer = complete(made, request)
    assert answer == Answer("7", "An answer.", "stop", answer.prompt_tokens, 2)
    (sent,) = server.requests
    uri = "data:image/png;base64," + base64.b64encode(PNG).decode()
    assert sent == {
        "model": "scripted",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What is "},
                    {"type": "image_url", "image_url": {"url": uri}},
                    {"type": "text", "text": " here?"},
                ],
            },
            {"role": "assistant", "content": "A dog."},
            {"role": "user", "content": "And\ud800 \0?"},
        ],
        "max_tokens": 20,
        "temperature": 0.5,
        "seed": 3,
        "top_p": 0.9,
        "min_p": 0.1,
    }


def test_greedy_requests_have_no_seed_and_null_takes_a_field_away() -> None:
    with Scripted() as server:
        complete(settings(server, extra={"temperature": None}), ask("a"))
    assert set(server.requests[0]) == {"model", "messages"}


@pytest.mark.parametrize(("data", "reason"), [(b"<svg/>", "image-format"), (None, "image-missing")])
def test_a_picture_that_cannot_be_sent(data: bytes | None, reason: str) -> None:
    with Scripted() as server:
        request = Request("1", (user(Image(0)),), images=(data,) if data else ())
        with pytest.raises(RequestRefused) as refused:
            complete(settings(server, images=True), request)
        assert refused.value.reason == reason
        with pytest.raises(BackendError, match="images: true"):
            complete(settings(server), Request("1", (user(Image(0)),), images=(PNG,)))
    assert server.requests == []


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with Scripted(api_key="secret") as server:
        with pytest.raises(BackendError, match=r"TEST_KEY is not set. Put"):
            complete(settings(server, api_key_env="TEST_KEY"), ask("a"))
        monkeypatch.setenv("TEST_KEY", "secret\n")
        assert complete(settings(server, api_key_env="TEST_KEY"), ask("a")).text == "a"
        monkeypatch.setenv("TEST_KEY", "wrong")
        with pytest.raises(BackendError, match=r"401 \(Incorrect API key.*variable TEST_KEY\.$"):
            complete(settings(server, api_key_env="TEST_KEY"), ask("a"))
        with pytest.raises(BackendError, match="Set `api_key_env`"):
            complete(settings(server), ask("a"))


def test_the_revision_names_the_model_that_is_served() -> None:
    async def revision(backend: Endpoint) -> str:
        return backend.revision

    with Scripted() as server:
        plain = using(settings(server), revision)
        extra = using(settings(server, extra={"top_p": 0.5}), revision)
        said = using(settings(server, revision="abc"), revision)
    with Scripted(root="/models/v2") as server:
        rooted = using(settings(server), revision)
    assert (plain, said, rooted) == (
        "endpoint scripted",
        "endpoint scripted @ abc",
        "endpoint scripted @ /models/v2",
    )
    assert extra.startswith("endpoint scripted with ")


@pytest.mark.parametrize("fault", TRANSPORT_FAULTS)
def test_every_transport_fault_has_a_name(fault: str) -> None:
    names = {"drop": "connection-dropped", "hang": "timeout", "truncated-json": "broken-json"}
    with Scripted(faults={fault: 1.0}, retry_after=7) as server:
        with pytest.raises(TransportFault) as found:
            complete(settings(server, timeout=0.3 if fault == "hang" else 60), ask("a"))
        assert found.value.reason == names.get(fault, fault)
        assert found.value.retry_after == (7 if fault == "status-429" else None)
        assert "\n" not in found.value.detail


def test_an_answer_that_was_cut_says_so() -> None:
    with Scripted(faults={"cut": 1.0}) as server:
        answer = complete(settings(server), ask("a long answer"))
    assert (answer.finish, answer.text) == ("length", "a long")


def test_a_request_that_is_too_long_is_refused_alone() -> None:
    with Scripted(context_length=100) as server:

        async def both(backend: Endpoint) -> str:
            with pytest.raises(RequestRefused) as refused:
                await backend.complete(ask("a" * 101))
            assert refused.value.reason == "refused-400"
            return refused.value.detail + (await backend.complete(ask("b"))).text

        assert "maximum context length is 100).b" in using(settings(server), both)


def test_a_wrong_model_is_answered_with_a_right_one() -> None:
    with (
        Scripted(model="Latxa-8B") as server,
        pytest.raises(BackendError, match=r"404 .* There is no model 'Latxa-7B'. Did .*'Latxa-8B'"),
    ):
        complete(settings(server, model="Latxa-7B"), ask("a"))


def test_a_wrong_address() -> None:
    with Scripted() as server:
        made = settings(server)
        wrong = made.model_copy(update={"url": server.url.removesuffix("/v1")})
        with pytest.raises(BackendError, match=r"404 .*ends in /v1"):
            complete(wrong, ask("a"))
    with pytest.raises(BackendError, match=r"no server answers there \(.*\)\. Start it") as found:
        complete(made, ask("a"))
    assert "\n" not in str(found.value)
    with pytest.raises(BackendError, match=r"is no address|no server answers"):
        complete(made.model_copy(update={"url": "http://[nowhere"}), ask("a"))


def test_one_backend_in_two_loops() -> None:
    with Scripted() as server:
        backend = asyncio.run(Endpoint.open(settings(server)))
        for text in "ab":
            assert asyncio.run(backend.complete(ask(text))).text == text
        asyncio.run(backend.close())


def test_a_given_text_is_scored() -> None:
    with Scripted() as server:
        request = ask("abc")

        async def score(backend: Endpoint) -> Score:
            return await backend.score(request, "xy")

        # 4 tokens of the template and 3 letters, 4 of the template: the text has places 11 and 12.
        assert using(settings(server, score=True), score) == Score(-23.0, 2)
        with pytest.raises(BackendError, match="score: true"):
            using(settings(server), score)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("3", 3.0), ("0.5", 0.5), ("-1", None), ("soon", None), ("nan", None), (None, None)],
)
def test_retry_after(header: str | None, seconds: float | None) -> None:
    assert _retry_after(header) == seconds


def test_retry_after_as_a_date() -> None:
    later = datetime.now(UTC) + timedelta(seconds=100)
    assert 90 < (_retry_after(format_datetime(later, usegmt=True)) or 0) <= 100


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
LIKE_A_COMPLETION = st.fixed_dictionaries(
    {},
    optional={
        "choices": JSON
        | st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "message": JSON
                    | st.fixed_dictionaries(
                        {},
                        optional={
                            "content": JSON | st.lists(st.fixed_dictionaries({"type": JSON})),
                            "reasoning_content": JSON,
                        },
                    ),
                    "finish_reason": JSON | st.sampled_from(["stop", "length"]),
                },
            )
        ),
        "usage": JSON | st.fixed_dictionaries({"prompt_tokens": JSON}),
        "error": JSON,
    },
)


@given(JSON | LIKE_A_COMPLETION)
def test_whatever_comes_is_an_answer_or_a_fault(data: Any) -> None:
    try:
        answer = parse_completion(data, ask("a"))
    except TransportFault as fault:
        assert fault.reason and "\n" not in fault.detail
    else:
        assert isinstance(answer.text, str)
        assert answer.finish in ("stop", "length", "other")
        assert answer.prompt_tokens >= 0
        assert answer.text.strip() or answer.finish == "length"


@pytest.mark.parametrize(
    ("message", "finish", "expected"),
    [
        ({"content": "a"}, "stop", ("a", "stop")),
        ({"content": "a"}, "content_filter", ("a", "other")),
        ({"content": "a"}, None, ("a", "other")),
        ({"content": [{"type": "text", "text": "a"}, {"type": "x"}]}, "stop", ("a", "stop")),
        ({"content": "a", "reasoning_content": "hm"}, "stop", ("a", "stop")),
        ({"content": None, "reasoning_content": "hm"}, "length", ("", "length")),
        ({"content": "", "reasoning": "hm"}, "length", ("", "length")),
        ({"content": None, "reasoning_content": "hm"}, "stop", "no-content"),
        ({"content": " \n"}, "stop", "empty-content"),
        ({"content": 3}, "stop", "wrong-type"),
        ({"content": [{"type": "text", "text": 3}]}, "stop", "wrong-type"),
    ],
)
def test_messages(message: dict[str, Any], finish: str | None, expected: Any) -> None:
    data = {"choices": [{"message": message, "finish_reason": finish}]}
    if isinstance(expected, str):
        with pytest.raises(TransportFault) as found:
            parse_completion(json.loads(json.dumps(data)), ask("a"))
        assert found.value.reason == expected
    else:
        answer = parse_completion(data, ask("a"))
        assert (answer.text, answer.finish) == expected


def test_the_scripted_server_plays_the_same_faults_whatever_the_order() -> None:
    """What other tests build on."""

    async def all_of(backend: Endpoint, names: list[str]) -> dict[str, str]:
        found = {}
        for name in names:
            try:
                found[name] = (await backend.complete(ask(name))).text
            except TransportFault as fault:
                found[name] = fault.reason
        return found

    names = [str(number) for number in range(60)]
    results = []
    for order in (names, names[::-1]):
        with Scripted(lambda p: last_text(p) + "!", faults={"html": 0.3, "cut": 0.2}) as server:
            results.append(using(settings(server), lambda b, o=order: all_of(b, o)))  # type: ignore[misc]
    assert results[0] == results[1]
    assert 8 <= list(results[0].values()).count("html") <= 30
