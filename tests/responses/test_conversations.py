"""Conversations: items that clients keep, and that responses read and add to, for any provider."""

from __future__ import annotations

from typing import Any

import pytest

from responses_app.models import Conversation, ConversationItem
from tests.conftest import Caller
from tests.faces.inference.scripted import Reply, body, scripted
from tests.gateway_harness import Client, GatewayHarness
from tests.responses.conftest import Json, finished, posted, streamed, whole

pytestmark = pytest.mark.django_db(transaction=True)

URL = "/v1/conversations"
RESPONSES = "/v1/responses"


async def opened(api: Client, **fields: Any) -> str:
    answer = await api.post(URL, fields)
    assert answer.status == 200, answer.body
    return str(answer.json["id"])


async def items_of(api: Client, conversation: str) -> list[Json]:
    listed: list[Json] = (await api.get(f"{URL}/{conversation}/items?order=asc&limit=100")).json["data"]
    return listed


def said(items: list[Json]) -> list[str]:
    return ["".join(part["text"] for part in item["content"]) for item in items]


async def test_a_conversation_is_created_read_changed_and_deleted(api: Client) -> None:
    created = (await api.post(URL, {"metadata": {"a": "b"}})).json
    assert created["object"] == "conversation"
    path = f"{URL}/{created['id']}"
    assert (await api.get(path)).json == created
    changed = (await api.post(path, {"metadata": {"c": "d"}})).json
    assert changed == {**created, "metadata": {"c": "d"}} == (await api.get(path)).json
    deleted = (await api.delete(path)).json
    assert deleted == {"id": created["id"], "object": "conversation.deleted", "deleted": True}
    assert (await api.get(path)).json["error"]["code"] == "conversation_not_found"
    assert (await api.post(URL)).status == 200


async def test_items_are_added_listed_read_and_removed(api: Client) -> None:
    conversation = await opened(api, items=[{"role": "user", "content": "0"}])
    path = f"{URL}/{conversation}/items"
    added = (await api.post(path, {"items": [{"role": "user", "content": str(n)} for n in range(1, 5)]})).json
    assert said(added["data"]) == ["1", "2", "3", "4"]
    newest = (await api.get(f"{path}?limit=2")).json
    assert (said(newest["data"]), newest["has_more"]) == (["4", "3"], True)
    rest = (await api.get(f"{path}?after={newest['last_id']}")).json
    assert (said(rest["data"]), rest["has_more"]) == (["2", "1", "0"], False)
    item = added["data"][1]
    assert (await api.get(f"{path}/{item['id']}")).json == item
    assert (await api.delete(f"{path}/{item['id']}")).json["id"] == conversation
    assert (await api.get(f"{path}/{item['id']}")).status == 404
    assert said(await items_of(api, conversation)) == ["0", "1", "3", "4"]
    again = (await api.post(path, {"items": [added["data"][0]]})).json["data"][0]
    assert again["id"] != added["data"][0]["id"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"items": "no"}, "items"),
        ({"items": [{}] * 21}, "items"),
        ({"items": [{"content": "x"}]}, "items"),
        ({"items": [{"role": "user", "id": 7}]}, "items"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"metadata": {"a" * 65: "b"}}, "metadata"),
        ({"metadata": []}, "metadata"),
    ],
)
async def test_wrong_fields_are_refused_by_name(api: Client, fields: Json, param: str) -> None:
    refused = await api.post(URL, fields)
    assert (refused.status, refused.json["error"]["param"]) == (400, param)
    assert (await api.ask("POST", URL, body=b"[]")).status == 400


@pytest.mark.parametrize("form", ["text", "object"])
async def test_responses_read_a_conversation_and_add_to_it(api: Client, settings: Any, form: str) -> None:
    conversation = await opened(api, items=[{"role": "developer", "content": "Be kind."}])
    named: Any = conversation if form == "text" else {"id": conversation}
    async with scripted(settings, whole("A"), streamed("B"), streamed("C")) as provider:
        first = (await api.post(RESPONSES, {"model": "c:m", "input": "One", "conversation": named})).json
        asked = {"model": "c:m", "input": "Two", "conversation": named, "stream": True}
        async with posted(api, asked) as reader:
            second = (await reader.read_to_end())[-1].data["response"]
        asked = {"model": "c:m", "input": "Three", "conversation": named, "background": True}
        third = await finished(api, (await api.post(RESPONSES, asked)).json["id"])
    for response in (first, second, third):
        assert response["conversation"] == {"id": conversation}
        assert (await api.get(f"{RESPONSES}/{response['id']}")).json == response
    assert [len(request["messages"]) for request in provider.requests] == [2, 4, 6]
    assert [m["content"] for m in provider.requests[2]["messages"]] == ["Be kind.", "One", "A", "Two", "B", "Three"]
    assert said(await items_of(api, conversation)) == ["Be kind.", "One", "A", "Two", "B", "Three", "C"]
    assert "conversation" not in provider.requests[0]


async def test_a_response_that_failed_adds_nothing(api: Client, settings: Any) -> None:
    conversation = await opened(api)
    refusal = Reply(400, [body({"error": {"message": "no", "type": "invalid_request_error"}})])
    async with scripted(settings, refusal):
        asked = {"model": "c:m", "input": "One", "conversation": conversation, "background": True}
        assert (await finished(api, (await api.post(RESPONSES, asked)).json["id"]))["status"] == "failed"
    assert await items_of(api, conversation) == []


async def test_a_response_of_a_conversation_is_continued_with_what_it_had_read(api: Client, settings: Any) -> None:
    conversation = await opened(api, items=[{"role": "user", "content": "Zero"}])
    async with scripted(settings, whole("A"), whole("B"), whole("C")) as provider:
        first = (await api.post(RESPONSES, {"model": "c:m", "input": "One", "conversation": conversation})).json
        await api.post(RESPONSES, {"model": "c:m", "input": "Two", "conversation": conversation})
        asked = {"model": "c:m", "input": "Else", "previous_response_id": first["id"]}
        assert (await api.post(RESPONSES, asked)).status == 200
        await api.delete(f"{URL}/{conversation}")
        gone = await api.post(RESPONSES, asked)
    assert [m["content"] for m in provider.requests[2]["messages"]] == ["Zero", "One", "A", "Else"]
    assert (gone.status, gone.json["error"]["code"]) == (400, "previous_response_not_found")


async def test_a_conversation_that_cannot_be_used_is_refused(
    api: Client, gateway: GatewayHarness, stranger: Caller, settings: Any
) -> None:
    conversation = await opened(api)
    asked = {"model": "c:m", "input": "One"}
    refusals: list[tuple[Json, int, str]] = [
        ({"conversation": "conv_none"}, 404, "conversation"),
        ({"conversation": 7}, 400, "conversation"),
        ({"conversation": {}}, 400, "conversation"),
        ({"conversation": conversation, "previous_response_id": "resp_1"}, 400, "previous_response_id"),
        ({"conversation": conversation, "store": False}, 400, "store"),
    ]
    async with scripted(settings, whole("A")) as provider:
        for fields, status, param in refusals:
            refused = await api.post(RESPONSES, {**asked, **fields})
            assert (refused.status, refused.json["error"]["param"]) == (status, param), fields
        rival = gateway.client(stranger)
        theirs = await rival.post(RESPONSES, {**asked, "conversation": conversation})
    assert (theirs.status, theirs.json["error"]["code"]) == (404, "conversation_not_found")
    for method, path in (("GET", ""), ("POST", ""), ("DELETE", ""), ("GET", "/items"), ("POST", "/items")):
        payload: Json = {"metadata": {}, "items": []}
        refused = await rival.ask(method, f"{URL}/{conversation}{path}", payload)
        assert refused.json["error"]["code"] == "conversation_not_found", (method, path)
    assert provider.requests == []
    assert await Conversation.objects.acount() == 1


async def test_a_deleted_conversation_leaves_no_item(api: Client, settings: Any) -> None:
    conversation = await opened(api, items=[{"role": "user", "content": "Zero"}])
    await api.delete(f"{URL}/{conversation}")
    assert await ConversationItem.objects.acount() == 0
