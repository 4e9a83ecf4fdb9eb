"""Whatever legal request a client sends, a target gets a request that is legal by the table of what it takes, or the
client a 400 that names the field."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core_app.errors import BadRequest
from inference_app.catalogue.config import Wire, parse
from inference_app.catalogue.limits import target_limits
from inference_app.conversion import ClientDialect, RequestConverter
from tests.conformance import refusal
from tests.conversion.legal_requests import chat_requests, messages_requests, responses_requests

EXAMPLES = int(os.environ.get("GATEWAY_TEST_EXAMPLES", "30"))
"""2,000 for a thorough run."""

Json = dict[str, Any]

REQUESTS: dict[ClientDialect, st.SearchStrategy[Json]] = {
    "chat": chat_requests(),
    "messages": messages_requests(),
    "responses": responses_requests(),
}
TARGETS: dict[Wire, list[tuple[str, str]]] = {
    "openai-chat": [
        ("local", "m"),
        ("openai", "gpt-4o"),
        ("openai", "o3"),
        ("mistral", "mistral-small-latest"),
        ("gemini", "gemini-2.0-flash"),
        ("gemini", "gemini-3-pro"),
        ("deepseek", "deepseek-reasoner"),
        ("xai", "grok-4"),
        ("groq", "llama-3.3-70b-versatile"),
    ],
    "openai-responses": [("local", "m"), ("openai", "gpt-5"), ("openai", "o3")],
    "anthropic": [("anthropic", "claude-sonnet-4-5"), ("anthropic", "claude-3-5-haiku-latest")],
}
PAIRS: list[tuple[ClientDialect, Wire]] = [
    ("chat", "anthropic"),
    ("chat", "openai-responses"),
    ("messages", "openai-chat"),
    ("messages", "openai-responses"),
    ("responses", "openai-chat"),
    ("responses", "anthropic"),
]
PROVIDERS = parse({"providers": {"local": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none"}}}).providers
CANNOT = frozenset({"stop", "stop_sequences"})
"""Fields with values that some target cannot have in any form: such a request is refused."""


@pytest.mark.parametrize(("client", "wire"), PAIRS)
@settings(max_examples=EXAMPLES, deadline=None)
@given(data=st.data())
def test_what_goes_out_is_legal_at_the_target(client: ClientDialect, wire: Wire, data: st.DataObject) -> None:
    provider, model = data.draw(st.sampled_from(TARGETS[wire]))
    body = data.draw(REQUESTS[client]) | {"model": model}
    limits = target_limits(provider, PROVIDERS[provider], wire, model)
    try:
        sent = json.loads(RequestConverter(client, wire).request(json.dumps(body).encode(), limits))
    except BadRequest as error:
        refused: str | None = None if error.field in CANNOT or not _has_text(body) else error.message
        sent = None
    else:
        extensions = {"top_p", "temperature", "top_k", "thinking"} & set(sent)
        refused = refusal(wire, sent, limits, extensions=frozenset(extensions))
    assert refused is None, (refused, sent)


def _has_text(body: Json) -> bool:
    """True if a user says something: a conversation of white space alone is refused."""
    said = [item for item in body.get("messages") or body["input"] if item.get("role") == "user"]
    texts = [part.get("text", "") for item in said for part in _parts(item["content"])]
    return any(text.strip() for text in texts)


def _parts(content: Any) -> list[Json]:
    return [{"text": content}] if isinstance(content, str) else content
