"""OpenAI's own client over the WebSocket: lanes, continued responses, steering and errors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.lib.responses_websocket import ResponsesWebSocketError, ResponsesWebSocketLimits, ResponsesWebSocketSession
from websockets.exceptions import InvalidStatus

from tests.agents.conftest import Upstream
from tests.api.served import Served

# The client opens sockets in a way that websockets 17.1 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")

LIMITS = ResponsesWebSocketLimits(
    max_lanes=8, max_events_per_lane=1000, max_events=5000, max_bytes_per_lane=10**6, max_bytes=10**7
)
SECONDS = 60
LAST = ("response.completed", "response.incomplete", "response.failed", "error")


@pytest.fixture
def connection(openai_client: openai.OpenAI) -> Iterator[Any]:
    with openai_client.responses.connect() as connection:
        yield connection


def to_end(connection: Any) -> list[Any]:
    events = [connection.recv()]
    while events[-1].type not in LAST:
        events.append(connection.recv())
    return events


@pytest.mark.parametrize("store", [True, False])
def test_a_conversation_on_one_socket(
    openai_client: openai.OpenAI, connection: Any, plain: Upstream, store: bool
) -> None:
    connection.response.create(model="plain:hello", input="Hi", store=store)
    first = to_end(connection)[-1].response
    connection.response.create(model="plain:hello", input="Again", store=store, previous_response_id=first.id)
    second = to_end(connection)[-1].response
    assert (second.output_text, second.previous_response_id) == ("Hello, world.", first.id)
    assert [m["role"] for m in plain.requests()[-1]["messages"]] == ["user", "assistant", "user"]
    if store:
        assert openai_client.responses.retrieve(second.id) == second
    else:
        with pytest.raises(openai.NotFoundError):
            openai_client.responses.retrieve(second.id)


def test_the_clients_session_reads_lanes_beside_each_other(connection: Any, plain: Upstream) -> None:
    with ResponsesWebSocketSession(connection, limits=LIMITS) as session:
        open_lanes = [session.lane(name) for name in ("one", "two", "three")]
        for lane in open_lanes:
            lane.send({"type": "response.create", "model": "plain:reasoning", "input": "Hi"})
        finals = [lane.get_final_response(timeout=SECONDS) for lane in reversed(open_lanes)]
        assert [final.output_text for final in finals] == ["Then I answer."] * 3
        assert len({final.id for final in finals}) == 3
        lane = open_lanes[0]
        asked: Any = {"type": "response.create", "model": "plain:hello", "input": "On"}
        lane.send(asked | {"previous_response_id": finals[0].id})
        assert lane.get_final_response(timeout=SECONDS).previous_response_id == finals[0].id
        lane.send(asked | {"previous_response_id": "resp_x"})
        with pytest.raises(ResponsesWebSocketError) as refusal:
            lane.get_final_response(timeout=SECONDS)
        event: Any = refusal.value.event
        assert event.error.code == "previous_response_not_found"


def test_tools_are_called_and_answered(connection: Any, plain: Upstream) -> None:
    tool = {"type": "function", "name": "echo", "parameters": {"type": "object"}, "strict": False}
    connection.response.create(model="plain:parallel:2", input="go", tools=[tool])
    first = to_end(connection)[-1].response
    made = [item for item in first.output if item.type == "function_call"]
    results: Any = [{"type": "function_call_output", "call_id": call.call_id, "output": "r"} for call in made]
    connection.response.create(
        model="plain:parallel:2", input=results, tools=[tool], previous_response_id=first.id, stream_id="s"
    )
    assert to_end(connection)[-1].response.status == "completed"
    assert len(made) == 2


def test_steering_that_comes_too_late_and_bad_requests_are_told(connection: Any, plain: Upstream) -> None:
    connection.response.create(model="plain:hello", input="Hi")
    ended = to_end(connection)[-1].response
    connection.response.steer(input="More", previous_response_id=ended.id)
    failed = connection.recv()
    assert (failed.type, failed.error.code, failed.steer.input) == (
        "response.steer.failed", "response_already_completed", "More",
    )  # fmt: skip
    connection.response.create(model="no-such-model", input="Hi", stream_id="lane")
    (error,) = to_end(connection)
    assert (error.status, error.error.code, error.stream_id) == (404, "model_not_found", "lane")
    events: list[str] = []

    def note(event: Any) -> None:
        events.append(event.type)
        connection.close()

    connection.on("response.completed", note)

    connection.response.create(model="plain:hello", input="Hi")
    connection.dispatch_events()
    assert events == ["response.completed"]


def test_a_bad_key_is_refused_at_the_upgrade(gateway: Served) -> None:
    client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="ag_wrong", max_retries=0)
    with client, pytest.raises(InvalidStatus) as refusal, client.responses.connect():
        pass
    assert refusal.value.response.status_code == 401


async def test_the_async_client_does_the_same(gateway: Served, plain: Upstream) -> None:
    client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.keys["owner"], max_retries=0)
    async with client, client.responses.connect() as connection:
        await connection.response.create(model="plain:hello", input="Hi", stream_id="s")
        event: Any = None
        async for event in connection:
            if event.type == "response.completed":
                break
    assert (event.response.output_text, event.stream_id) == ("Hello, world.", "s")
