"""Compaction: a summary in place of a conversation, sealed for its tenant."""

from __future__ import annotations

from typing import Any

import pytest

from responses_app.models import StoredResponse
from tests.conftest import Caller
from tests.faces.inference.scripted import scripted
from tests.gateway_harness import Client, GatewayHarness
from tests.responses.conftest import URL, Json, finished, streamed, whole

pytestmark = pytest.mark.django_db(transaction=True)

COMPACT = f"{URL}/compact"
TALK: list[Json] = [
    {"role": "user", "content": "My name is Ann."},
    {"role": "assistant", "content": "Hello Ann."},
    {"role": "user", "content": "I like tea."},
]


async def compact(api: Client, settings: Any, **fields: Any) -> tuple[Json, Json]:
    """Returns the answer, and the request that the provider got."""
    async with scripted(settings, whole("Ann likes tea.")) as provider:
        answer = await api.post(COMPACT, {"model": "c:m", **fields})
    assert answer.status == 200, answer.body
    return answer.json, provider.requests[-1]


async def test_the_users_messages_and_a_sealed_summary_are_the_answer(api: Client, settings: Any) -> None:
    answer, asked = await compact(api, settings, input=TALK, instructions="Be kind.")
    assert (answer["object"], answer["usage"]["total_tokens"]) == ("response.compaction", 18)
    *messages, item = answer["output"]
    assert [message["content"][0]["text"] for message in messages] == ["My name is Ann.", "I like tea."]
    assert item["type"] == "compaction"
    assert "Ann" not in item["encrypted_content"]
    assert [message["role"] for message in asked["messages"]] == ["system", "user", "assistant", "user", "user"]
    assert "Be kind." in asked["messages"][0]["content"]
    assert await StoredResponse.objects.acount() == 0


@pytest.mark.parametrize("background", [False, True])
async def test_a_request_goes_on_from_the_summary_and_so_does_its_chain(
    api: Client, settings: Any, background: bool
) -> None:
    answer, _ = await compact(api, settings, input=TALK)
    given = [answer["output"][-1], {"role": "user", "content": "Who am I?"}]
    async with scripted(settings, streamed("Ann.") if background else whole("Ann."), whole("Yes.")) as provider:
        asked = {"model": "c:m", "input": given, "background": background}
        response = (await api.post(URL, asked)).json
        await finished(api, response["id"])
        await api.post(URL, {"model": "c:m", "input": "Sure?", "previous_response_id": response["id"]})
    for request in provider.requests:
        assert "Ann likes tea." in request["messages"][0]["content"]
    assert [message["role"] for message in provider.requests[1]["messages"]] == ["system", "user", "assistant", "user"]


async def test_a_summary_is_its_tenants_alone(
    api: Client, gateway: GatewayHarness, stranger: Caller, settings: Any
) -> None:
    answer, _ = await compact(api, settings, input=TALK)
    sealed = answer["output"][-1]
    forged = {**sealed, "encrypted_content": sealed["encrypted_content"][:-4] + "AAAA"}
    async with scripted(settings, whole("Hi")) as provider:
        for client, item in ((gateway.client(stranger), sealed), (api, forged)):
            refused = await client.post(URL, {"model": "c:m", "input": [item]})
            assert (refused.status, refused.json["error"]["param"]) == (400, "input")
    assert provider.requests == []


async def test_what_cannot_be_compacted_is_refused(api: Client, settings: Any) -> None:
    async with scripted(settings, whole(" ")):
        assert (await api.post(COMPACT, {"model": "c:m"})).json["error"]["param"] == "input"
        assert (await api.post(COMPACT, {"input": "x"})).json["error"]["param"] == "model"
        refused = await api.post(COMPACT, {"model": "c:m", "input": "x", "instructions": 7})
        assert refused.json["error"]["param"] == "instructions"
        assert (await api.post(COMPACT, {"model": "c:m", "input": "x"})).status == 502
