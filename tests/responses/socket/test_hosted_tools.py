"""Hosted tools on the WebSocket: the responses that take several calls have the same items as over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway_harness import Client
from tests.responses.conftest import URL, streamed
from tests.responses.socket.conftest import Connect
from tests.responses.test_hosted import NAME, TOOL, calling, kinds, registered, wiki
from tests.tools.scripted_mcp import ScriptedMcp

__all__ = ["wiki"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("background", [False, True])
async def test_a_hosted_tool_is_called_on_a_socket(
    dial: Connect, api: Client, settings: Any, wiki: ScriptedMcp, background: bool
) -> None:
    async with registered(api, settings, wiki, calling((NAME, "{}")), streamed("Ann.")), dial() as socket:
        await socket.create("Who?", tools=[TOOL], background=background)
        events = await socket.to_end()
        response = events[-1]["response"]
        assert (response["status"], kinds(response)) == ("completed", ["mcp_list_tools", "mcp_call", "message"])
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert (await api.get(f"{URL}/{response['id']}")).json == response
