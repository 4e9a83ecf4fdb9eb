"""Values that are legal in the client's dialect and refused by the target's are adapted, or refused by their field."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from core_app.errors import BadRequest
from inference_app.catalogue.config import ModelsConfig, Wire, parse
from inference_app.catalogue.limits import CallIdForm, Limits, target_limits
from inference_app.conversion import ClientDialect, RequestConverter
from inference_app.relay.envelope import Envelope
from inference_app.relay.passed_fit import fit_passed
from inference_app.relay.reasoning_filter import without_foreign_reasoning
from tests.conversion.building import Json, converted

CONFIG: ModelsConfig = parse({})


def limits_of(provider: str, wire: Wire, model: str) -> Limits:
    return target_limits(provider, CONFIG.providers[provider], wire, model)


def sent_to(provider: str, wire: Wire, model: str, client: ClientDialect, body: Json) -> Json:
    return RequestConverter(client, wire).convert_request({**body, "model": model}, limits_of(provider, wire, model))


def asked(*messages: Any, **fields: Any) -> Json:
    """Returns a chat request with these messages, as (role, content)."""
    return {"model": "m", "messages": [{"role": role, "content": content} for role, content in messages], **fields}


@pytest.mark.parametrize(("client", "field"), [("messages", "max_tokens"), ("chat", "max_tokens")])
def test_a_small_limit_becomes_the_least_of_the_responses_api(client: ClientDialect, field: str) -> None:
    for given, sent in ((1, 16), (16, 16), (17, 17)):
        body = converted(client, asked(("user", "x"), **{field: given}), "openai-responses")
        assert body["max_output_tokens"] == sent


@pytest.mark.parametrize("blank", ["", " ", "\n", "\t \n", "\u00a0"])
def test_blank_texts_do_not_reach_anthropic(blank: str) -> None:
    body = converted("chat", asked(("user", "a"), ("assistant", blank), ("user", "b")), "anthropic")
    assert body["messages"] == [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]
    parts = [{"type": "text", "text": blank}, {"type": "text", "text": "a"}]
    body = converted("chat", asked(("system", blank), ("user", parts)), "anthropic")
    assert body["messages"][0]["content"] in ("a", [{"type": "text", "text": "a"}])
    assert "system" not in body


def test_a_prefill_loses_the_space_at_its_end() -> None:
    body = converted("chat", asked(("user", "a"), ("assistant", "So: \n")), "anthropic")
    assert body["messages"][-1]["content"] == "So:"
    marked = sent_to(
        "mistral", "openai-chat", "m", "messages", asked(("user", "a"), ("assistant", "So:"), max_tokens=9)
    )
    assert marked["messages"][-1] == {"role": "assistant", "content": "So:", "prefix": True}


@pytest.mark.parametrize("stop", ["\n", ["END", " "]])
def test_a_blank_stop_is_refused_by_its_field(stop: Any) -> None:
    with pytest.raises(BadRequest) as refusal:
        converted("chat", asked(("user", "x"), stop=stop), "anthropic")
    assert refusal.value.field == "stop"


def test_more_stops_than_the_provider_takes_are_refused_by_the_clients_field() -> None:
    body = asked(("user", "x"), max_tokens=9, stop_sequences=["a", "b", "c", "d", "e"])
    with pytest.raises(BadRequest) as refusal:
        sent_to("openai", "openai-chat", "gpt-4o", "messages", body)
    assert refusal.value.field == "stop_sequences"


WORDS = base64.b64encode("wörds".encode()).decode()
PNG, JPEG, UNKNOWN = "iVBORw0KGgo=", "/9j/4AAQ", "QUJD"


@pytest.mark.parametrize(
    ("url", "kind", "data"),
    [
        (f"data:image/jpg;base64,{UNKNOWN}", "image/jpeg", UNKNOWN),
        (f"data:IMAGE/PNG;base64,{UNKNOWN}", "image/png", UNKNOWN),
        (f"data:image/png;name=a.png;charset=utf-8;base64,{UNKNOWN}", "image/png", UNKNOWN),
        (f"data:image/png;base64,{JPEG}", "image/jpeg", JPEG),
        (f"data:;base64,{PNG}", "image/png", PNG),
        (f"data:image/png;base64,{PNG[:4]}\n{PNG[4:]}", "image/png", PNG),
        (f"DATA:image/png;BASE64,{PNG}", "image/png", PNG),
    ],
)
def test_an_image_has_its_true_type_on_every_wire(url: str, kind: str, data: str) -> None:
    body = asked(("user", [{"type": "image_url", "image_url": {"url": url}}]))
    source = converted("chat", body, "anthropic")["messages"][0]["content"][0]["source"]
    assert source == {"type": "base64", "media_type": kind, "data": data}
    part = converted("chat", body, "openai-responses")["input"][0]["content"][0]
    assert part["image_url"] == f"data:{kind};base64,{data}"
    items = [{"role": "user", "content": [{"type": "input_image", "image_url": url, "detail": "auto"}]}]
    part = converted("responses", {"model": "m", "input": items})["messages"][0]["content"][0]
    assert part["image_url"]["url"] == f"data:{kind};base64,{data}"


@pytest.mark.parametrize("kind", ["image/svg+xml", "image/bmp", "image/tiff"])
def test_an_image_of_another_type_is_refused(kind: str) -> None:
    body = asked(("user", [{"type": "image_url", "image_url": {"url": f"data:{kind};base64,QUJD"}}]))
    with pytest.raises(BadRequest, match="messages"):
        converted("chat", body, "anthropic")


@pytest.mark.parametrize(
    "url",
    [
        f"data:text/plain;base64,{WORDS}",
        f"data:text/markdown;charset=utf-8;base64,{WORDS}",
        "data:text/csv,w%C3%B6rds",
        f"data:application/json;base64,{WORDS}",
    ],
)
def test_a_text_document_is_text_for_anthropic(url: str) -> None:
    body = asked(("user", [{"type": "file", "file": {"filename": "a", "file_data": url}}]))
    block = converted("chat", body, "anthropic")["messages"][0]["content"][0]
    assert block == {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "wörds"},
        "title": "a",
    }


def conversation(call_id: str) -> Json:
    use = {"type": "tool_use", "id": call_id, "name": "f", "input": {}}
    result = {"type": "tool_result", "tool_use_id": call_id, "content": "y"}
    return asked(("user", "x"), ("assistant", [use]), ("user", [result]), max_tokens=9)


@pytest.mark.parametrize(
    ("provider", "model", "given", "form"),
    [
        ("mistral", "mistral-small", "toolu_01A", CallIdForm(length=9, exact=True, alphanumeric=True)),
        ("mistral", "mistral-small", "c" * 70, CallIdForm(length=9, exact=True, alphanumeric=True)),
        ("openai", "gpt-4o", "i" * 65, CallIdForm(length=40)),
        ("azure", "gpt-4o", "i" * 41, CallIdForm(length=40)),
    ],
)
def test_call_ids_have_the_form_of_the_target(provider: str, model: str, given: str, form: CallIdForm) -> None:
    sent = sent_to(provider, "openai-chat", model, "messages", conversation(given))["messages"]
    call_id = sent[1]["tool_calls"][0]["id"]
    assert form.accepts(call_id)
    assert sent[2]["tool_call_id"] == call_id
    again = sent_to(provider, "openai-chat", model, "messages", conversation(given))["messages"]
    assert again == sent


def test_an_id_of_the_form_stays() -> None:
    sent = sent_to("mistral", "openai-chat", "m", "messages", conversation("aB3dE6gH9"))["messages"]
    assert sent[1]["tool_calls"][0]["id"] == "aB3dE6gH9"
    assert converted("messages", conversation("i" * 64), "openai-responses")["input"][1]["call_id"] == "i" * 64
    assert len(converted("messages", conversation("i" * 65), "openai-responses")["input"][1]["call_id"]) <= 64


@pytest.mark.parametrize(
    ("model", "given", "left"),
    [
        ("claude-sonnet-4-5", {"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2}),
        ("claude-opus-4-1-20250805", {"temperature": 1, "top_p": 0.9}, {"top_p": 0.9}),
        ("claude-haiku-4-5", {"top_p": 0.9}, {"top_p": 0.9}),
        ("claude-sonnet-4-20250514", {"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2, "top_p": 0.9}),
        ("claude-3-5-haiku-latest", {"temperature": 1.5, "top_p": 0.9}, {"temperature": 1, "top_p": 0.9}),
    ],
)
def test_newer_claudes_get_one_of_temperature_and_top_p(model: str, given: Json, left: Json) -> None:
    sent = sent_to("anthropic", "anthropic", model, "chat", asked(("user", "x"), **given))
    assert {name: sent[name] for name in ("temperature", "top_p") if name in sent} == left


def test_an_operator_adds_limits_of_a_provider_and_of_a_model() -> None:
    entry = {
        "base_url": "http://127.0.0.1:9/v1",
        "api_key": "none",
        "refuses": ["seed"],
        "limits": {"maximum": {"temperature": 0.7}, "stops": 1, "call_id": {"length": 12, "exact": True}},
        "models": [{"id": "small", "max_output_tokens": 100, "limits": {"minimum": {"max_tokens": 50}}}],
    }
    provider = parse({"providers": {"own": entry}}).providers["own"]
    limits = target_limits("own", provider, "openai-chat", "small")
    made = RequestConverter("messages", "openai-chat")
    body = {**conversation("toolu_01A"), "max_tokens": 500, "temperature": 1, "seed": 5}
    sent = made.convert_request(body, limits)
    assert (sent["max_tokens"], sent["temperature"], "seed" in sent) == (100, 0.7, False)
    assert len(sent["messages"][1]["tool_calls"][0]["id"]) == 12
    assert (b"x-gateway-dropped", b"seed") in made.headers()
    passed = fit_passed(Envelope.open(json.dumps(body).encode()), "anthropic", limits, provider.limits)
    assert json.loads(passed.raw)["temperature"] == 0.7


def test_a_misspelled_limit_is_an_error_of_the_configuration() -> None:
    with pytest.raises(ValueError, match="stop"):
        parse({"providers": {"openai": {"limits": {"stop": 4}}}})


def test_ids_of_a_passed_history_get_the_form_and_other_bytes_stay() -> None:
    odd = b'{"role":"user","content":"\\"id\\":\\"toolu_01A\\"", "n" : 1.50}'
    function = b'"function":{"arguments":"{\\"id\\":\\"toolu_01A\\"}"}'
    call = b'{"role":"assistant","tool_calls":[{"id" : "toolu_01A",%b}]}' % function
    raw = b'{"model":"m","messages":[%b,%b,{"role":"tool","tool_call_id":"toolu_01A"}],"x": 1e2}' % (odd, call)
    limits = limits_of("mistral", "openai-chat", "m")
    passed = fit_passed(Envelope.open(raw), "openai-chat", limits, None).raw
    fitted = json.loads(passed)["messages"][2]["tool_call_id"]
    assert passed == raw.replace(b'"toolu_01A"', b'"%b"' % fitted.encode())
    good = Envelope.open(passed)
    assert fit_passed(good, "openai-chat", limits, None) is good


def test_blank_blocks_and_foreign_citations_of_earlier_turns_do_not_pass_to_anthropic() -> None:
    page = {
        "type": "web_search_result_location",
        "url": "https://e/",
        "title": "",
        "cited_text": "",
        "encrypted_index": "",
    }
    blocks = [{"type": "text", "text": "\n"}, {"type": "text", "text": "a", "citations": [page]}]
    body = asked(("user", "x"), ("assistant", blocks), ("user", "y"), max_tokens=9)
    raw = json.dumps(body, separators=(",", ":")).encode()
    passed = json.loads(without_foreign_reasoning(Envelope.open(raw), "anthropic").raw)
    assert passed["messages"][1]["content"] == [{"type": "text", "text": "a", "citations": None}]


HEADER = "x-anthropic-billing-header: cc_version=2.1.36; cc_entrypoint=cli; cch=0a1b2;"


@pytest.mark.parametrize("wire", ["openai-chat", "openai-responses"])
@pytest.mark.parametrize(
    "system",
    [
        [{"type": "text", "text": HEADER}, {"type": "text", "text": "Be kind."}],
        f"{HEADER}\nBe kind.",
        f"{HEADER}\n{HEADER}\n\nBe kind.",
        [{"type": "text", "text": f"X-Anthropic-Other: 1\n{HEADER}\nBe kind."}],
    ],
)
def test_a_pseudo_header_does_not_begin_the_prompt_of_other_wires(system: Any, wire: Wire) -> None:
    body = converted("messages", {**asked(("user", "x"), max_tokens=20), "system": system}, wire)
    assert (body["instructions"] if wire == "openai-responses" else body["messages"][0]["content"]) == "Be kind."


TOOL = {"name": "f", "input_schema": {"type": "object"}}
SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def test_a_choice_of_a_dropped_tool_is_left_out() -> None:
    choice = {"type": "tool", "name": "web_search"}
    body = converted("messages", {**asked(("user", "x"), max_tokens=9), "tools": [SEARCH, TOOL], "tool_choice": choice})
    assert "tool_choice" not in body
    custom = {"type": "custom", "custom": {"name": "patch"}}
    function = {"type": "function", "function": {"name": "f"}}
    body = converted("chat", asked(("user", "x"), tools=[custom, function], tool_choice=custom), "anthropic")
    assert "tool_choice" not in body


def test_allowed_tools_of_a_chat_client_are_the_only_ones() -> None:
    tools = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
    allowed = {"mode": "required", "tools": [tools[1]]}
    choice = {"type": "allowed_tools", "allowed_tools": allowed}
    body = converted("chat", asked(("user", "x"), tools=tools, tool_choice=choice), "anthropic")
    assert [tool["name"] for tool in body["tools"]] == ["g"]
    assert body["tool_choice"] == {"type": "any"}


@pytest.mark.parametrize("wire", ["anthropic", "openai-responses"])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("functions", [{"name": "f"}]),
        ("function_call", "auto"),
        ("previous_response_id", "r"),
        ("modalities", ["audio"]),
    ],
)
def test_fields_that_change_the_meaning_are_refused(wire: Wire, field: str, value: Any) -> None:
    with pytest.raises(BadRequest) as refusal:
        converted("chat", asked(("user", "x"), **{field: value}), wire)
    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("wire", "fields", "named"),
    [
        ("openai-responses", {"n": 2, "stop": "END", "seed": 1}, b"n, stop, seed"),
        ("anthropic", {"n": 2, "stop": "END"}, b"n"),
        ("anthropic", {"n": 1, "stream": True, "stream_options": {"include_usage": True}, "presence_penalty": 0}, None),
    ],
)
def test_dropped_fields_are_named(wire: Wire, fields: Json, named: bytes | None) -> None:
    made = RequestConverter("chat", wire)
    made.convert_request(asked(("user", "x"), **fields))
    assert dict(made.headers()).get(b"x-gateway-dropped") == named
