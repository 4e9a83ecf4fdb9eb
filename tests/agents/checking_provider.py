"""A provider that refuses what real ones refuse in a conversation, as a scenario of `tests.agents.upstream`.

`checked:<provider>:<window>:<rule>`: the limits are those of the provider in the table of targets, and the window is in
tokens, four characters each. The rules are known to the provider alone: `blind` takes no media, `told` no calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from inference_app.catalogue.config import ProviderEntry, Wire
from inference_app.catalogue.limits import Limits, target_limits
from tests.strict_history import history_refusal, media_of

Json = dict[str, Any]

WIRES: dict[str, Wire] = {"anthropic": "anthropic", "responses": "openai-responses"}
PREFIX = "call "
"""A prompt `call <name> <arguments>` has the model call that tool; `blank` has it answer with white space."""


def refusal_of(body: Json, rest: str) -> tuple[str, str] | None:
    """Returns the code and the sentence of a refusal; None for a request that is taken."""
    provider, _, more = rest.partition(":")
    window, _, rule = more.partition(":")
    wire = WIRES.get(provider, "openai-chat")
    sent = _as_sent(body, wire)
    if int(window or 0) and len(json.dumps(sent, ensure_ascii=False)) > 4 * int(window):
        return "context_length_exceeded", "This model's maximum context length is small."
    refused = history_refusal(wire, sent, _limits(provider, wire, rule))
    if refused is None and rule == "blind" and any(media_of(sent)):
        refused = "unknown variant `image_url`, expected `text`"
    if refused is None and rule == "told" and "tool_calls" in json.dumps(sent):
        refused = "Unexpected role or field."
    return None if refused is None else ("invalid_request_error", refused)


def answer(body: Json) -> Iterator[Json]:
    """Does what the newest message says, else answers."""
    last = body["messages"][-1]
    text = last["content"] if isinstance(last["content"], str) else ""
    if last["role"] == "user" and text.startswith(PREFIX):
        name, _, arguments = text.removeprefix(PREFIX).partition(" ")
        function = {"name": name.replace("<none>", ""), "arguments": arguments}
        yield {"tool_calls": [{"index": 0, "id": "call_0", "type": "function", "function": function}]}
    else:
        yield {"content": "Answered."}


def _limits(provider: str, wire: Wire, rule: str) -> Limits:
    limits = target_limits(provider, ProviderEntry(base_url="http://x.test", api_key="none", wire=wire), wire, "m")
    return limits.extend(Limits(media=())) if rule == "text" else limits


def _as_sent(body: Json, wire: Wire) -> Json:
    """Returns the request as it came, before it was made a chat request for the scenarios."""
    sent = {name: value for name, value in body.items() if not name.startswith("__")}
    if wire != "openai-chat":
        sent.pop("messages")
        sent["messages" if wire == "anthropic" else "input"] = body["__sent"]
    return sent
