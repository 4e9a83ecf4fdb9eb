"""Django behind the gate: a request crosses from the loop to a lasting thread once."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from asgiref.testing import ApplicationCommunicator
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from edge_app.face import Face
from edge_app.gate import Gate, PathTable
from gateway_project.http.django_handler import ThreadedHandler


def thread_name(request: HttpRequest) -> HttpResponse:
    return HttpResponse(threading.current_thread().name)


@csrf_exempt
def echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.body)


def broken_view(request: HttpRequest) -> HttpResponse:
    raise RuntimeError("a view broke")


async def parts() -> Any:
    for part in ("a", "b", "c"):
        yield part


def streaming_view(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(parts())


urlpatterns = [
    path("thread", thread_name),
    path("echo", echo),
    path("broken", broken_view),
    path("streamed", streaming_view),
]


@pytest.fixture
def handler(settings: Any) -> ThreadedHandler:
    settings.ROOT_URLCONF = __name__
    settings.GATEWAY_REQUEST_THREADS = 3
    return ThreadedHandler()


async def answer(handler: ThreadedHandler | Gate, target: str, body: bytes = b"") -> tuple[int, bytes]:
    method = "POST" if body else "GET"
    scope = {"type": "http", "method": method, "path": f"/{target}", "query_string": b"", "headers": []}
    communicator = ApplicationCommunicator(handler, scope)
    await communicator.send_input({"type": "http.request", "body": body})
    start = await communicator.receive_output(60)
    content = b""
    while (message := await communicator.receive_output(60)).get("more_body"):
        content += message["body"]
    await communicator.wait(60)
    return start["status"], content + message.get("body", b"")


async def test_every_request_is_served_by_the_threads_of_the_pool(handler: ThreadedHandler) -> None:
    names = {(await answer(handler, "thread"))[1] for _ in range(10)}
    assert len(names) <= 3
    assert all(name.startswith(b"gateway-request") for name in names)


async def test_a_body_reaches_the_view(handler: ThreadedHandler) -> None:
    assert await answer(handler, "echo", b"hello") == (200, b"hello")


async def test_a_streamed_answer_is_sent_whole(handler: ThreadedHandler) -> None:
    assert await answer(handler, "streamed") == (200, b"abc")


async def test_a_client_that_takes_no_answer_keeps_no_thread_from_others(handler: ThreadedHandler) -> None:
    gate = Gate(handler, PathTable([Face(name="test", open_paths=("/thread",))]))
    taking = asyncio.Event()
    stalled: set[asyncio.Task[None]] = set()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        await taking.wait()

    scope = {"type": "http", "method": "GET", "path": "/thread", "query_string": b"", "headers": []}
    for _ in range(5):
        stalled.add(asyncio.create_task(gate(dict(scope), receive, send)))
    for _ in range(5):
        assert (await answer(gate, "thread"))[0] == 200
    taking.set()
    await asyncio.gather(*stalled)


async def test_a_view_that_breaks_is_answered_and_the_next_request_too(handler: ThreadedHandler) -> None:
    assert (await answer(handler, "broken"))[0] == 500
    assert (await answer(handler, "echo", b"again"))[0] == 200


async def test_more_requests_than_threads_wait_their_turn(handler: ThreadedHandler) -> None:
    answers = await asyncio.gather(*(answer(handler, "echo", b"%d" % number) for number in range(12)))
    assert answers == [(200, b"%d" % number) for number in range(12)]
