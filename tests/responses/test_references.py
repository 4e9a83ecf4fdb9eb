"""Requests that name items of earlier responses by their ids."""

from __future__ import annotations

from typing import Any

import pytest

from responses_app.models import ResponseItem
from tests.conftest import Caller
from tests.faces.inference.scripted import WHOLE, Reply, body, scripted
from tests.gateway_harness import Client, GatewayHarness
from tests.responses.conftest import URL, finished, streamed, whole

pytestmark = pytest.mark.django_db(transaction=True)


def reference(item_id: str) -> dict[str, str]:
    return {"type": "item_reference", "id": item_id}


@pytest.mark.parametrize("background", [False, True])
async def test_an_item_is_put_in_place_of_the_reference_to_it(api: Client, settings: Any, background: bool) -> None:
    first_reply = streamed("Hello.") if background else whole("Hello.")
    async with scripted(settings, first_reply, streamed("B") if background else whole("B"), whole("C")) as provider:
        asked = {"model": "c:m", "input": "One", "background": background}
        response = await finished(api, (await api.post(URL, asked)).json["id"])
        given = [
            {"role": "user", "content": "One"},
            reference(response["output"][0]["id"]),
            {"role": "user", "content": "2"},
        ]
        second = await finished(api, (await api.post(URL, {**asked, "input": given})).json["id"])
        await api.post(URL, {"model": "c:m", "input": "Three", "previous_response_id": second["id"]})
    assert [m["content"] for m in provider.requests[1]["messages"]] == ["One", "Hello.", "2"]
    assert [m["content"] for m in provider.requests[2]["messages"]] == ["One", "Hello.", "2", "B", "Three"]


async def test_a_reference_to_nothing_goes_to_a_provider_of_the_api_and_to_no_other(api: Client, settings: Any) -> None:
    given = [reference("msg_elsewhere"), {"role": "user", "content": "One"}]
    async with scripted(settings, Reply(pieces=[body(WHOLE["responses"])])) as provider:
        assert (await api.post(URL, {"model": "r:m", "input": given})).status == 200
        refused = await api.post(URL, {"model": "c:m", "input": given})
    assert provider.requests[0]["input"][0] == reference("msg_elsewhere")
    assert (refused.status, refused.json["error"]["param"]) == (400, "input[0]")


async def test_another_tenants_item_is_not_found(
    api: Client, gateway: GatewayHarness, stranger: Caller, settings: Any
) -> None:
    async with scripted(settings, whole("Secret.")) as provider:
        response = (await api.post(URL, {"model": "c:m", "input": "One"})).json
        given = [reference(response["output"][0]["id"])]
        refused = await gateway.client(stranger).post(URL, {"model": "c:m", "input": given})
    assert (refused.status, len(provider.requests)) == (400, 1)


async def test_deleting_a_response_forgets_its_items(api: Client, settings: Any) -> None:
    async with scripted(settings, whole("Hello.")):
        response = (await api.post(URL, {"model": "c:m", "input": "One"})).json
        assert await ResponseItem.objects.acount() == 1
        await api.delete(f"{URL}/{response['id']}")
    assert await ResponseItem.objects.acount() == 0
