"""Hypothesis strategies for what a session may have stored, and the targets that it may go on with."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from pydantic_ai.messages import ModelResponse, ModelResponsePart, TextPart, ThinkingPart, ToolCallPart

from agents_app.conversation import clean_response, payload_of, tool_requests
from agents_app.engine import Attachment, HistoryMessage, PlannedCall
from core_app import jsontext
from core_app.ids import new_id

CONFIG = """
models:
  providers:
    openai:
      base_url: "{url}"
      api_key: none
      models:
        - {{id: "checked:openai:3000", context_window: 3000}}
        - {{id: "checked:openai:0:text", capabilities: [text, tools]}}
    mistral: {{base_url: "{url}", api_key: none}}
    deepseek: {{base_url: "{url}", api_key: none, models: ["checked:deepseek:0"]}}
    gemini: {{base_url: "{url}", api_key: none}}
    anthropic:
      base_url: "{root}"
      api_key: none
      wire: anthropic
      models: [{{id: "checked:anthropic:4000", context_window: 4000}}]
    responses: {{base_url: "{url}", api_key: none, wire: openai-responses}}
  fallback_chain: [openai]
  defaults: {{retry: {{max_retries: 0, base_delay_ms: 0, max_delay_ms: 0}}}}
"""

TARGETS = (
    "openai:checked:openai:0",
    "openai:checked:openai:3000",
    "openai:checked:openai:2000:",
    "openai:checked:openai:0:text",
    "mistral:checked:mistral:0",
    "mistral:checked:mistral:0:blind",
    "mistral:checked:mistral:0:told",
    "deepseek:checked:deepseek:0",
    "gemini:checked:gemini:0",
    "anthropic:checked:anthropic:0",
    "anthropic:checked:anthropic:4000",
    "anthropic:checked:anthropic:0:told",
    "responses:checked:responses:0",
    "responses:checked:responses:0:blind",
)
"""Models of every wire with the limits of real providers: a small window that is known or not, and rules that are known
(`text`) or not (`blind`, `told`)."""

_BLANKS = ("", " ", "\n\t", "\u00a0", "\u3000")
_NAMES = ("echo", "functions.cb", "", " ", "a/b", "1x", "-", "tool" * 60, "échо", "\x1b[0m", "multi_tool_use.parallel")
_ARGUMENTS = (
    "{}", "", " ", '{"q": NaN}', '{"q": -Infinity}', "[1]", "null", '{"x": ', '{"x": 1e400}', '{"n": 1e-7}',
    '{"n": 10000000000000000001}', '{"k\\ud800": "v\\u0000"}', "x" * 3000, '{"a":' * 70 + "1" + "}" * 70,
    '{"x": 1, "x": 2}', '{"x": 1}',
)  # fmt: skip
_MEDIA = (
    ("image", "image/png"), ("image", "image/bmp"), ("image", "image/svg+xml"), ("audio", "audio/wav"),
    ("audio", "audio/ogg"), ("file", "application/pdf"), ("file", "application/zip"), ("file", "text/csv"),
)  # fmt: skip
_IDS = ("call_0", "call_1", "", "é", "a b", "x" * 200, "id__sig0__AAAA", "\n")

texts = st.sampled_from((*_BLANKS, "Hi", "What now?", "\x07\x1b", "日本語" * 50, "w " * 1500)).map(jsontext.clean_text)


@st.composite
def attachments(draw: st.DrawFn) -> tuple[Attachment, ...]:
    """Draws the attachments of a message, mostly none."""
    chosen = draw(st.lists(st.sampled_from(_MEDIA), max_size=2)) if draw(st.integers(0, 3)) == 0 else []
    return tuple(Attachment(kind, media, data=draw(st.sampled_from((b"", b"\x89PNG")))) for kind, media in chosen)  # type: ignore[arg-type]


@st.composite
def exchanges(draw: st.DrawFn) -> list[HistoryMessage]:
    """Draws a prompt with what came of it: responses, calls, and results that may be missing, huge or strangers."""
    run = new_id("run")
    messages = [HistoryMessage(new_id("msg"), "user", draw(texts), draw(attachments()), run_id=run)]
    for _ in range(draw(st.integers(0, 2))):
        response, calls = draw(responses(run))
        messages.append(response)
        for call in calls:
            if draw(st.integers(0, 9)):
                content = draw(st.sampled_from(("ok", "", " ", "z" * 5000, "y" * 40_000, "\x00".replace("\x00", "?"))))
                media = draw(attachments()) if content == "ok" else ()
                messages.append(
                    HistoryMessage(new_id("msg"), "tool_result", content, media, call_id=call.call_id, run_id=run)
                )
        if draw(st.integers(0, 19)) == 0:
            messages.append(HistoryMessage(new_id("msg"), "tool_result", "Whose?", call_id="stranger", run_id=run))
        if draw(st.integers(0, 9)) == 0:
            messages.append(HistoryMessage(new_id("msg"), "user", draw(texts), run_id=run))
    if draw(st.booleans()):
        answer = ModelResponse(parts=[TextPart(draw(texts))])
        messages.append(_stored(answer, (), run, imported=draw(st.booleans())))
    return messages


@st.composite
def responses(draw: st.DrawFn, run: str) -> tuple[HistoryMessage, tuple[PlannedCall, ...]]:
    """Draws a response with calls, as a model of any provider gave it or as a client imported it."""
    parts: list[ModelResponsePart] = []
    if draw(st.booleans()):
        signature = draw(st.sampled_from((None, "SIGNATURE")))
        provider = draw(st.sampled_from(("openai", "anthropic", "deepseek", None)))
        parts.append(ThinkingPart(draw(texts), signature=signature, provider_name=provider))
    if draw(st.booleans()):
        parts.append(TextPart(draw(texts)))
    for _ in range(draw(st.integers(0, 2))):
        name, arguments, call_id = (draw(st.sampled_from(pool)) for pool in (_NAMES, _ARGUMENTS, _IDS))
        parts.append(ToolCallPart(name, arguments, tool_call_id=call_id))
    response = ModelResponse(parts=parts, provider_name=draw(st.sampled_from(("openai", "gemini", None))))
    imported = draw(st.integers(0, 2)) == 0
    clean_response(response, "msg", None)
    asked = tool_requests(response.tool_calls)
    ids = [call.provider_id if imported else new_id("call") for call in asked]
    calls = tuple(PlannedCall(own, call.name, call.args) for own, call in zip(ids, asked, strict=True))
    return _stored(response, calls, run, imported=imported), calls


def _stored(response: ModelResponse, calls: tuple[PlannedCall, ...], run: str, *, imported: bool) -> HistoryMessage:
    text = "".join(part.content for part in response.parts if isinstance(part, TextPart))
    payload = None if imported else payload_of(response)
    return HistoryMessage(new_id("msg"), "assistant", text, (), calls, None, payload, run)


def histories() -> st.SearchStrategy[Any]:
    """Draws the stored conversation of a session."""
    return st.lists(exchanges(), max_size=4).map(lambda parts: [message for part in parts for message in part])
