"""OpenAI's own client uses the gateway's MCP servers, compaction and truncation, over a provider that speaks only
chat."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.agents.conftest import Upstream
from tests.faces.responses.test_stored_openai_client import until_ended


def mcp(label: str, **more: Any) -> Any:
    return [{"type": "mcp", "server_label": label, "require_approval": "never", **more}]


def test_a_tool_is_listed_and_called(openai_client: openai.OpenAI, plain: Upstream, echo: str) -> None:
    response = openai_client.responses.create(model="plain:hosted", input="Go.", tools=mcp(echo))
    listing, call, message = response.output
    assert listing.type == "mcp_list_tools"
    assert [one.name for one in listing.tools] == ["echo"]
    assert call.type == "mcp_call"
    assert (call.server_label, call.output, call.status) == (echo, "echoed 0", "completed")
    assert message.type == "message"
    assert response.output_text == "Tools said: echoed 0"
    assert openai_client.responses.retrieve(response.id) == response


@pytest.mark.parametrize("background", [False, True])
def test_the_clients_own_accumulation_of_the_stream_is_the_response(
    openai_client: openai.OpenAI, plain: Upstream, echo: str, background: bool
) -> None:
    with openai_client.responses.stream(
        model="plain:hosted", input="Go.", tools=mcp(echo), background=background
    ) as stream:
        events = list(stream)
        final = stream.get_final_response()
    kinds = {event.type for event in events}
    assert {
        "response.mcp_list_tools.completed",
        "response.mcp_call.completed",
        "response.mcp_call_arguments.done",
    } <= kinds
    assert [event.sequence_number for event in events if hasattr(event, "sequence_number")][-1] > 0
    assert final.output_text == "Tools said: echoed 0"
    assert [item.type for item in final.output] == ["mcp_list_tools", "mcp_call", "message"]


def test_a_call_is_approved(openai_client: openai.OpenAI, plain: Upstream, echo: str) -> None:
    tools = mcp(echo, require_approval="always")
    first = openai_client.responses.create(model="plain:hosted", input="Go.", tools=tools)
    request = first.output[-1]
    assert request.type == "mcp_approval_request"
    answer: Any = [{"type": "mcp_approval_response", "approval_request_id": request.id, "approve": True}]
    queued = openai_client.responses.create(
        model="plain:hosted", input=answer, tools=tools, previous_response_id=first.id, background=True
    )
    second = until_ended(openai_client, queued.id)
    assert [item.type for item in second.output] == ["mcp_call", "message"]
    assert (second.output[0].approval_request_id, second.output_text) == (request.id, "Tools said: echoed 0")


def test_what_is_not_served_is_a_bad_request(openai_client: openai.OpenAI, plain: Upstream) -> None:
    tools: Any = [{"type": "mcp", "server_label": "mail", "connector_id": "connector_gmail"}]
    with pytest.raises(openai.BadRequestError) as refusal:
        openai_client.responses.create(model="plain:hello", input="Hi", tools=tools)
    assert refusal.value.param == "tools[0].connector_id"


def test_a_long_conversation_is_compacted_on_its_way(openai_client: openai.OpenAI, plain: Upstream) -> None:
    long = "words " * 1000
    first = openai_client.responses.create(model="plain:hello", input=long)
    second = openai_client.responses.create(
        model="plain:hello",
        input="And now?",
        previous_response_id=first.id,
        context_management=[{"type": "compaction", "compact_threshold": 1000}],
        truncation="auto",
        max_tool_calls=3,
        include=["reasoning.encrypted_content"],
        metadata={"topic": "words"},
        prompt_cache_key="words",
    )
    assert [item.type for item in second.output] == ["compaction", "message"]
    assert (second.truncation, second.max_tool_calls, second.metadata) == ("auto", 3, {"topic": "words"})
    assert second.prompt_cache_key == "words"
    third = openai_client.responses.create(model="plain:hello", input="Bye", previous_response_id=second.id)
    said = plain.requests()[-1]["messages"]
    assert [message["role"] for message in said] == ["system", "user", "assistant", "user"]
    assert long not in str(said)
    assert third.output_text == "Hello, world."
