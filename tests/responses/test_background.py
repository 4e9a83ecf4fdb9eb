"""Responses in the background: runs of the core whose streams are read from any event, over a provider of chat."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core_app import database
from core_app.database import write_transaction
from events_app.models import Event, Stream
from responses_app.attempts import attempt_begin
from responses_app.models import StoredResponse
from responses_app.settlement import responses_reconcile
from sessions_app.models import AgentSession, Run, RunState
from tests.faces.inference.scripted import DROP, SSE, Reply, body, chunk, scripted, sse
from tests.gateway_harness import WAIT, Client, Frame, GatewayHarness, eventually
from tests.responses.conftest import (
    URL,
    Json,
    events_of,
    finished,
    numbers,
    posted,
    streamed,
    text_of,
    whole,
)

pytestmark = pytest.mark.django_db(transaction=True)

ASKED = {"model": "c:m", "input": "One", "background": True}
STREAMED = {**ASKED, "stream": True}


async def until_run_is(state: RunState) -> None:
    async with asyncio.timeout(WAIT):
        while not await Run.objects.filter(state=state).aexists():
            continue


async def test_a_response_is_queued_and_completed_without_its_client(
    api: Client, gateway: GatewayHarness, settings: Any
) -> None:
    async with scripted(settings, streamed("He", "llo")):
        queued = (await api.post(URL, ASKED)).json
        assert (queued["status"], queued["background"], queued["output"]) == ("queued", True, [])
        response = await finished(api, queued["id"])
    assert (response["status"], text_of(response)) == ("completed", "Hello")
    assert response["created_at"] == queued["created_at"]
    assert response["usage"]["total_tokens"] == 18
    await gateway.wait_idle()
    session = await AgentSession.objects.aget()
    assert session.closed_at is not None


async def test_a_stream_is_read_again_from_every_event(api: Client, settings: Any) -> None:
    async with scripted(settings, streamed("He", "llo")), posted(api, STREAMED) as reader:
        frames = await reader.read_to_end()
    assert [frame.event for frame in frames[:3]] == ["response.created", "response.queued", "response.in_progress"]
    assert frames[-1].event == "response.completed"
    assert numbers(frames) == list(range(len(frames)))
    response_id = frames[0].data["response"]["id"]
    assert (await api.get(f"{URL}/{response_id}")).json == frames[-1].data["response"]
    assert [frame.raw for frame in await events_of(api, response_id)] == [frame.raw for frame in frames]
    for number in range(len(frames)):
        rest = await events_of(api, response_id, number)
        assert [frame.raw for frame in rest] == [frame.raw for frame in frames[number + 1 :]]
    for beyond in (len(frames), 10**6, "x"):
        refused = await api.get(f"{URL}/{response_id}?stream=true&starting_after={beyond}")
        assert (refused.status, refused.json["error"]["param"]) == (400, "starting_after")


async def test_a_stream_that_was_cut_while_it_ran_goes_on_behind_the_last_event(api: Client, settings: Any) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("He", "llo", gate=gate)):
        seen: list[Frame] = []
        async with posted(api, STREAMED) as reader:
            while not seen or seen[-1].event != "response.output_text.delta":
                seen.append(await reader.next())
        response_id = seen[0].data["response"]["id"]
        assert (await api.get(f"{URL}/{response_id}")).json["status"] == "in_progress"
        path, after = f"{URL}/{response_id}", seen[-1].data["sequence_number"]
        async with api.events("", path=path, stream="true", starting_after=after) as rest:
            gate.set()
            frames = [*seen, *await rest.read_to_end()]
    assert numbers(frames) == list(range(len(frames)))
    assert "".join(frame.data["delta"] for frame in frames if "delta" in frame.data) == "Hello"
    assert [frame.raw for frame in frames] == [frame.raw for frame in await events_of(api, response_id)]


def open_items(frames: list[Any]) -> list[Json]:
    """Returns the items as a client builds them from the events, in the way of the official one."""
    items: list[Json] = []
    for frame in frames:
        event = frame.data
        if frame.event == "response.output_item.added":
            assert event["output_index"] == len(items)
            items.append(event["item"])
        elif frame.event == "response.content_part.added":
            items[event["output_index"]]["content"].append(event["part"])
        elif frame.event == "response.output_text.delta":
            items[event["output_index"]]["content"][event["content_index"]]["text"] += event["delta"]
        elif frame.event == "response.output_text.done":
            part = items[event["output_index"]]["content"][event["content_index"]]
            assert part["text"] == event["text"]
        elif frame.event == "response.output_item.done":
            items[event["output_index"]] = event["item"]
    return items


async def test_an_attempt_that_starts_again_says_so_and_takes_nothing_back(
    api: Client, gateway: GatewayHarness, settings: Any
) -> None:
    never = asyncio.Event()
    async with scripted(settings, streamed("Goo", "d ", gate=never), streamed("Hello", "."), whole("More")) as provider:
        seen: list[Frame] = []
        async with posted(api, STREAMED) as reader:
            while not seen or seen[-1].event != "response.output_text.delta":
                seen.append(await reader.next())
        response_id = seen[0].data["response"]["id"]
        await gateway.restart()
        frames = await events_of(api, response_id)
        never.set()
        assert [frame.raw for frame in frames[: len(seen)]] == [frame.raw for frame in seen]
        assert numbers(frames) == list(range(len(frames)))
        restart = [frame.event for frame in frames].index("response.in_progress", 3)
        assert [frame.event for frame in frames[restart - 3 : restart]] == [
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
        ]
        cut, answer = frames[-1].data["response"]["output"]
        assert frames[restart].data["response"]["output"] == [cut]
        assert (cut["status"], answer["status"]) == ("incomplete", "completed")
        assert cut["content"][0]["text"].startswith("Goo")
        assert answer["content"][0]["text"] == "Hello."
        assert open_items(frames) == [cut, answer]
        assert (await api.get(f"{URL}/{response_id}")).json == frames[-1].data["response"]
        await api.post(URL, {"model": "c:m", "input": "Two", "previous_response_id": response_id})
    # A model that continues the response is told the answer, not the attempt that was cut off.
    assert [m["content"] for m in provider.requests[-1]["messages"]] == ["One", "Hello.", "Two"]


async def test_a_response_that_is_not_streamed_starts_again_unseen(
    api: Client, gateway: GatewayHarness, settings: Any
) -> None:
    never = asyncio.Event()
    async with scripted(settings, streamed("Goo", "d ", gate=never), streamed("Hello.")) as provider:
        response_id = (await api.post(URL, ASKED)).json["id"]
        await eventually(lambda: provider.requests)
        await gateway.restart()
        response = await finished(api, response_id)
        never.set()
    assert len(provider.requests) == 2
    assert [item["status"] for item in response["output"]] == ["completed"]
    assert text_of(response) == "Hello."


async def test_a_stream_that_its_provider_broke_off_is_asked_for_again(
    api: Client, gateway: GatewayHarness, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_app.services.provider_wait.FIRST_PAUSE", 0.0)
    broken = Reply(pieces=[sse(chunk({"role": "assistant", "content": "Hel"})), DROP], headers=SSE)
    async with scripted(settings, broken, streamed("Hello.")), posted(api, STREAMED) as reader:
        frames = await reader.read_to_end()
    assert frames[-1].event == "response.completed"
    assert [item["status"] for item in frames[-1].data["response"]["output"]] == ["incomplete", "completed"]
    assert numbers(frames) == list(range(len(frames)))


async def test_a_provider_that_breaks_off_every_time_fails_the_response(
    api: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_app.services.provider_wait.FIRST_PAUSE", 0.0)
    settings.GATEWAY_MAX_ATTEMPTS = 2
    broken = Reply(pieces=[sse(chunk({"role": "assistant", "content": "Hel"})), DROP], headers=SSE)
    async with scripted(settings, broken), posted(api, STREAMED) as reader:
        frames = await reader.read_to_end()
    last = frames[-1].data["response"]
    assert (frames[-1].event, last["status"], last["error"]["code"]) == ("response.failed", "failed", "server_error")
    assert [item["status"] for item in last["output"]] == ["incomplete", "incomplete"]


async def test_a_refused_request_fails_at_once(api: Client, settings: Any) -> None:
    refusal = Reply(400, [body({"error": {"message": "too hot", "type": "invalid_request_error"}})])
    async with scripted(settings, refusal) as provider:
        response = await finished(api, (await api.post(URL, ASKED)).json["id"])
    assert (response["status"], response["error"]["message"]) == ("failed", "too hot")
    assert len(provider.requests) == 1


async def test_an_unknown_model_is_refused_before_anything_is_stored(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("Hi")):
        refused = await api.post(URL, {**ASKED, "model": "nobody-serves-this"})
    assert (refused.status, refused.json["error"]["code"]) == (404, "model_not_found")
    assert await StoredResponse.objects.acount() == await AgentSession.objects.acount() == 0


async def cancelled(api: Client, response_id: str) -> Json:
    answer = await api.post(f"{URL}/{response_id}/cancel")
    assert (answer.status, answer.json["status"]) == (200, "cancelled")
    # Again: it stays as it is.
    assert (await api.post(f"{URL}/{response_id}/cancel")).json == answer.json
    assert (await api.get(f"{URL}/{response_id}")).json == answer.json
    response: Json = answer.json
    return response


async def test_a_running_response_is_cancelled_with_what_was_seen(api: Client, settings: Any) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("Hel", "lo", gate=gate)), posted(api, STREAMED) as reader:
        created = await reader.next()
        await reader.next_of("response.output_text.delta")
        response = await cancelled(api, created.data["response"]["id"])
        frames = await reader.read_to_end()
        gate.set()
    # The API has no event of its own for it.
    assert frames[-1].event == "response.incomplete"
    assert frames[-1].data["response"] == response
    assert response["output"][0]["status"] == "incomplete"
    assert response["output"][0]["content"][0]["text"].startswith("Hel")


async def test_a_queued_response_is_cancelled_before_it_began(
    api: Client, gateway: GatewayHarness, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_app.wakeup.WAKEUPS.announce", lambda key: None)
    async with scripted(settings, whole("Hi")) as provider, posted(api, STREAMED) as reader:
        created = await reader.next()
        response = await cancelled(api, created.data["response"]["id"])
        frames = await reader.read_to_end()
    assert response["output"] == []
    assert [frame.event for frame in frames] == ["response.queued", "response.incomplete"]
    assert provider.requests == []


async def test_a_response_that_waits_for_its_provider_is_cancelled(api: Client, settings: Any) -> None:
    async with scripted(settings, Reply(503, [b"{}"])):
        response_id = (await api.post(URL, ASKED)).json["id"]
        await until_run_is(RunState.WAITING)
        await cancelled(api, response_id)


async def test_a_response_of_a_dead_worker_is_cancelled(
    api: Client, gateway: GatewayHarness, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("Hel", "lo", gate=gate)):
        async with posted(api, STREAMED) as reader:
            created = await reader.next()
            await reader.next_of("response.output_text.delta")
        # The process is gone without a word: its lease is still there, and nobody writes.
        monkeypatch.setattr("sessions_app.legs.start.leg_hand_over", lambda **_: None)
        monkeypatch.setattr("sessions_app.legs.runner.leg_hand_over", lambda **_: None)
        await gateway.stop()
        monkeypatch.setattr("sessions_app.wakeup.WAKEUPS.announce", lambda key: None)
        await gateway.start()
        response = await cancelled(api, created.data["response"]["id"])
        gate.set()
    assert response["output"][0]["content"][0]["text"].startswith("Hel")


async def test_a_client_that_leaves_does_not_end_a_background_response(api: Client, settings: Any) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("Hel", "lo", gate=gate)):
        async with posted(api, STREAMED) as reader:
            created = await reader.next()
        gate.set()
        response = await finished(api, created.data["response"]["id"])
    assert (response["status"], text_of(response)) == ("completed", "Hello")


async def test_a_response_that_is_not_finished_cannot_be_continued(api: Client, settings: Any) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("Hel", "lo", gate=gate)):
        response_id = (await api.post(URL, ASKED)).json["id"]
        refused = await api.post(URL, {"model": "c:m", "input": "Two", "previous_response_id": response_id})
        gate.set()
        await finished(api, response_id)
    assert (refused.status, refused.json["error"]["param"]) == (400, "previous_response_id")


async def test_a_background_response_continues_another(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("A"), streamed("B")) as provider:
        first = (await api.post(URL, {"model": "c:m", "input": "One"})).json
        second = (await api.post(URL, {**ASKED, "input": "Two", "previous_response_id": first["id"]})).json
        await finished(api, second["id"])
    assert [m["content"] for m in provider.requests[1]["messages"]] == ["One", "A", "Two"]


async def test_an_idempotency_key_starts_one_response(api: Client, settings: Any) -> None:
    headers = {"Idempotency-Key": "once"}
    async with scripted(settings, streamed("Hi")) as provider:
        first = await api.post(URL, STREAMED, headers=headers)
        again = await api.post(URL, STREAMED, headers=headers)
        other = await api.post(URL, {**STREAMED, "input": "Two"}, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert [line for line in again.body.splitlines() if line.startswith(b"data")] == [
        line for line in first.body.splitlines() if line.startswith(b"data")
    ]
    assert (other.status, other.json["error"]["param"]) == (422, "Idempotency-Key")
    assert len(provider.requests) == 1


async def test_a_client_with_too_many_streams_starts_nothing(api: Client, settings: Any) -> None:
    settings.GATEWAY_MAX_FOLLOWERS_PER_TENANT = 0
    async with scripted(settings, streamed("Hi")):
        assert (await api.post(URL, STREAMED)).status == 429
    assert await StoredResponse.objects.acount() == 0


async def test_aborting_the_run_natively_cancels_the_response(api: Client, settings: Any) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("Hel", "lo", gate=gate)), posted(api, STREAMED) as reader:
        created = await reader.next()
        await reader.next_of("response.output_text.delta")
        session = await AgentSession.objects.aget()
        assert (await api.post(f"/v1/sessions/{session.public_id}/abort", {})).status == 202
        last = (await reader.read_to_end())[-1]
        gate.set()
    assert last.data["response"]["status"] == "cancelled"
    assert (await api.get(f"{URL}/{created.data['response']['id']}")).json == last.data["response"]


async def test_deleting_leaves_nothing_behind(api: Client, settings: Any) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("Hel", "lo", gate=gate)):
        async with posted(api, STREAMED) as reader:
            created = await reader.next()
            await reader.next_of("response.output_text.delta")
        response_id = created.data["response"]["id"]
        assert (await api.delete(f"{URL}/{response_id}")).json == {
            "id": response_id, "object": "response", "deleted": True,
        }  # fmt: skip
        gate.set()
    assert (await api.get(f"{URL}/{response_id}")).status == 404
    for model in (StoredResponse, AgentSession, Run, Event, Stream):
        assert await model.objects.acount() == 0, model


async def test_events_of_any_size_are_kept_whole(api: Client, settings: Any) -> None:
    long = "long text " * 60_000
    async with scripted(settings, streamed(long)), posted(api, STREAMED) as reader:
        frames = await reader.read_to_end()
    done = next(frame for frame in frames if frame.event == "response.output_text.done")
    assert done.data["text"] == long
    assert text_of(frames[-1].data["response"]) == long
    assert "truncated" not in {key for frame in frames for key in frame.data}


async def test_the_sweep_settles_a_response_whose_run_ended_without_it(
    api: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the observer fails")

    refusal = Reply(400, [body({"error": {"message": "too hot", "type": "invalid_request_error"}})])
    with monkeypatch.context() as broken:
        broken.setattr("responses_app.settlement.ResponseRuns.run_ended", fail)
        async with scripted(settings, refusal):
            response_id = (await api.post(URL, ASKED)).json["id"]
            await until_run_is(RunState.FAILED)
    await database.run(responses_reconcile, lambda: True)
    assert (await api.get(f"{URL}/{response_id}")).json["status"] == "failed"


async def test_a_session_of_a_response_takes_no_prompts(api: Client, settings: Any) -> None:
    async with scripted(settings, streamed("Hi")):
        await finished(api, (await api.post(URL, ASKED)).json["id"])
    session = await AgentSession.objects.aget()
    refused = await api.post(f"/v1/sessions/{session.public_id}/prompt", {"text": "and?"})
    assert refused.status == 409


async def test_no_other_run_begins_an_attempt_of_a_response(api: Client, settings: Any) -> None:
    """Whoever knows a response's id may write its mark into the metadata of a prompt."""
    gate = asyncio.Event()
    async with scripted(settings, streamed("Hel", "lo", gate=gate)), posted(api, STREAMED) as reader:
        created = await reader.next()
        await reader.next_of("response.output_text.delta")
        row = await StoredResponse.objects.aget()

        def begin() -> object:
            with write_transaction():
                return attempt_begin(row.tenant_id, created.data["response"]["id"], "run_of_another")

        assert await database.run(begin) is None
        gate.set()
        frames = await reader.read_to_end()
    assert [frame.event for frame in frames].count("response.in_progress") == 0
    assert frames[-1].event == "response.completed"
