"""Steering on the WebSocket: what the user says while a response runs is answered by its successor."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from faces.responses.socket import steering
from tests.faces.inference.scripted import Reply, body, scripted
from tests.gateway_harness import Client
from tests.responses.conftest import URL, streamed, text_of
from tests.responses.socket.conftest import Connect, Json, calls, said, thinking, types_of

pytestmark = pytest.mark.django_db(transaction=True)

TOOLS = [{"type": "function", "name": "f"}, {"type": "function", "name": "g"}]


async def begun(socket: Any, *types: str, **fields: Any) -> str:
    """Asks for a response; returns its id once the client has seen an event of these types."""
    await socket.create(**fields)
    created = await socket.event("response.created")
    await socket.event(*types)
    return str(created["response"]["id"])


def code_of(event: Json) -> str:
    code: str = event["error"]["code"]
    return code


@pytest.mark.parametrize("store", [True, False])
async def test_a_response_that_completes_is_followed_by_its_successor(
    dial: Connect, api: Client, settings: Any, store: bool
) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("He", "llo", gate=gate), streamed("B")) as provider, dial() as socket:
        fields = {"store": store, "stream_id": "s", "instructions": "Be kind."}
        first = await begun(socket, "response.output_text.delta", **fields)
        await socket.steer(first)
        accepted = await socket.event("response.steer.accepted")
        await socket.steer(first, [{"role": "user", "content": [{"type": "input_text", "text": "And that."}]}])
        await socket.event("response.steer.accepted")
        gate.set()
        events = [*await socket.to_end(), *await socket.to_end()]
    assert accepted["type"] == "response.steer.accepted"
    assert accepted["steer"]["previous_response_id"] == first
    assert {event["stream_id"] for event in [accepted, *events]} == {"s"}
    completed, successor = (event["response"] for event in events if event["type"] == "response.completed")
    assert (completed["id"], text_of(completed)) == (first, "Hello")
    assert (successor["previous_response_id"], successor["instructions"]) == (first, "Be kind.")
    assert [content for _, content in said(provider.requests[1])] == [
        "Be kind.", "One", "Hello", "Also this.", "And that.",
    ]  # fmt: skip
    if store:
        assert (await api.get(f"{URL}/{successor['id']}")).json == successor


async def test_the_numbers_of_a_responses_events_have_no_gap(dial: Connect, settings: Any) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("He", "llo", gate=gate), streamed("B")), dial() as socket:
        await socket.create()
        events = [await socket.event()]
        while events[-1]["type"] != "response.output_text.delta":
            events.append(await socket.event())
        await socket.steer(events[0]["response"]["id"])
        events.append(await socket.event())
        gate.set()
        events += await socket.to_end()
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert (await socket.event())["sequence_number"] == 0


async def test_a_response_ends_before_its_next_item_where_a_successor_waits(
    dial: Connect, api: Client, settings: Any
) -> None:
    gate = asyncio.Event()
    async with scripted(settings, thinking("Never said.", gate), streamed("B")) as provider, dial() as socket:
        first = await begun(socket, "response.reasoning_summary_text.delta")
        await socket.steer(first)
        await socket.event("response.steer.accepted")
        gate.set()
        cut = (await socket.to_end())[-1]
        successor = (await socket.to_end())[-1]["response"]
    assert (cut["type"], cut["response"]["status"]) == ("response.incomplete", "incomplete")
    assert cut["response"]["incomplete_details"] == {"reason": "steered"}
    assert [item["type"] for item in cut["response"]["output"]] == ["reasoning"]
    assert (successor["previous_response_id"], text_of(successor)) == (first, "B")
    assert [content for role, content in said(provider.requests[1]) if role == "user"] == ["One", "Also this."]
    assert (await api.get(f"{URL}/{first}")).json == cut["response"]


async def test_input_waits_for_the_results_of_the_clients_tools(dial: Connect, settings: Any) -> None:
    gate = asyncio.Event()
    reply = calls("f", "g")
    reply.gate = gate
    async with scripted(settings, reply, streamed("B")) as provider, dial() as socket:
        first = await begun(socket, "response.output_item.added", tools=TOOLS)
        await socket.steer(first)
        await socket.event("response.steer.accepted")
        gate.set()
        assert (await socket.to_end())[-1]["type"] == "response.completed"
        pending = await socket.event()
        assert (pending["type"], pending["reason"]) == ("response.steer.pending", "waiting_for_required_input")
        stubs = pending["required_input"]
        assert [(stub["type"], stub["name"]) for stub in stubs] == [
            ("function_call_output", "f"), ("function_call_output", "g"),
        ]  # fmt: skip
        results = [{"type": stub["type"], "call_id": stub["call_id"], "output": "42"} for stub in stubs]
        # Another lane is not the one whose input it is.
        await socket.create(input=results, previous_response_id=first, stream_id="other", model="unknown:m")
        assert (await socket.event())["type"] == "error"
        last = await socket.response("", input=results, previous_response_id=first)
        assert text_of(last) == "B"
    told = [(message["role"], message.get("content")) for message in provider.requests[1]["messages"]]
    assert sorted(role for role, _ in told) == ["assistant", "tool", "tool", "user", "user"]
    assert ("user", "Also this.") in told


@pytest.mark.parametrize(
    "given",
    ["", [], 5, None, {}, [{"role": "system", "content": "x"}], [{"role": "user", "content": 5}], [5],
     [{"role": "user", "content": "x", "id": "msg_1"}], [{"role": "user", "content": [{"type": "output_text"}]}],
     [{"type": "function_call_output", "call_id": "c", "output": "x"}]],
)  # fmt: skip
async def test_input_that_is_not_the_users_is_given_back(dial: Connect, settings: Any, given: Any) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("He", "llo", gate=gate)), dial() as socket:
        first = await begun(socket, "response.output_text.delta")
        await socket.steer(first, given)
        refused = await socket.event("response.steer.failed")
        assert code_of(refused) == "invalid_input"
        assert refused["steer"] == {"input": given, "previous_response_id": first}
        gate.set()
        assert types_of(await socket.to_end())[-1] == "response.completed"


async def test_only_a_running_response_of_the_socket_is_steered(
    dial: Connect, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "MAX_STEERS", 1)
    gate = asyncio.Event()
    replies = [streamed("A"), streamed("He", "llo", gate=gate), streamed("C")]
    async with scripted(settings, *replies), dial() as socket, dial() as other:
        ended = (await socket.response())["id"]
        await socket.steer(ended)
        assert code_of(await socket.event("response.steer.failed")) == "response_already_completed"
        first = await begun(socket, "response.output_text.delta", stream_id="s")
        await other.steer(first)
        unknown = await other.event()
        assert (unknown["type"], code_of(unknown)) == ("response.steer.failed", "response_not_found")
        assert "stream_id" not in unknown
        await socket.steer(first)
        await socket.event("response.steer.accepted")
        await socket.steer(first)
        full = await socket.event("response.steer.failed")
        assert (code_of(full), full["stream_id"]) == ("too_many_pending_steers", "s")
        gate.set()
        await socket.to_end()
        await socket.to_end()


async def test_a_response_in_a_conversation_is_not_steered(dial: Connect, api: Client, settings: Any) -> None:
    conversation = (await api.post("/v1/conversations", {})).json["id"]
    gate = asyncio.Event()
    async with scripted(settings, streamed("He", "llo", gate=gate)), dial() as socket:
        for fields in ({"conversation": conversation}, {"background": True}):
            gate.clear()
            first = await begun(socket, "response.output_text.delta", **fields)
            await socket.steer(first)
            assert code_of(await socket.event("response.steer.failed")) == "steering_not_supported"
            gate.set()
            await socket.to_end()


@pytest.mark.parametrize("fault", ["itself", "its successor"])
async def test_what_a_failed_response_cannot_answer_is_given_back(dial: Connect, settings: Any, fault: str) -> None:
    gate = asyncio.Event()
    first_reply = streamed("He", "llo", gate=gate)
    if fault == "itself":
        first_reply.pieces = [*first_reply.pieces[:1], None]
    refused = Reply(400, [body({"error": {"message": "no"}})])
    async with scripted(settings, first_reply, refused, streamed("C")), dial() as socket:
        first = await begun(socket, "response.output_text.delta")
        await socket.steer(first)
        accepted = await socket.event("response.steer.accepted")
        gate.set()
        last = (await socket.to_end())[-1]
        failed = await socket.event()
        code = "response_not_active" if fault == "itself" else "successor_creation_failed"
        assert (failed["type"], code_of(failed)) == ("response.steer.failed", code)
        assert failed["steer"] == {"id": accepted["steer"]["id"], "input": "Also this.", "previous_response_id": first}
        assert last["type"] == ("response.failed" if fault == "itself" else "response.completed")
        if fault == "its successor":
            # The lane goes on, and the input is not sent again by itself.
            assert text_of(await socket.response(previous_response_id=first)) == "C"
