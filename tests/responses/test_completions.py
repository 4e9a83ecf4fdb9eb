"""Chat completions and messages in the background, over a provider that speaks chat completions only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from core_app import database
from events_app.models import Event, Stream
from responses_app.models import StoredResponse
from responses_app.removal import ResponsesDependent
from responses_app.settlement import responses_reconcile
from sessions_app.models import AgentSession, Run, RunState
from tests.conftest import Caller
from tests.faces.inference.scripted import DROP, SSE, STREAM, Reply, body, chunk, scripted, sse
from tests.gateway_harness import WAIT, Answer, Client, EventReader, Frame, GatewayHarness, eventually
from tests.responses.conftest import URL, USAGE, Json, streamed, whole

pytestmark = pytest.mark.django_db(transaction=True)

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
BOTH = pytest.mark.parametrize("path", [CHAT, MESSAGES])
BACKGROUND = {"x-gateway-background": "true"}
SAID = [{"role": "user", "content": "One"}]


def asked(path: str, **more: Any) -> Json:
    limit = {"max_tokens": 50} if path == MESSAGES else {}
    return {"model": "c:m", "messages": SAID, **limit, **more}


async def begun(api: Client, path: str, **more: Any) -> Answer:
    answer = await api.post(path, asked(path, **more), headers=BACKGROUND)
    assert answer.status == 202, answer.body
    return answer


async def ended(api: Client, address: str) -> Answer:
    """Polls a completion until it has ended."""
    async with asyncio.timeout(WAIT):
        while (answer := await api.get(address)).status == 202:
            pass
        return answer


@asynccontextmanager
async def following(api: Client, address: str, **query: Any) -> AsyncIterator[EventReader]:
    async with api.events("", path=address, stream="true", **query) as reader:
        assert reader.status == 200, reader.raw
        yield reader


async def read_all(api: Client, address: str, **query: Any) -> list[Frame]:
    async with following(api, address, **query) as reader:
        return await reader.read_to_end()


def said(frames: Sequence[Frame]) -> str:
    """Returns the text that a client of either dialect reads from these events."""
    texts = []
    for frame in frames:
        for choice in frame.data.get("choices") or ():
            texts.append(choice["delta"].get("content") or "")
        texts.append((frame.data.get("delta") or {}).get("text") or "")
    return "".join(texts)


def text_in(answer: Json) -> str:
    if "choices" in answer:
        return str(answer["choices"][0]["message"]["content"])
    return "".join(block["text"] for block in answer["content"] if block["type"] == "text")


def numbers(frames: Sequence[Frame]) -> list[int]:
    return [int(str(frame.id).partition(":")[0]) for frame in frames]


def raws(frames: Sequence[Frame]) -> list[bytes]:
    return [frame.raw for frame in frames]


@BOTH
async def test_a_completion_is_accepted_and_answered_without_its_client(
    api: Client, gateway: GatewayHarness, settings: Any, path: str
) -> None:
    async with scripted(settings, streamed("He", "llo")) as provider:
        accepted = await begun(api, path)
        address = accepted.headers["location"]
        answer = await ended(api, address)
    public_id = accepted.json["id"]
    assert public_id.startswith("bg_")
    assert address == f"/v1/background/{public_id}"
    assert accepted.json == {"id": public_id, "status": "queued"}
    assert answer.status == 200
    assert (answer.json["id"], text_in(answer.json)) == (public_id, "Hello")
    usage = answer.json["usage"]
    assert usage.get("total_tokens", usage.get("input_tokens", 0) + usage.get("output_tokens", 0)) == 18
    assert provider.requests[0]["messages"] == SAID
    await gateway.wait_idle()
    session = await AgentSession.objects.aget()
    assert session.closed_at is not None


@BOTH
async def test_the_stream_is_read_again_from_every_event(api: Client, settings: Any, path: str) -> None:
    async with scripted(settings, streamed("He", "llo")):
        # The answer is the state: the stream that the request asks for is behind the path.
        accepted = await begun(api, path, stream=True)
        address = accepted.headers["location"]
        frames = await read_all(api, address)
    assert accepted.json == {"id": address.rpartition("/")[2], "status": "queued"}
    assert numbers(frames) == list(range(1, len(frames) + 1))
    assert said(frames) == "Hello"
    opened = frames[0].data
    assert opened.get("message", opened)["id"] == accepted.json["id"]
    assert frames[-1].event == ("message_stop" if path == MESSAGES else "[DONE]")
    assert raws(await read_all(api, address)) == raws(frames)
    for number in range(len(frames) + 1):
        assert raws(await read_all(api, address, after=number)) == raws(frames[number:])
        assert raws(await read_all(api, address, last_id=number)) == raws(frames[number:])
    assert raws(await read_all(api, address, after=-1)) == raws(frames)
    for beyond in (len(frames) + 1, 10**6, "x", -2):
        refused = await api.get(f"{address}?stream=true&after={beyond}")
        assert refused.status == 400


@BOTH
async def test_a_completion_is_at_the_path_of_its_own_api_too(api: Client, settings: Any, path: str) -> None:
    async with scripted(settings, streamed("He", "llo")):
        address = (await begun(api, path)).headers["location"]
        answer = await ended(api, address)
    public_id = address.rpartition("/")[2]
    own = f"{path}/{public_id}"
    assert (await api.get(own)).json == answer.json
    frames = await read_all(api, address)
    for number in range(len(frames)):
        for name in ("after", "starting_after"):
            assert raws(await read_all(api, own, **{name: number})) == raws(frames[number:])
    # Of both names the first counts; the other one is unknown at the path of both APIs.
    assert raws(await read_all(api, own, after=2, starting_after=1)) == raws(frames[2:])
    assert raws(await read_all(api, address, starting_after=1)) == raws(frames)
    assert (await api.post(f"{own}/cancel")).json == {"id": public_id, "status": "completed"}
    assert (await api.delete(own)).json["id"] == public_id
    assert (await api.get(address)).status == 404


@BOTH
async def test_the_id_has_the_code_of_its_cell(api: Client, settings: Any, path: str) -> None:
    settings.GATEWAY_CELL = "eu1"
    async with scripted(settings, streamed("Hi")):
        accepted = await begun(api, path)
        await ended(api, accepted.headers["location"])
    assert accepted.json["id"].startswith("bg_eu1_")


async def test_errors_of_the_shared_path_are_in_the_dialect_of_the_client(api: Client) -> None:
    openai = await api.get("/v1/background/bg_nobody")
    anthropic = await api.get("/v1/background/bg_nobody", headers={"anthropic-version": "2023-06-01"})
    assert (openai.status, anthropic.status) == (404, 404)
    assert "type" not in openai.json
    assert anthropic.json["type"] == "error"


@BOTH
async def test_a_completion_that_asks_for_no_stream_has_one_all_the_same(api: Client, settings: Any, path: str) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("He", "llo", gate=gate)):
        address = (await begun(api, path)).headers["location"]
        async with following(api, address) as reader:
            await reader.until(lambda: b"He" in reader.raw)
            running = await api.get(address)
            state = {"id": address.rpartition("/")[2], "status": "in_progress"}
            assert (running.status, running.json) == (202, state)
            gate.set()
            frames = await reader.read_to_end()
    assert said(frames) == "Hello"


@BOTH
async def test_an_attempt_that_starts_again_ends_its_stream_with_an_error_and_the_next_is_whole(
    api: Client, gateway: GatewayHarness, settings: Any, path: str
) -> None:
    never = asyncio.Event()
    async with scripted(settings, streamed("Goo", "d ", gate=never), streamed("Hello", ".")):
        address = (await begun(api, path)).headers["location"]
        async with following(api, address) as reader:
            await reader.until(lambda: b"Goo" in reader.raw)
        await gateway.restart()
        answer = await ended(api, address)
        never.set()
    assert (answer.status, text_in(answer.json)) == (200, "Hello.")
    old = await read_all(api, address, after=-1)
    assert said(old).startswith("Goo")
    assert "Hello" not in said(old)
    assert "error" in old[-1].data
    new = await read_all(api, address, after=numbers(old)[-1])
    assert said(new) == "Hello."
    assert numbers([*old, *new]) == list(range(1, len(old) + len(new) + 1))
    # Who comes without a number, or with that of nothing, sees the whole attempt that counts, and nothing else.
    assert raws(await read_all(api, address)) == raws(await read_all(api, address, after=0)) == raws(new)


async def test_a_stream_that_its_provider_broke_off_is_asked_for_again(
    api: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_app.services.provider_wait.FIRST_PAUSE", 0.0)
    broken = Reply(pieces=[sse(chunk({"role": "assistant", "content": "Hel"})), DROP], headers=SSE)
    async with scripted(settings, broken, streamed("Hello.")):
        address = (await begun(api, CHAT)).headers["location"]
        answer = await ended(api, address)
    assert text_in(answer.json) == "Hello."


@BOTH
async def test_a_refusal_is_told_as_in_the_foreground(api: Client, settings: Any, path: str) -> None:
    refusal = Reply(400, [body({"error": {"message": "too hot", "type": "invalid_request_error"}})])
    async with scripted(settings, refusal, refusal):
        address = (await begun(api, path)).headers["location"]
        answer = await ended(api, address)
        foreground = await api.post(path, asked(path))
    assert (answer.status, answer.json) == (foreground.status, foreground.json) == (400, answer.json)
    assert answer.headers["x-should-retry"] == "false"
    frames = await read_all(api, address)
    assert frames[-1].data == answer.json


@BOTH
async def test_a_running_completion_is_cancelled(api: Client, settings: Any, path: str) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("Hel", "lo", gate=gate)):
        address = (await begun(api, path)).headers["location"]
        async with following(api, address) as reader:
            await reader.until(lambda: b"Hel" in reader.raw)
            stopped = await api.post(f"{address}/cancel")
            frames = await reader.read_to_end()
        gate.set()
    assert (stopped.status, stopped.json) == (200, {"id": address.rpartition("/")[2], "status": "cancelled"})
    assert (await api.post(f"{address}/cancel")).json == stopped.json
    answer = await api.get(address)
    assert answer.status == 409
    assert frames[-1].data == answer.json
    assert said(frames).startswith("Hel")


async def test_a_completion_that_is_queued_and_one_that_waits_for_its_provider_are_cancelled(
    api: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted(settings, Reply(503, [b"{}"])) as provider:
        address = (await begun(api, CHAT)).headers["location"]
        async with asyncio.timeout(WAIT):
            while not await Run.objects.filter(state=RunState.WAITING).aexists():
                pass
        assert (await api.post(f"{address}/cancel")).json["status"] == "cancelled"
        monkeypatch.setattr("sessions_app.wakeup.WAKEUPS.announce", lambda key: None)
        asked_before = len(provider.requests)
        address = (await begun(api, CHAT)).headers["location"]
        assert (await api.post(f"{address}/cancel")).json["status"] == "cancelled"
        assert len(provider.requests) == asked_before
    assert [frame.event for frame in await read_all(api, address)] == ["message"]


@BOTH
async def test_deleting_leaves_nothing_behind(api: Client, settings: Any, path: str) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("Hel", "lo", gate=gate)) as provider:
        address = (await begun(api, path)).headers["location"]
        await eventually(lambda: provider.requests)
        deleted = await api.delete(address)
        gate.set()
    assert (deleted.status, deleted.json["deleted"]) == (200, True)
    assert (await api.get(address)).status == 404
    for model in (StoredResponse, AgentSession, Run, Event, Stream):
        assert await model.objects.acount() == 0, model


@BOTH
async def test_an_idempotency_key_starts_one_completion(api: Client, settings: Any, path: str) -> None:
    headers = {**BACKGROUND, "Idempotency-Key": "once"}
    async with scripted(settings, streamed("Hi")) as provider:
        first = await api.post(path, asked(path), headers=headers)
        again = await api.post(path, asked(path), headers=headers)
        other = await api.post(path, asked(path, temperature=0), headers=headers)
        await ended(api, first.headers["location"])
    assert (again.status, again.json) == (202, first.json)
    assert again.headers["location"] == first.headers["location"]
    assert again.headers["idempotent-replayed"] == "true"
    assert other.status == 422
    assert len(provider.requests) == 1
    await api.delete(first.headers["location"])
    assert (await api.post(path, asked(path), headers=headers)).status == 404


@BOTH
async def test_another_tenants_completion_and_one_of_another_api_are_unknown(
    api: Client, gateway: GatewayHarness, stranger: Caller, settings: Any, path: str
) -> None:
    async with scripted(settings, streamed("Hi")):
        address = (await begun(api, path)).headers["location"]
        await ended(api, address)
    public_id = address.rpartition("/")[2]
    rival = gateway.client(stranger)
    other = MESSAGES if path == CHAT else CHAT
    missing = await rival.get("/v1/background/bg_nobody")
    asks = [
        ask
        for at in (address, f"{path}/{public_id}")
        for ask in (rival.get(at), rival.delete(at), rival.post(f"{at}/cancel"))
    ]
    for ask in (*asks, api.get(f"{other}/{public_id}"), api.get(f"{URL}/{public_id}")):
        refused = await ask
        assert refused.status == missing.status == 404
    assert (await api.get(address)).status == 200
    # Nor is it a response that another goes on from.
    async with scripted(settings, whole("Hi")):
        gone_on = await api.post(URL, {"model": "c:m", "input": "Two", "previous_response_id": public_id})
    assert gone_on.json["error"]["code"] == "previous_response_not_found"


async def test_everything_that_a_provider_says_is_in_the_answer(api: Client, settings: Any) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": ""}}
    pieces = [
        chunk({"role": "assistant", "content": None, "reasoning_content": "Hm"}, system_fingerprint="fp"),
        chunk({"reasoning_content": "m."}),
        chunk({"tool_calls": [call]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"a":'}}]}),
        chunk({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
        chunk({"tool_calls": [{**call, "index": 1, "id": "call_2"}]}),
        {**chunk(), "choices": [{"index": 1, "delta": {"content": "B"}, "logprobs": {"content": [{"token": "B"}]},
                                 "finish_reason": "stop"}]},
        chunk({}, "tool_calls"),
        {**chunk(), "choices": [], "usage": USAGE},
        b"data: [DONE]\n\n",
    ]  # fmt: skip
    async with scripted(settings, Reply(pieces=[sse(*pieces)], headers=SSE)) as provider:
        address = (await begun(api, CHAT, n=2, seed=7)).headers["location"]
        answer = (await ended(api, address)).json
    assert (provider.requests[0]["n"], provider.requests[0]["seed"]) == (2, 7)
    first, second = answer["choices"]
    assert first["message"]["reasoning_content"] == "Hmm."
    assert [one["function"]["arguments"] for one in first["message"]["tool_calls"]] == ['{"a":1}', ""]
    assert "index" not in first["message"]["tool_calls"][0]
    assert (first["finish_reason"], second["message"]["content"]) == ("tool_calls", "B")
    assert second["logprobs"] == {"content": [{"token": "B"}]}
    assert (answer["object"], answer["system_fingerprint"], answer["usage"]) == ("chat.completion", "fp", USAGE)
    # The chunk with the usage is for those who ask for it.
    assert all(frame.data.get("choices") != [] for frame in await read_all(api, address))


async def test_a_message_of_anthropics_own_wire_comes_back_whole(api: Client, settings: Any) -> None:
    start, stop = STREAM["messages"][0], STREAM["messages"][-2:]
    opened: list[Json] = [
        {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "tool_use", "id": "t", "name": "f", "input": {}},
    ]
    deltas: list[list[Json]] = [
        [{"thinking": "Hm"}, {"thinking": "m."}, {"signature": "sig"}],
        [{"partial_json": '{"a":'}, {"partial_json": "12345678901234567890}"}],
    ]
    kinds = {"thinking": "thinking_delta", "signature": "signature_delta", "partial_json": "input_json_delta"}
    blocks: list[Json] = []
    for index, block in enumerate(opened):
        blocks.append({"type": "content_block_start", "index": index, "content_block": block})
        for delta in deltas[index]:
            typed = {"type": kinds[next(iter(delta))], **delta}
            blocks.append({"type": "content_block_delta", "index": index, "delta": typed})
        blocks.append({"type": "content_block_stop", "index": index})
    async with scripted(settings, Reply(pieces=[sse(start, {"type": "ping"}, *blocks, *stop)], headers=SSE)):
        address = (await begun(api, MESSAGES, model="a:m")).headers["location"]
        answer = (await ended(api, address)).json
    assert answer["content"] == [
        {"type": "thinking", "thinking": "Hmm.", "signature": "sig"},
        {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 12345678901234567890}},
    ]
    assert (answer["stop_reason"], answer["usage"]) == ("end_turn", {"input_tokens": 11, "output_tokens": 7})


async def test_what_cannot_run_in_the_background_is_refused_before_anything_is_stored(
    api: Client, settings: Any
) -> None:
    thread = {"type": "continue", "previous_message_id": "msg_x"}
    async with scripted(settings, streamed("Hi")):
        for path, more, status in (
            (CHAT, {"model": "nobody-serves-this"}, 404),
            (CHAT, {"messages": "Hi"}, 400),
            (MESSAGES, {"max_tokens": None}, 400),
            (MESSAGES, {"thread": thread}, 400),
        ):
            answer = await api.post(path, {**asked(path), **more}, headers=BACKGROUND)
            assert answer.status == status, answer.body
        odd = await api.post(CHAT, asked(CHAT), headers={"x-gateway-background": "perhaps"})
        assert (odd.status, odd.json["error"]["param"]) == (400, "x-gateway-background")
        large = {**asked(CHAT), "messages": [{"role": "user", "content": "x" * (4 * 1024 * 1024)}]}
        assert (await api.post(CHAT, large, headers=BACKGROUND)).status == 413
    assert await StoredResponse.objects.acount() == await AgentSession.objects.acount() == 0


async def test_the_header_false_is_the_foreground(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("Hi")):
        assert (await api.post(CHAT, asked(CHAT), headers={"x-gateway-background": "false"})).status == 200


async def test_the_sweep_settles_a_completion_whose_run_ended_without_it(
    api: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("the observer fails")

    refusal = Reply(400, [body({"error": {"message": "too hot", "type": "invalid_request_error"}})])
    with monkeypatch.context() as broken:
        broken.setattr("responses_app.settlement.ResponseRuns.run_ended", fail)
        async with scripted(settings, refusal):
            address = (await begun(api, CHAT)).headers["location"]
            async with asyncio.timeout(WAIT):
                while not await Run.objects.filter(state=RunState.FAILED).aexists():
                    pass
    await database.run(responses_reconcile, lambda: True)
    answer = await api.get(address)
    assert (answer.status, answer.json["error"]["message"]) == (400, "too hot")


@BOTH
async def test_completions_are_exported_and_erased_with_their_end_user(
    api: Client, owner: Caller, settings: Any, path: str
) -> None:
    named = {"metadata": {"user_id": "ann"}} if path == MESSAGES else {"user": "ann"}
    async with scripted(settings, streamed("Hi")):
        address = (await begun(api, path, **named)).headers["location"]
        await ended(api, address)
    tenant_id = owner.principal.tenant_id
    lines = await database.run(lambda: b"".join(ResponsesDependent().export(tenant_id, "ann")))
    assert b'"One"' in lines
    assert b"Hi" in lines
    await database.run(lambda: ResponsesDependent().end_user_erase(tenant_id, "ann"))
    assert (await api.get(address)).status == 404
