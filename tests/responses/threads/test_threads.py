"""Threads of the Messages API: created, continued and refused, over providers of every wire."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from core_app import clock, database
from responses_app import request
from responses_app.models import MessageThread, ThreadTurn
from tenants_app.models import Tenant
from tenants_app.services import tenant_update
from tests.api.contract import Contract
from tests.conftest import Caller
from tests.faces.inference.scripted import DROP, SSE, STREAM, WHOLE, Reply, body, chunk, scripted, sse
from tests.gateway_harness import Client
from tests.responses.conftest import posted, streamed, texts, whole
from tests.responses.threads.conftest import CREATE, URL, Json, after, ask, asked, code_of, reply_of, shown, user

pytestmark = pytest.mark.django_db(transaction=True)

TOOL = {"name": "f", "input_schema": {"type": "object", "properties": {}}}


async def test_a_thread_is_the_whole_conversation_for_its_provider(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("A"), whole("B"), whole("C")) as provider:
        first = await ask(api, "One", system="Be kind.", tools=[TOOL])
        second = await ask(api, "Two", after(first))
        third = await ask(api, "Three", after(second))
    assert [message["content"][0]["text"] for message in (first, second, third)] == ["A", "B", "C"]
    said = [("system", "Be kind."), ("user", "One"), ("assistant", "A"), ("user", "Two"), ("assistant", "B")]
    assert shown(provider.requests[2]) == [*said, ("user", "Three")]
    assert [tool["function"]["name"] for tool in provider.requests[2]["tools"]] == ["f"]
    assert "thread" not in provider.requests[0]


async def test_a_stream_is_kept_before_its_client_is_told_that_it_has_ended(api: Client, settings: Any) -> None:
    async with scripted(settings, streamed("He", "llo"), streamed("B"), whole("C")) as provider:
        async with posted(api, asked("One", stream=True), URL) as reader:
            first = reply_of(await reader.read_to_end())
        async with posted(api, asked("Two", after(first), stream=True), URL) as reader:
            second = reply_of(await reader.read_to_end())
        await ask(api, "Three", after(second))
    said = [("user", "One"), ("assistant", "Hello"), ("user", "Two"), ("assistant", "B"), ("user", "Three")]
    assert shown(provider.requests[2]) == said


async def test_a_thread_goes_on_at_a_provider_of_another_wire_and_has_ids_of_its_own(
    api: Client, settings: Any
) -> None:
    replies = [
        Reply(pieces=[body(WHOLE["messages"])]),
        Reply(pieces=[sse(*STREAM["messages"])], headers=SSE),
        Reply(pieces=[body(WHOLE["responses"])]),
        whole("D"),
    ]
    async with scripted(settings, *replies) as provider:
        first = await ask(api, "One", model="a:m", system="Be kind.")
        async with posted(api, asked("Two", after(first), "a:m", stream=True), URL) as reader:
            second = reply_of(await reader.read_to_end())
        third = await ask(api, "Three", after(second), "r:m")
        await ask(api, "Four", after(third))
    assert len({first["id"], second["id"], third["id"], "msg_1"}) == 4
    anthropic = provider.requests[1]
    assert ("thread" in anthropic, anthropic["system"]) == (False, "Be kind.")
    assert [message["role"] for message in anthropic["messages"]] == ["user", "assistant", "user"]
    assert [role for role, _ in shown(provider.requests[3])] == ["system", *["user", "assistant"] * 3, "user"]


async def test_tools_inputs_keep_their_digits_over_turns(api: Client, settings: Any) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"n":1.50}'}}
    pieces = [sse(chunk({"role": "assistant", "tool_calls": [call]}), chunk({}, "tool_calls"), b"data: [DONE]\n\n")]
    async with scripted(settings, Reply(pieces=pieces, headers=SSE), whole("Done")) as provider:
        async with posted(api, asked("One", stream=True, tools=[TOOL]), URL) as reader:
            first = reply_of(await reader.read_to_end())
        result = {"type": "tool_result", "tool_use_id": "call_1", "content": "42"}
        await ask(api, [user([result])], after(first))
    (made,) = provider.requests[1]["messages"][1]["tool_calls"]
    assert (made["function"]["arguments"], provider.requests[1]["messages"][2]["role"]) == ('{"n":1.50}', "tool")


async def test_an_answer_is_continued_once(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("A")):
        first = await ask(api, "One")
        await ask(api, "Two", after(first))
        assert code_of(await api.post(URL, asked("Three", after(first)))) == (400, "thread_already_continued")


async def test_a_thread_is_continued_by_one_request_at_a_time(api: Client, settings: Any) -> None:
    gate = asyncio.Event()
    async with scripted(settings, whole("A"), streamed("B", gate=gate)):
        first = await ask(api, "One")
        async with posted(api, asked("Two", after(first), stream=True), URL) as reader:
            second = (await reader.next()).data["message"]
            assert code_of(await api.post(URL, asked("Three", after(first)))) == (400, "thread_continue_in_flight")
            gate.set()
            await reader.read_to_end()
        await ask(api, "Three", after(second))


@pytest.mark.parametrize("fault", ["refused", "broken", "left"])
async def test_a_turn_that_failed_leaves_its_thread_as_it_was(api: Client, settings: Any, fault: str) -> None:
    gate = asyncio.Event()
    bad = {
        "refused": Reply(400, [body({"error": {"message": "no"}})]),
        "broken": Reply(pieces=[*texts("B")[:1], DROP], headers=SSE),
        "left": streamed("B", gate=gate),
    }[fault]
    async with scripted(settings, whole("A"), bad, whole("C")) as provider:
        first = await ask(api, "One")
        async with posted(api, asked("Two", after(first), stream=True), URL) as reader:
            if fault != "left":
                await reader.read_to_end()
            else:
                await reader.next()
        gate.set()
        await ask(api, "Again", after(first))
    assert shown(provider.requests[2]) == [("user", "One"), ("assistant", "A"), ("user", "Again")]


async def test_the_claim_of_a_dead_process_runs_out(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("A")):
        first = await ask(api, "One")
        soon = clock.now() + timedelta(seconds=60)
        await MessageThread.objects.all().aupdate(claim="clm_dead", claimed_until=soon)
        assert code_of(await api.post(URL, asked("Two", after(first)))) == (400, "thread_continue_in_flight")
        await MessageThread.objects.all().aupdate(claimed_until=clock.now() - timedelta(seconds=1))
        await ask(api, "Two", after(first))


async def test_a_request_that_lost_its_claim_stores_nothing(api: Client, settings: Any) -> None:
    gate = asyncio.Event()
    async with scripted(settings, whole("A"), streamed("B", gate=gate), whole("C")) as provider:
        first = await ask(api, "One")
        async with posted(api, asked("Late", after(first), stream=True), URL) as reader:
            started = await reader.next()
            await MessageThread.objects.all().aupdate(claimed_until=clock.now() - timedelta(seconds=1))
            second = await ask(api, "Two", after(first))
            gate.set()
            await reader.read_to_end()
        late = started.data["message"]
        assert code_of(await api.post(URL, asked("On", after(late)))) == (404, "thread_not_found")
        await ask(api, "Three", after(second))
    assert [content for _, content in shown(provider.requests[3])] == ["One", "A", "Two", "C", "Three"]


async def test_unknown_and_foreign_answers_are_alike(api: Client, stranger_api: Client, settings: Any) -> None:
    async with scripted(settings, whole("A")) as provider:
        first = await ask(api, "One")
        theirs = await stranger_api.post(URL, asked("Two", after(first)))
        unknown = await stranger_api.post(URL, asked("Two", after({"id": "msg_x"})))
        assert len(provider.requests) == 1
    assert code_of(theirs) == code_of(unknown) == (404, "thread_not_found")
    assert theirs.json["error"]["type"] == "not_found_error"
    assert theirs.body.replace(first["id"].encode(), b"msg_x") == unknown.body.replace(
        unknown.headers.get("request-id", "-").encode(), theirs.headers.get("request-id", "-").encode()
    )


async def test_refusals_are_as_documented(api: Client, settings: Any) -> None:
    contract = Contract()
    async with scripted(settings, whole("A")):
        first = await api.post(URL, asked("One"))
        await ask(api, "Two", after(first.json))
        answers = [first, await api.post(URL, asked("On", after(first.json)))]
        answers.append(await api.post(URL, asked("On", after({"id": "msg_x"}))))
    assert [answer.status for answer in answers] == [200, 400, 404]
    for answer in answers:
        contract.check("POST", URL, answer)


@pytest.mark.parametrize(
    ("thread", "messages"),
    [
        ({"type": "other"}, "One"),
        ({}, "One"),
        ("create", "One"),
        ({"type": "continue"}, "One"),
        ({"type": "continue", "previous_message_id": 5}, "One"),
        ({"type": "create", "previous_message_id": "msg_x"}, "One"),
        (CREATE, []),
        (None, []),
    ],
)
async def test_malformed_requests_are_refused(api: Client, settings: Any, thread: Any, messages: Any) -> None:
    async with scripted(settings, whole("A")) as provider:
        answer = await api.post(URL, {**asked(messages, None), "thread": thread})
    assert (answer.status, answer.json["error"]["type"]) == (400, "invalid_request_error")
    assert provider.requests == []


async def test_kept_fields_may_be_repeated_and_not_changed(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("A")):
        first = await ask(api, "One", system="Be kind.", tools=[TOOL])
        changes: list[Json] = [{"system": "Be rude."}, {"tools": []}]
        for changed in changes:
            answer = await api.post(URL, asked("Two", after(first), **changed))
            assert code_of(answer) == (400, "thread_fingerprint_mismatch")
            assert next(iter(changed)) in answer.json["error"]["message"]
        await ask(api, "Two", after(first), tools=[TOOL])


@pytest.mark.parametrize("stop", ["pause_turn", "end_turn"])
async def test_only_a_paused_answer_is_continued_with_nothing(api: Client, settings: Any, stop: str) -> None:
    paused = {**WHOLE["messages"], "stop_reason": stop}
    async with scripted(settings, Reply(pieces=[body(paused)])) as provider:
        first = await ask(api, "One", model="a:m")
        answer = await api.post(URL, asked([], after(first), "a:m"))
    assert answer.status == (200 if stop == "pause_turn" else 400)
    if stop == "pause_turn":
        assert [message["role"] for message in provider.requests[1]["messages"]] == ["user", "assistant"]


async def test_where_nothing_is_stored_clients_are_told_to_send_the_conversation(
    api: Client, owner: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with scripted(settings, whole("A")) as provider:
        with monkeypatch.context() as patched:
            patched.setattr(request, "MAX_STORED_BYTES", 100)
            patched.setattr("responses_app.threads.request.MAX_STORED_BYTES", 100)
            assert code_of(await api.post(URL, asked("x" * 100))) == (400, "thread_unsupported_request")
        tenant = await Tenant.objects.aget(pk=owner.principal.tenant_id)
        await database.run(tenant_update, tenant=tenant, settings={"store_responses": False})
        refused = await api.post(URL, asked("One"))
    assert code_of(refused) == (400, "thread_unsupported_request")
    assert refused.json["error"]["details"]["unsupported"] == ["thread"]
    assert (provider.requests, await ThreadTurn.objects.acount()) == ([], 0)


async def test_a_request_without_a_thread_leaves_nothing_behind(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("A")):
        await ask(api, "One", None)
        assert (await api.post(URL, {**asked("One", None), "thread": None})).status == 200
    assert await MessageThread.objects.acount() == 0
