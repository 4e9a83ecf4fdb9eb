"""The tokens of an input with what it continues."""

from __future__ import annotations

from typing import Any

import pytest

from tests.faces.inference.scripted import scripted
from tests.gateway_harness import Client
from tests.responses.conftest import URL, Json, whole

pytestmark = pytest.mark.django_db(transaction=True)

COUNT = f"{URL}/input_tokens"


async def count(api: Client, **fields: Any) -> int:
    answer = await api.post(COUNT, fields)
    assert (answer.status, answer.json["object"]) == (200, "response.input_tokens"), answer.body
    assert answer.headers["x-gateway-estimated"] == "true"
    return int(answer.json["input_tokens"])


async def test_an_input_counts_with_what_it_continues(api: Client, settings: Any) -> None:
    one = await count(api, input="One two three four five six.")
    assert one > 5
    tool = {"type": "function", "name": "look", "parameters": {"type": "object"}}
    assert await count(api, input="One two three four five six.", tools=[tool], instructions="Be kind.") > one
    image = {"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}
    assert await count(api, input=[image]) > 1000
    conversation = (await api.post("/v1/conversations", {"items": [{"role": "user", "content": "x" * 3600}]})).json
    async with scripted(settings, whole("y" * 3600)) as provider:
        asked = {"model": "c:m", "input": "Hi", "conversation": conversation["id"]}
        response = (await api.post(URL, asked)).json
        assert await count(api, model="c:m", input="Hi", conversation=conversation) > 2000
        assert await count(api, input="Hi", previous_response_id=response["id"]) > 2000
    assert len(provider.requests) == 1


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"input": 7}, 400, "input"),
        ({"model": 7}, 400, "model"),
        ({"model": "nobody-serves-this"}, 404, "model"),
        ({"previous_response_id": "resp_1"}, 400, "previous_response_id"),
        ({"conversation": "conv_1"}, 404, "conversation"),
        ({"conversation": 7}, 400, "conversation"),
    ],
)
async def test_what_cannot_be_counted_is_refused(
    api: Client, settings: Any, fields: Json, status: int, param: str
) -> None:
    async with scripted(settings, whole("Hi")):
        refused = await api.post(COUNT, fields)
    assert (refused.status, refused.json["error"]["param"]) == (status, param)
