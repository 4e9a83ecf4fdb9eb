"""Refusals of providers about conversations: those of `tests.conformance`, and what some provider refuses of a history
that a session has gathered.

Stricter than any single provider, except for the limits, which are those of one target.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from inference_app.catalogue.config import Wire
from inference_app.catalogue.limits import Limits
from tests.conformance import Refused, refusal, require

Json = dict[str, Any]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
_UNCLEAN = re.compile("[\x00\ud800-\udfff]")


def history_refusal(wire: Wire, body: Json, limits: Limits) -> str | None:
    """Returns why a strict provider of the wire, with these limits, refuses the request; None if it takes it."""
    try:
        _CHECKS[wire](body, limits)
    except Refused as error:
        return str(error)
    return refusal(wire, body, limits)


def media_of(body: Json) -> Iterator[str]:
    """Yields the kinds of the media in a request of any wire."""
    for message in [*body.get("messages", ()), *body.get("input", ())]:
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            yield from _kinds(part)


def _kinds(part: Json) -> Iterator[str]:
    kind = part["type"].removeprefix("input_").removesuffix("_url").replace("document", "file")
    if kind in ("image", "audio", "file"):
        yield kind


def _check_text(text: Any) -> None:
    require(isinstance(text, str) and text.strip(), f"A message is blank: {text!r}.")
    require(not _UNCLEAN.search(text), "A message has NUL or half a character.")


def _check_arguments(text: str) -> None:
    def refuse(name: str) -> None:
        raise Refused(f"{name} is no JSON.")

    try:
        value = json.loads(text, parse_constant=refuse)
    except ValueError:
        raise Refused(f"Invalid arguments: {text[:60]!r}.") from None
    require(isinstance(value, dict), "Arguments must be an object.")


def _check_name(name: Any) -> None:
    require(isinstance(name, str) and _NAME.match(name), f"Invalid name of a called tool: {name!r}.")


def _check_ids(ids: list[str]) -> None:
    require(len(set(ids)) == len(ids), "Ids of calls must be unique in the conversation.")
    require(all(call_id and len(call_id) <= 64 for call_id in ids), "The id of a call is too long.")


def _check_media(body: Json, limits: Limits) -> None:
    for kind in media_of(body):
        require(limits.media is None or kind in limits.media, f"This model takes no {kind}.")


def _chat(body: Json, limits: Limits) -> None:
    messages = body["messages"]
    require(limits.messages is None or len(messages) <= limits.messages, "Too many messages.")
    require(messages[-1]["role"] != "assistant", "The last message must be the user's or a tool's.")
    calls = [call for message in messages for call in message.get("tool_calls") or ()]
    _check_ids([call["id"] for call in calls])
    for call in calls:
        _check_name(call["function"]["name"])
        _check_arguments(call["function"]["arguments"])
    for message in messages:
        content = message.get("content")
        if content is None:
            require(message.get("tool_calls"), "A message is empty.")
        elif isinstance(content, list):
            require(content, "A message is empty.")
            for part in content:
                if part["type"] == "text":
                    _check_text(part["text"])
        else:
            _check_text(content)
    _check_media(body, limits)


def _messages(body: Json, limits: Limits) -> None:
    blocks = [block for m in body["messages"] if isinstance(m["content"], list) for block in m["content"]]
    used = [block for block in blocks if block["type"] == "tool_use"]
    _check_ids([block["id"] for block in used])
    for block in used:
        _check_name(block["name"])
        _check_arguments(json.dumps(block["input"]))
    require(not used or body.get("tools"), "Requests which include `tool_use` blocks must define tools.")
    require(body["messages"][-1]["role"] == "user", "This model does not support a prefill.")
    _check_media(body, limits)


def _responses(body: Json, limits: Limits) -> None:
    calls = [item for item in body["input"] if item.get("type") == "function_call"]
    _check_ids([item["call_id"] for item in calls])
    for item in calls:
        _check_name(item["name"])
        _check_arguments(item["arguments"])
    for item in body["input"]:
        content = item.get("content")
        for part in content if isinstance(content, list) else ():
            if part["type"] in ("input_text", "output_text"):
                _check_text(part["text"])
        if isinstance(content, str):
            _check_text(content)
    _check_media(body, limits)


_CHECKS = {"openai-chat": _chat, "anthropic": _messages, "openai-responses": _responses}
