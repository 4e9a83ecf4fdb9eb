"""Features of the vendors' libraries in a session, which the model over the relay does on every wire."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai.messages import (
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.tools import ToolDefinition

from agents_app.engine import Attachment, Engine, Failed, Finished, HistoryMessage
from agents_app.events import MessageDelta, ThinkingDelta
from agents_app.failures import failure
from agents_app.provider_model.chat_body import ChatBody
from agents_app.provider_model.model import ProviderModel
from agents_app.provider_model.profiles import profile_of
from agents_app.provider_model.schemas import closed_schema
from agents_app.ready_model import ServedModel
from agents_app.registry import engine_get
from agents_app.request_spend import RequestSpending
from agents_app.spans import RequestSpans
from inference_app.catalogue.config import MODELS, Wire, parse
from inference_app.catalogue.resolution import Candidate
from inference_app.relay.attempt import AttemptFailed
from tests.agents.conftest import Upstream
from tests.agents.engine_contract import SCHEMA
from tests.agents.recording_leg import World, session_of
from tools_app.types import PlannedCall

pytestmark = pytest.mark.usefixtures("upstream")

ALL_WIRES = pytest.mark.parametrize("provider", ["scripted", "messages", "responses"])


@pytest.fixture
def engine() -> Engine:
    return engine_get("model")


def world_of(provider: str, model: str, prompt: str = "Hi", **session: Any) -> World:
    world = World(session_of(f"{provider}:{model}", **session))
    world.prompt(prompt)
    return world


async def run_to_answer(engine: Engine, world: World) -> str:
    outcome = await engine.run_leg(world.leg())
    assert isinstance(outcome, Finished), outcome
    return outcome.content


async def run_to_failure(engine: Engine, world: World) -> Failed:
    outcome = await engine.run_leg(world.leg())
    assert isinstance(outcome, Failed), outcome
    return outcome


def sent(upstream: Upstream) -> str:
    """Returns the conversation of the last request, as it was sent on the provider's wire."""
    last = upstream.requests()[-1]
    return json.dumps(last.get("__sent", last["messages"]))


@ALL_WIRES
async def test_signed_thinking_goes_back_to_the_provider_that_made_it(
    engine: Engine, upstream: Upstream, provider: str
) -> None:
    world = world_of(provider, "signed")
    assert "Tools said" in await run_to_answer(engine, world)
    assert "".join(event.delta for event in world.events_of(ThinkingDelta)) == "I think."
    assert sent(upstream).count("SIGNATURE") == 1
    assert sent(upstream).count("I think.") == 1
    world.prompt("And again")
    await run_to_answer(engine, world)
    assert sent(upstream).count("SIGNATURE") == 2


@pytest.mark.parametrize(
    ("first", "second"), [("messages", "scripted"), ("responses", "messages"), ("scripted", "responses")]
)
async def test_thinking_of_one_provider_is_not_sent_to_another(
    engine: Engine, upstream: Upstream, first: str, second: str
) -> None:
    world = world_of(first, "signed")
    await run_to_answer(engine, world)
    world.session = replace(world.session, model=f"{second}:hello")
    world.prompt("And now?")
    await run_to_answer(engine, world)
    assert "SIGNATURE" not in sent(upstream)
    assert "I think." not in sent(upstream)
    assert "Let me look." in sent(upstream)


@pytest.mark.parametrize(
    ("provider", "part"),
    [
        ("messages", ThinkingPart("I thought.", signature="OLD", provider_name="anthropic")),
        ("messages", ThinkingPart("", id="redacted_thinking", signature="OLD", provider_name="anthropic")),
        ("responses", ThinkingPart("I thought.", id="rs_1", signature="OLD", provider_name="responses")),
    ],
)
async def test_thinking_that_the_vendors_libraries_stored_is_still_sent(
    engine: Engine, upstream: Upstream, provider: str, part: ThinkingPart
) -> None:
    world = world_of(provider, "hello")
    said = ModelResponse(parts=[part, ToolCallPart("echo", "{}", tool_call_id="call_1")])
    world.history[:0] = [
        HistoryMessage("u", "user", "Earlier"),
        HistoryMessage(
            "a",
            "assistant",
            "",
            payload=ModelMessagesTypeAdapter.dump_json([said]),
            calls=(PlannedCall("call_1", "echo", {}),),
        ),
        HistoryMessage("t", "tool_result", "done", call_id="call_1"),
    ]
    await run_to_answer(engine, world)
    assert sent(upstream).count("OLD") == 1


async def test_thinking_in_tags_is_streamed_apart_and_goes_back_in_them(engine: Engine, upstream: Upstream) -> None:
    world = world_of("scripted", "tagged")
    assert await run_to_answer(engine, world) == "Then I answer."
    assert "".join(event.delta for event in world.events_of(ThinkingDelta)) == "I think."
    world.prompt("And again")
    await run_to_answer(engine, world)
    assert upstream.requests()[-1]["messages"][1]["content"] == "<think>\nI think.\n</think>\n\nThen I answer."


async def test_a_field_of_reasoning_goes_back_under_its_own_name(engine: Engine, upstream: Upstream) -> None:
    world = world_of("scripted", "reasoning")
    await run_to_answer(engine, world)
    world.prompt("And again")
    await run_to_answer(engine, world)
    assert upstream.requests()[-1]["messages"][1] == {
        "role": "assistant",
        "reasoning_content": "First, I think.",
        "content": "Then I answer.",
    }


async def test_calls_whose_arguments_come_in_turns_are_told_apart(engine: Engine) -> None:
    world = world_of("scripted", "interleaved")
    world.tools["echo"] = lambda args: f"<{args['x']}>"
    assert await run_to_answer(engine, world) == "<0> | <1>"


@pytest.mark.parametrize(
    ("provider", "reason", "sentence"),
    [
        ("scripted", "content_filter", "content filter"),
        ("messages", "refusal", "content filter"),
        ("scripted", "length", "limit of tokens"),
        ("messages", "max_tokens", "limit of tokens"),
    ],
)
async def test_a_response_without_an_answer_fails_for_its_reason(
    engine: Engine, provider: str, reason: str, sentence: str
) -> None:
    # An answer that is no JSON is none.
    failed = await run_to_failure(engine, world_of(provider, f"finish:{reason}", response_format=SCHEMA))
    assert failed.code == "unprocessable"
    assert sentence in failed.reason


async def test_a_refusal_is_no_answer_and_its_words_are_not_shown(engine: Engine) -> None:
    world = world_of("scripted", "refusal")
    failed = await run_to_failure(engine, world)
    assert "content filter" in failed.reason
    assert world.events_of(MessageDelta) == []
    assert b"I will not." in world.completions[0].payload


@ALL_WIRES
async def test_images_reach_every_wire_in_its_own_form(engine: Engine, upstream: Upstream, provider: str) -> None:
    world = world_of(provider, "hello")
    world.history.clear()
    world.prompt(
        "Look",
        (
            Attachment("image", "image/png", data=b"\x89PNG"),
            Attachment("image", "image/png", url="https://example.com/a.png"),
            Attachment("file", "application/pdf", name="a.pdf", data=b"%PDF"),
            Attachment("file", "text/plain", name="a.txt", data=b"Words of a file"),
        ),
    )
    await run_to_answer(engine, world)
    conversation = sent(upstream)
    assert "iVBORw==" in conversation
    assert "https://example.com/a.png" in conversation
    assert "JVBERg==" in conversation
    assert "Words of a file" in conversation


@pytest.mark.parametrize("provider", ["messages", "responses"])
async def test_a_document_is_named_by_its_address_where_the_wire_takes_one(
    engine: Engine, upstream: Upstream, provider: str
) -> None:
    world = world_of(provider, "hello")
    world.history.clear()
    world.prompt("Read", (Attachment("file", "application/pdf", url="https://example.com/a.pdf"),))
    await run_to_answer(engine, world)
    assert "https://example.com/a.pdf" in sent(upstream)


async def test_what_a_wire_cannot_express_ends_the_run_with_a_sentence(engine: Engine, upstream: Upstream) -> None:
    world = world_of("messages", "hello")
    world.history.clear()
    world.prompt("Listen", (Attachment("audio", "audio/wav", data=b"RIFF"),))
    assert (await run_to_failure(engine, world)).code == "unprocessable"
    assert upstream.requests() == []
    assert (world.requests, world.unfenced) == (0, [])


async def test_settings_reach_anthropic_under_its_own_names(engine: Engine) -> None:
    options = {"temperature": 0.5, "top_k": 3, "stop": ["END"], "seed": 7, "parallel_tool_calls": False}
    world = world_of("messages", "settings", options=options, max_tokens=55)
    fields = json.loads(await run_to_answer(engine, world))
    assert (fields["temperature"], fields["top_k"], fields["stop_sequences"]) == (0.5, 3, ["END"])
    assert fields["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True}
    assert fields["max_tokens"] == 55
    assert "seed" not in fields


async def test_settings_reach_the_responses_api_under_its_own_names(engine: Engine) -> None:
    options = {"temperature": 0.5, "top_k": 3, "stop": ["END"], "reasoning_effort": "low", "parallel_tool_calls": True}
    world = world_of("responses", "settings", options=options, max_tokens=55)
    fields = json.loads(await run_to_answer(engine, world))
    assert (fields["temperature"], fields["max_output_tokens"]) == (0.5, 55)
    assert (fields["reasoning"], fields["parallel_tool_calls"]) == ({"effort": "low"}, True)
    assert not {"stop", "top_k"} & fields.keys()


@pytest.mark.parametrize(
    ("model", "effort", "fields"),
    [
        ("claude-3-7-sonnet-latest", "low", {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ("claude-opus-4-6", "high", {"thinking": {"type": "adaptive"}, "reasoning_effort": "high"}),
        ("claude-3-7-sonnet-latest", False, {}),
        ("claude-3-7-sonnet-latest", None, {}),
    ],
)
def test_effort_is_what_a_model_of_anthropic_takes(model: str, effort: Any, fields: dict[str, Any]) -> None:
    body = build("anthropic", model, params=ModelRequestParameters(thinking=effort))
    assert {name: body[name] for name in ("thinking", "reasoning_effort") if name in body} == fields


@pytest.mark.parametrize(
    ("model", "given", "kept"),
    [
        ("o3", {}, False),
        ("gpt-4o", {}, True),
        ("gpt-5.1", {}, True),
        ("gpt-5.1", {"openai_reasoning_effort": "high"}, False),
    ],
)
def test_sampling_is_left_out_where_a_reasoning_model_refuses_it(model: str, given: dict[str, Any], kept: bool) -> None:
    body = build("openai", model, settings={"temperature": 0.5, **given})
    assert ("temperature" in body) is kept


def test_a_strict_schema_is_said_to_be_one_only_where_it_is_and_can_be() -> None:
    strict = ToolDefinition(
        name="a",
        parameters_json_schema={
            "type": "object",
            "properties": {"x": {"type": "string"}},
            "required": ["x"],
            "additionalProperties": False,
        },
        strict=True,
    )
    params = ModelRequestParameters(function_tools=[strict])
    assert build("openai", "gpt-4o", params=params)["tools"][0]["function"]["strict"] is True
    assert "strict" not in build("ollama", "llama3.2", params=params)["tools"][0]["function"]


def test_deepseek_gets_its_reasoning_back_with_every_call_once_the_model_has_thought() -> None:
    thought = ThinkingPart("Hm.", id="reasoning_content", provider_name="deepseek")
    messages: list[ModelMessage] = [
        ModelRequest(parts=[UserPromptPart("Hi")]),
        *called("one"),
        ModelResponse(parts=[thought, ToolCallPart("echo", "{}", tool_call_id="two")]),
        ModelRequest(parts=[ToolReturnPart("echo", "done", "two")]),
        *called("three"),
    ]
    said = [m for m in build("deepseek", "deepseek-chat", messages)["messages"] if m["role"] == "assistant"]
    assert [message.get("reasoning_content") for message in said] == [None, "Hm.", ""]


def called(call_id: str) -> list[ModelMessage]:
    return [
        ModelResponse(parts=[TextPart("Let me look."), ToolCallPart("echo", "{}", tool_call_id=call_id)]),
        ModelRequest(parts=[ToolReturnPart("echo", "done", call_id)]),
    ]


def test_a_signature_of_gemini_goes_back_with_its_call() -> None:
    extra = {"google": {"thought_signature": "SIGNATURE"}}
    call = ToolCallPart(
        "echo", "{}", tool_call_id="one", provider_name="gemini", provider_details={"extra_content": extra}
    )
    messages: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart("Hi")]), ModelResponse(parts=[call])]
    assert build("gemini", "gemini-3-pro", messages)["messages"][1]["tool_calls"][0]["extra_content"] == extra
    assert "extra_content" not in build("openai", "gpt-4o", messages)["messages"][1]["tool_calls"][0]


def test_instructions_are_one_message_where_a_template_takes_no_more() -> None:
    messages: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart("Hi")])]
    instructions = ["Be brief.", "Answer in JSON."]
    several = build("openai", "gpt-4o", messages, instructions=instructions)["messages"]
    one = build("vllm", "qwen3", messages, instructions=instructions)["messages"]
    assert [message["content"] for message in several] == [*instructions, "Hi"]
    assert [message["content"] for message in one] == ["Be brief.\n\nAnswer in JSON.", "Hi"]


def test_what_anthropics_schemas_do_not_take_becomes_part_of_the_description() -> None:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "minLength": 3, "description": "A name"},
            "when": {"type": "string", "format": "date"},
            "many": {"type": "array", "items": {"anyOf": [{"type": "integer", "minimum": 1}, {"enum": [1, 2]}]}},
        },
        "required": ["name"],
    }
    assert closed_schema(schema) == {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "A name\n\n{minLength: 3}"},
            "when": {"type": "string", "format": "date"},
            "many": {
                "type": "array",
                "items": {"anyOf": [{"type": "integer", "description": "{minimum: 1}"}, {"enum": [1, 2]}]},
            },
        },
        "additionalProperties": False,
        "required": ["name"],
    }
    with pytest.raises(ValueError, match="type"):
        closed_schema({"properties": {}})


@pytest.mark.parametrize(
    "provider", ["openai", "anthropic", "deepseek", "openrouter", "ollama", "vllm", "together", "azure", "groq"]
)
def test_every_shipped_provider_can_be_asked_for_any_model_name(provider: str) -> None:
    for name in ("some-model", "vendor/some-model", "gpt-4o", "", "🙂"):
        assert build(provider, name)["model"] == name


async def test_deepseek_is_asked_for_json_in_the_way_it_knows() -> None:
    profile = profile_of(Candidate("deepseek", "deepseek-chat"), "openai-chat")
    assert profile.get("supports_json_schema_output", False) is False
    params = ModelRequestParameters(output_mode="prompted")
    assert build("deepseek", "deepseek-chat", params=params)["response_format"] == {"type": "json_object"}


@pytest.fixture
def _capabilities(upstream: Upstream, settings: Any, capabilities: str) -> None:
    file = Path(settings.GATEWAY_CONFIG)
    entry = f"        - {{id: structured, capabilities: {capabilities}}}\n"
    file.write_text(file.read_text().replace("        - {id: blind", f"{entry}        - {{id: blind"))
    MODELS.forget()


@pytest.mark.usefixtures("_capabilities")
@pytest.mark.parametrize(("capabilities", "kind"), [("[text, json_schema]", "json_schema"), ("[text]", "json_object")])
async def test_configured_capabilities_decide_how_an_answer_is_shaped(
    engine: Engine, upstream: Upstream, kind: str
) -> None:
    world = world_of("scripted", "structured", response_format=SCHEMA)
    assert await run_to_answer(engine, world) == '{"city":"Rome"}'
    form = upstream.requests()[0].get("response_format", {}).get("type", "json_object")
    assert form == kind


async def test_a_provider_that_left_the_configuration_meanwhile_knows_no_model() -> None:
    asked = ProviderModel(Candidate("gone", "m"), parse(None).providers["vllm"], 1, others=False)
    leg = World(session_of("gone:m")).leg()
    served = ServedModel("gone:m", asked, lambda usage: None, observe=asked.observe)
    with RequestSpending(leg, served, [], None) as spending, RequestSpans(leg, served, []) as spans:
        asked.observe(spending, spans)
        with pytest.raises(AttemptFailed) as raised:
            await asked.request([ModelRequest.user_text_prompt("Hi")], None, ModelRequestParameters())
    assert failure(raised.value, "gone:m").code == "unprocessable"
    assert leg.world.requests == 0


def build(
    provider: str,
    model: str,
    messages: list[ModelMessage] | None = None,
    *,
    settings: dict[str, Any] | None = None,
    params: ModelRequestParameters | None = None,
    instructions: list[str] | None = None,
) -> dict[str, Any]:
    """Builds the chat body for a model of a shipped provider."""
    entry = parse(None).providers[provider]
    wire: Wire = entry.wire
    candidate = Candidate(provider, model)
    asked = ProviderModel(candidate, entry, 1, others=False)
    body = ChatBody(asked, profile_of(candidate, wire), provider, entry, wire)
    hello: list[ModelMessage] = [ModelRequest(parts=[UserPromptPart("Hi")])]
    return body.build(messages or hello, settings or {}, params or ModelRequestParameters(), instructions or [])[0]
