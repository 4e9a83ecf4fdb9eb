"""Fields of a request that do not reach the provider: refused where they change what the answer means, else named.

A field that asks for state of the vendor, or for another kind of answer, is refused. Fields that the other wire cannot
express are left out, and the response names them in `x-gateway-dropped`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from inference_app.conversion.requests import chat_to_messages, chat_to_responses, messages_to_chat, responses_to_chat
from inference_app.conversion.validation import Json
from inference_app.errors import UnsupportedFields, UnsupportedParameter

Dialect = Literal["chat", "messages", "responses"]

_STATE = "refers to a state that this provider does not hold: send the whole conversation."
_ANSWER = "asks for an answer that this provider cannot give."
REFUSED: Mapping[Dialect, Mapping[str, str]] = {
    "messages": {
        "container": _STATE,
        "conversation": _STATE,
        "previous_response_id": _STATE,
        # The endpoint of messages has it done by the gateway; no provider of another wire may ignore it.
        "compaction": _ANSWER,
    },
    "chat": {
        "conversation": _STATE,
        "previous_response_id": _STATE,
        "functions": "is not converted: send tools.",
        "function_call": "is not converted: send tool_choice.",
        "audio": _ANSWER,
    },
    "responses": {
        "conversation": "refers to something that is not stored here.",
        "prompt": "refers to something that is not stored here.",
    },
}
"""Fields that are refused before a provider of another wire, and why."""

_REFUSED_NAMES = {dialect: frozenset(refused) for dialect, refused in REFUSED.items()}

THREAD = "thread"
_THREAD_MESSAGE = "'thread' needs a provider that keeps the conversation: send the whole conversation."

_LEFT_OUT: Mapping[str, frozenset[str]] = {
    "messages": messages_to_chat.LEFT_OUT,
    "responses": responses_to_chat.LEFT_OUT,
    "anthropic": chat_to_messages.LEFT_OUT,
    "openai-responses": chat_to_responses.LEFT_OUT,
}
_SILENT = frozenset({"stream_options", "store", "cache_control", "user"})
"""Fields whose absence no client notices."""

_DEFAULTS: Mapping[str, Any] = {
    "n": 1,
    "modalities": ["text"],
    "service_tier": "auto",
    "truncation": "disabled",
    "top_logprobs": 0,
    "frequency_penalty": 0,
    "presence_penalty": 0,
}


def without_refused(dialect: Dialect, body: Json) -> Json:
    """Returns the request without refused fields, which are empty; raises UnsupportedParameter for one that is not."""
    if dialect == "messages":
        thread_check(body.get(THREAD))
    refused = _REFUSED_NAMES[dialect]
    modalities = body.get("modalities")
    if modalities is None and refused.isdisjoint(body):
        return body
    for name, why in REFUSED[dialect].items():
        if body.get(name):
            raise UnsupportedParameter(f"{name} {why}", field=name)
    if dialect == "chat" and isinstance(modalities, list) and any(kind != "text" for kind in modalities):
        raise UnsupportedParameter(f"modalities {_ANSWER}", field="modalities")
    if refused.isdisjoint(body):
        return body
    return {name: value for name, value in body.items() if name not in refused}


def thread_check(thread: Any) -> None:
    """Raises the error on which Anthropic's clients send the whole conversation instead of continuing a thread."""
    if thread is not None:
        raise UnsupportedFields(_THREAD_MESSAGE, error_code="thread_unsupported_request", unsupported=(THREAD,))


def dropped_fields(source: str, body: Json) -> list[str]:
    """Returns the names of the fields that a conversion leaves out; `source` is a dialect before chat, or a wire after
    it."""
    left_out = _LEFT_OUT.get(source)
    if left_out is None or left_out.isdisjoint(body):
        return []
    return [
        name
        for name, value in body.items()
        if name in left_out
        and name not in _SILENT
        and value not in (None, False, "", [], {})
        and value != _DEFAULTS.get(name)
    ]


def header_value(names: Iterable[str], limit: int) -> bytes:
    """Returns names as the value of a header."""
    joined = ", ".join(dict.fromkeys(names))[:limit]
    return "".join(letter if " " <= letter <= "~" else "?" for letter in joined).encode()
