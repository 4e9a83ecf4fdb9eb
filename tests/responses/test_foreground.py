"""Responses that are relayed and stored: read, listed, continued and deleted, over a provider of chat completions."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core_app import database
from responses_app import request
from responses_app.models import StoredResponse
from tenants_app.models import Tenant
from tenants_app.services import tenant_update
from tests.conftest import Caller
from tests.faces.inference.scripted import DROP, SSE, STREAM, WHOLE, Reply, body, chunk, scripted, sse
from tests.gateway_harness import Client, GatewayHarness
from tests.responses.conftest import URL, finished, numbers, posted, streamed, text_of, whole

pytestmark = pytest.mark.django_db(transaction=True)

ASKED = {"model": "c:m", "input": "One"}


async def count() -> int:
    return await StoredResponse.objects.acount()


async def test_a_response_is_read_again_as_it_was_answered(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("Hi")):
        answered = (await api.post(URL, {**ASKED, "metadata": {"a": "b"}})).json
    assert (answered["status"], answered["store"], answered["background"]) == ("completed", True, False)
    assert answered["metadata"] == {"a": "b"}
    assert (await api.get(f"{URL}/{answered['id']}")).json == answered


async def test_a_stream_is_stored_before_its_client_is_told_that_it_has_ended(api: Client, settings: Any) -> None:
    async with scripted(settings, streamed("He", "llo")), posted(api, {**ASKED, "stream": True}) as reader:
        frames = await reader.read_to_end()
    assert numbers(frames) == list(range(len(frames)))
    last = frames[-1].data["response"]
    assert frames[-1].event == "response.completed"
    assert {frame.data["response"]["id"] for frame in frames if "response" in frame.data} == {last["id"]}
    assert (await api.get(f"{URL}/{last['id']}")).json == last
    assert text_of(last) == "Hello"


@pytest.mark.parametrize("stream", [False, True])
async def test_store_false_leaves_nothing_behind(api: Client, settings: Any, stream: bool) -> None:
    async with scripted(settings, streamed("Hi") if stream else whole("Hi")) as provider:
        answer = await api.post(URL, {**ASKED, "store": False, "stream": stream})
    assert answer.status == 200
    assert b'"store":false' in answer.body
    assert not {"store", "background", "previous_response_id"} & set(provider.requests[0])
    assert await count() == 0


async def test_a_request_too_large_to_be_stored_is_answered_and_says_that_it_was_not(
    api: Client, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request, "MAX_STORED_BYTES", 1_000)
    large = {**ASKED, "input": "x" * 1_000}
    async with scripted(settings, whole("Hi"), whole("Hi")):
        assert (await api.post(URL, large)).json["store"] is False
        assert await count() == 0
        for wish in ({"store": True}, {"background": True}, {"conversation": "conv_x"}):
            refused = await api.post(URL, {**large, **wish})
            assert refused.status == 413
            assert refused.json["error"]["param"] == "store"
        assert (await api.post(URL, ASKED)).json["store"] is True


async def test_the_tenant_says_what_becomes_of_responses_that_do_not(api: Client, owner: Caller, settings: Any) -> None:
    tenant = await Tenant.objects.aget(pk=owner.principal.tenant_id)
    await database.run(tenant_update, tenant=tenant, settings={"store_responses": False})
    async with scripted(settings, whole("Hi")):
        assert (await api.post(URL, ASKED)).json["store"] is False
        assert await count() == 0
        assert (await api.post(URL, {**ASKED, "store": True})).json["store"] is True
    assert await count() == 1


async def test_a_chain_is_the_whole_conversation_for_any_provider(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("A"), whole("B"), Reply(pieces=[body(WHOLE["messages"])])) as provider:
        first = (await api.post(URL, {**ASKED, "instructions": "Be kind."})).json
        second = (await api.post(URL, {"model": "c:m", "input": "Two", "previous_response_id": first["id"]})).json
        asked = {"model": "a:m", "input": [{"role": "user", "content": "Three"}], "previous_response_id": second["id"]}
        third = (await api.post(URL, asked)).json
    assert third["previous_response_id"] == second["id"]
    roles = [(m["role"], m["content"]) for m in provider.requests[1]["messages"]]
    # Instructions hold for their own request only, as the API says.
    assert roles == [("user", "One"), ("assistant", "A"), ("user", "Two")]
    said = [(m["role"], m["content"]) for m in provider.requests[2]["messages"]]
    assert [role for role, _ in said] == ["user", "assistant", "user", "assistant", "user"]
    assert "B" in str(said[3])
    assert "Three" in str(said[4])


async def test_a_provider_of_the_same_wire_gets_the_conversation_and_stores_nothing(api: Client, settings: Any) -> None:
    replies = [Reply(pieces=[body(WHOLE["responses"])]), Reply(pieces=[sse(*STREAM["responses"])], headers=SSE)]
    async with scripted(settings, *replies) as provider:
        first = (await api.post(URL, {"model": "r:m", "input": "One"})).json
        async with posted(
            api, {"model": "r:m", "input": "Two", "previous_response_id": first["id"], "stream": True}
        ) as reader:
            frames = await reader.read_to_end()
    assert first["id"] != "resp_1"
    assert frames[-1].data["response"]["previous_response_id"] == first["id"]
    assert "previous_response_id" not in provider.requests[1]
    assert [request["store"] for request in provider.requests] == [False, False]
    assert [item.get("role") for item in provider.requests[1]["input"]] == ["user", "assistant", "user"]


async def test_calls_and_their_results_are_continued(api: Client, settings: Any) -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    pieces = [sse(chunk({"role": "assistant", "tool_calls": [call]}), chunk({}, "tool_calls"), b"data: [DONE]\n\n")]
    async with scripted(settings, Reply(pieces=pieces, headers=SSE), whole("Done")) as provider:
        async with posted(api, {**ASKED, "stream": True, "tools": [{"type": "function", "name": "f"}]}) as reader:
            last = (await reader.read_to_end())[-1].data["response"]
        (item,) = last["output"]
        output = {"type": "function_call_output", "call_id": item["call_id"], "output": "7"}
        answer = await api.post(URL, {"model": "c:m", "input": [output], "previous_response_id": last["id"]})
    assert text_of(answer.json) == "Done"
    assert [m["role"] for m in provider.requests[1]["messages"]] == ["user", "assistant", "tool"]


async def test_an_unknown_response_cannot_be_continued_nor_one_with_a_gap_before_it(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("Hi")) as provider:
        unknown = await api.post(URL, {**ASKED, "previous_response_id": "resp_no"})
        first = (await api.post(URL, ASKED)).json
        second = (await api.post(URL, {**ASKED, "previous_response_id": first["id"]})).json
        assert (await api.delete(f"{URL}/{first['id']}")).json["deleted"] is True
        gap = await api.post(URL, {**ASKED, "previous_response_id": second["id"]})
        asked = len(provider.requests)
    assert asked == 2
    for refused in (unknown, gap):
        assert refused.status == 400
        assert refused.json["error"]["code"] == "previous_response_not_found"
        assert refused.json["error"]["param"] == "previous_response_id"
    assert first["id"] in gap.json["error"]["message"]


async def test_input_items_are_listed_in_pages_with_ids_that_stay(api: Client, settings: Any) -> None:
    given = [{"role": "user", "content": str(number)} for number in range(5)]
    async with scripted(settings, whole("Hi")):
        response = (await api.post(URL, {"model": "c:m", "input": given})).json
    path = f"{URL}/{response['id']}/input_items"
    newest = (await api.get(f"{path}?limit=2")).json
    assert [item["content"][0]["text"] for item in newest["data"]] == ["4", "3"]
    assert newest["has_more"] is True
    rest = (await api.get(f"{path}?limit=100&after={newest['last_id']}")).json
    assert [item["content"][0]["text"] for item in rest["data"]] == ["2", "1", "0"]
    assert rest["has_more"] is False
    oldest = (await api.get(f"{path}?order=asc")).json
    assert [item["id"] for item in oldest["data"]] == [item["id"] for item in [*newest["data"], *rest["data"]]][::-1]
    assert (await api.get(f"{path}?limit=0")).status == 400
    assert (await api.get(f"{path}?order=up")).status == 400
    assert (await api.get(f"{path}?after=nothing")).status == 404


async def test_a_client_that_leaves_cancels_its_response_and_what_it_saw_is_kept(api: Client, settings: Any) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("Hel", "lo", gate=gate)):
        async with posted(api, {**ASKED, "stream": True}) as reader:
            created = await reader.next()
            await reader.next_of("response.output_text.delta")
        response = await finished(api, created.data["response"]["id"])
        gate.set()
    assert response["status"] == "cancelled"
    (item,) = response["output"]
    assert item["status"] == "incomplete"
    assert item["content"][0]["text"].startswith("Hel")


async def test_a_stream_that_breaks_is_stored_as_failed(api: Client, settings: Any) -> None:
    pieces = [sse(chunk({"role": "assistant", "content": "Hel"})), DROP]
    async with scripted(settings, Reply(pieces=pieces, headers=SSE)), posted(api, {**ASKED, "stream": True}) as reader:
        last = (await reader.read_to_end())[-1]
    assert last.event == "response.failed"
    assert (await api.get(f"{URL}/{last.data['response']['id']}")).json == last.data["response"]


async def test_an_error_before_the_answer_stores_nothing(api: Client, settings: Any) -> None:
    async with scripted(settings, Reply(400, [body({"error": {"message": "no", "type": "invalid_request_error"}})])):
        assert (await api.post(URL, ASKED)).status == 400
    assert await count() == 0


async def test_another_tenants_response_is_unknown(
    api: Client, gateway: GatewayHarness, stranger: Caller, settings: Any
) -> None:
    async with scripted(settings, whole("Hi")):
        response_id = (await api.post(URL, ASKED)).json["id"]
        rival = gateway.client(stranger)
        paths = [("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items"), ("GET", "?stream=true")]
        for method, path in paths:
            theirs = await rival.ask(method, f"{URL}/{response_id}{path}")
            unknown = await rival.ask(method, f"{URL}/resp_unknown{path}")
            assert (theirs.status, theirs.json["error"]["code"]) == (404, "response_not_found")
            assert (unknown.status, unknown.json["error"]["code"]) == (404, "response_not_found")
        refused = await rival.post(URL, {**ASKED, "previous_response_id": response_id})
        assert refused.json["error"]["code"] == "previous_response_not_found"
    assert (await api.get(f"{URL}/{response_id}")).status == 200


async def test_a_foreground_response_has_no_stream_and_is_cancelled_by_leaving_only(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("Hi")):
        response_id = (await api.post(URL, ASKED)).json["id"]
    assert (await api.get(f"{URL}/{response_id}?stream=true")).json["error"]["param"] == "stream"
    assert (await api.post(f"{URL}/{response_id}/cancel")).status == 400
    assert (await api.get(f"{URL}/{response_id}?stream=perhaps")).status == 400


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"store": "yes"}, "store"),
        ({"background": 1}, "background"),
        ({"background": True, "store": False}, "store"),
        ({"previous_response_id": 7}, "previous_response_id"),
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
    ],
)
async def test_fields_of_a_wrong_type_are_refused_by_name(
    api: Client, settings: Any, fields: dict[str, Any], param: str
) -> None:
    async with scripted(settings, whole("Hi")) as provider:
        refused = await api.post(URL, {**ASKED, **fields})
    assert (refused.status, refused.json["error"]["param"]) == (400, param)
    assert provider.requests == []


async def test_text_that_databases_refuse_is_stored(api: Client, settings: Any) -> None:
    raw = b'{"model":"c:m","input":"nul \\u0000 and half \\ud83d a pair","stream":false}'
    async with scripted(settings, whole("Hi")):
        answer = await api.ask("POST", URL, body=raw)
        assert answer.status == 200, answer.body
        items = (await api.get(f"{URL}/{answer.json['id']}/input_items")).json
        again = await api.post(URL, {**ASKED, "previous_response_id": answer.json["id"]})
    assert items["data"][0]["content"][0]["text"].startswith("nul ")
    assert again.status == 200


async def test_a_history_over_the_limit_is_refused(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("Hi")):
        first = (await api.post(URL, {"model": "c:m", "input": "x" * 3000})).json
        settings.GATEWAY_MAX_INFERENCE_BODY_BYTES = 2000
        refused = await api.post(URL, {**ASKED, "previous_response_id": first["id"]})
    assert (refused.status, refused.json["error"]["param"]) == (400, "previous_response_id")
