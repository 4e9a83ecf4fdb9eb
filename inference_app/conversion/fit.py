"""Fit of a converted request to its target's limits (`inference_app.catalogue.limits`).

Values are adapted where the meaning stays the same; otherwise the request is refused with the name of the field that
the client knows. Left-out fields are collected for `x-gateway-dropped`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from inference_app.catalogue.config import Wire
from inference_app.catalogue.limits import Limits
from inference_app.conversion.call_ids import fit_call_id
from inference_app.conversion.requests.messages_to_chat import shorten_user
from inference_app.conversion.requests.state import BLOCKS
from inference_app.conversion.sealed_reasoning import blocks_of_wire
from inference_app.conversion.validation import Json, field_error

NO_TEXT = "(no text)"
"""The user's text before a conversation that would begin with the assistant, which Anthropic refuses."""

SKIP_SIGNATURE = "skip_thought_signature_validator"
"""Google's own placeholder for a signature that was lost: the call is not checked, and its thoughts are not used."""

_TEXT_ROLES = ("user", "system")

_CLIENT_NAMES: Mapping[str, Mapping[str, str]] = {
    "messages": {"stop": "stop_sequences", "input": "messages", "max_output_tokens": "max_tokens", "user": "metadata"},
    "responses": {"messages": "input", "max_tokens": "max_output_tokens", "stop_sequences": "stop"},
    "chat": {"stop_sequences": "stop", "input": "messages", "max_output_tokens": "max_tokens"},
}


class Fit:
    """The fit of one request. `dropped` has the names of the fields that were left out."""

    def __init__(self, client: str, limits: Limits) -> None:
        self._client = client
        self._limits = limits
        self._form = limits.call_id
        self.dropped: list[str] = []

    def apply(self, wire: Wire, body: Json) -> Json:
        """Returns the request for a target of the wire."""
        body = _FITS[wire](self, body)
        self._fit_fields(body)
        return body

    def _name(self, field: str) -> str:
        return _CLIENT_NAMES[self._client].get(field, field)

    def _refuse(self, field: str, sentence: str) -> Exception:
        return field_error(self._name(field), sentence)

    def _leave_out(self, body: Json, field: str) -> None:
        if body.pop(field, None) is not None:
            self.dropped.append(self._name(field))

    def _fit_fields(self, body: Json) -> None:
        """Applies the limits of top-level fields."""
        limits = self._limits
        for field in limits.refuses:
            self._leave_out(body, field)
        for first, second in limits.exclusive:
            if body.get(first) is not None and body.get(second) is not None:
                # The default of both is 1; the other one is what the client meant.
                self._leave_out(body, first if body[first] == 1 and body[second] != 1 else second)
        for field, bound in limits.minimum.items():
            if field in body and _is_number(body.get(field)) and body[field] < bound:
                body[field] = _whole(bound)
        for field, bound in limits.maximum.items():
            if field in body and _is_number(body.get(field)) and body[field] > bound:
                body[field] = _whole(bound)

    def _fit_stops(self, body: Json, field: str) -> None:
        stops = body.get(field)
        if stops is None:
            return
        given = stops if isinstance(stops, list) else [stops]
        if not all(isinstance(stop, str) for stop in given):
            return
        if not self._limits.blank_text and any(not str(stop).strip() for stop in given):
            raise self._refuse(field, "has a stop sequence of white space, which this provider refuses.")
        if self._limits.stops is not None and len(given) > self._limits.stops:
            raise self._refuse(
                field, f"has more than the {self._limits.stops} stop sequences that this provider takes."
            )

    def _fit_user(self, user: Any) -> Any:
        limit = self._limits.user_length
        return shorten_user(user, limit) if isinstance(user, str) and limit is not None else user

    def _with_id(self, value: Json, field: str) -> Json:
        """Returns a message, item or block with the fitted id in a field; the same value if the id fits."""
        form, given = self._form, value.get(field)
        if form is None or not isinstance(given, str) or not given or form.accepts(given):
            return value
        return {**value, field: fit_call_id(given, form)}

    def _check_media(self, media_type: str, field: str) -> None:
        kind = "image_types" if media_type.startswith("image/") else "document_types"
        known = getattr(self._limits, kind)
        if known is not None and media_type not in known:
            raise self._refuse(field, f"has data of the type {media_type[:50]}, which this provider does not take.")

    # Chat completions.

    def _fit_chat(self, body: Json) -> Json:
        # Most messages of the user and the system are a text, in which nothing has limits.
        messages = [
            message
            if message["role"] in _TEXT_ROLES and isinstance(message.get("content"), str)
            else self._fit_chat_message(message)
            for message in body["messages"]
        ]
        if messages and self._limits.prefill == "prefix" and messages[-1].get("role") == "assistant":
            messages[-1] = {**messages[-1], "prefix": True}
        body = {**body, "messages": messages}
        self._fit_stops(body, "stop")
        if "user" in body:
            body["user"] = self._fit_user(body["user"])
        if self._limits.schema_properties:
            _complete_schemas(body, "function")
        return body

    def _fit_chat_message(self, message: Json) -> Json:
        if message["role"] == "tool":
            return self._with_id(message, "tool_call_id")
        if isinstance(message.get("content"), list):
            self._check_parts(message["content"])
        if message["role"] != "assistant":
            return message
        if calls := message.get("tool_calls"):
            message = {**message, "tool_calls": [self._fit_call(call, not n) for n, call in enumerate(calls)]}
        blocks = message.pop(BLOCKS, None)
        if not blocks:
            return message
        if self._limits.signatures and (signed := blocks_of_wire(blocks, "google")):
            signature = signed[-1]["seal"]["signature"]
            message = {**message, "extra_content": {"google": {"thought_signature": signature}}}
        if detailed := blocks_of_wire(blocks, "details"):
            message = {**message, "reasoning_details": detailed[-1]["seal"]["details"]}
        return message

    def _fit_call(self, call: Json, is_first: bool) -> Json:
        """Fits a call. Gemini signs the first of parallel calls."""
        extra = call.get("extra_content")
        signatures = self._limits.signatures
        call = self._with_id(call, "id")
        if signatures is False and "extra_content" in call:
            return {name: value for name, value in call.items() if name != "extra_content"}
        if signatures == "required" and is_first and extra is None:
            return {**call, "extra_content": {"google": {"thought_signature": SKIP_SIGNATURE}}}
        return call

    def _check_parts(self, parts: list[Json]) -> None:
        for part in parts:
            if part.get("type") == "image_url":
                self._check_url(part["image_url"]["url"])
            elif part.get("type") == "file":
                if "file_url" in part["file"]:
                    path = part["file"].get("path", "messages")
                    raise self._refuse(path, "names a file by its address, and this provider takes data alone.")
                self._check_url(part["file"].get("file_data"))

    def _check_url(self, url: Any) -> None:
        if isinstance(url, str) and url.startswith("data:"):
            self._check_media(url[5:200].partition(";")[0], "messages")

    # The Responses API.

    def _fit_responses(self, body: Json) -> Json:
        items = [item if isinstance(item.get("content"), str) else self._fit_item(item) for item in body["input"]]
        body = {**body, "input": items}
        if "user" in body:
            body["user"] = self._fit_user(body["user"])
        if self._limits.schema_properties:
            _complete_schemas(body, None)
        return body

    def _fit_item(self, item: Json) -> Json:
        if "call_id" in item:
            return self._with_id(item, "call_id")
        content = item.get("content")
        if isinstance(content, list):
            for part in content:
                if "image_url" in part:
                    self._check_url(part["image_url"])
        return item

    # Anthropic Messages.

    def _fit_messages(self, body: Json) -> Json:
        body = dict(body)
        if not self._limits.blank_text:
            self._drop_blank_system(body)
        messages = list(self._fitted_messages(body["messages"]))
        if self._limits.prefill == "trimmed":
            _trim_prefill(messages)
        if not messages:
            raise self._refuse("messages", "must have text of a user that is not white space alone.")
        if messages[0]["role"] != "user":
            messages.insert(0, {"role": "user", "content": NO_TEXT})
        body["messages"] = messages
        self._fit_stops(body, "stop_sequences")
        user = (body.get("metadata") or {}).get("user_id")
        if user is not None:
            body["metadata"] = {**body["metadata"], "user_id": self._fit_user(user)}
        self._fit_thinking(body)
        return body

    def _drop_blank_system(self, body: Json) -> None:
        system = body.get("system")
        if isinstance(system, list):
            system = body["system"] = [block for block in system if not _is_blank(block)]
        if system is not None and (not system or (isinstance(system, str) and not system.strip())):
            del body["system"]

    def _fitted_messages(self, messages: list[Json]) -> Iterator[Json]:
        blank_text = self._limits.blank_text
        for message in messages:
            content = message["content"]
            if isinstance(content, str):
                if blank_text or _has_text(content):
                    yield message
                continue
            blocks = []
            for block in content:
                if block["type"] != "text":
                    blocks.append(self._fit_block(block))
                elif blank_text or _has_text(str(block.get("text"))):
                    blocks.append(block)
            if blocks:
                yield {**message, "content": blocks}

    def _fit_block(self, block: Json) -> Json:
        kind = block["type"]
        if kind == "tool_use":
            return self._with_id(block, "id")
        if kind == "tool_result":
            return self._fit_result(block)
        if kind in ("image", "document") and block["source"]["type"] == "base64":
            self._check_media(block["source"]["media_type"], "messages")
        return block

    def _fit_result(self, block: Json) -> Json:
        content = block.get("content")
        block = self._with_id(block, "tool_use_id")
        if isinstance(content, list):
            parts = [self._fit_block(part) for part in content if self._limits.blank_text or not _is_blank(part)]
            return {**block, "content": parts}
        if isinstance(content, str) and not _has_text(content) and not self._limits.blank_text:
            return {**block, "content": ""}
        return block

    def _fit_thinking(self, body: Json) -> None:
        """Leaves thinking out of a turn in which it would be refused, and what it excludes out of the others."""
        thinking = body.get("thinking")
        if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
            return
        forced = (body.get("tool_choice") or {}).get("type") in ("any", "tool")
        if forced or lacks_thinking(body["messages"]):
            self._leave_out(body, "thinking")
            return
        if body.get("temperature") not in (None, 1):
            self._leave_out(body, "temperature")
        if body.get("top_p") is not None and not 0.95 <= body["top_p"] <= 1:
            self._leave_out(body, "top_p")
        self._leave_out(body, "top_k")


_FITS: Mapping[Wire, Callable[[Fit, Json], Json]] = {
    "openai-chat": Fit._fit_chat,
    "openai-responses": Fit._fit_responses,
    "anthropic": Fit._fit_messages,
}


def lacks_thinking(messages: list[Json]) -> bool:
    """True if the last message of the assistant uses tools and does not begin with its thinking: a provider that thinks
    refuses such a conversation."""
    last = next((message for message in reversed(messages) if message.get("role") == "assistant"), None)
    content = None if last is None else last.get("content")
    if not isinstance(content, list) or not any(_type(block) == "tool_use" for block in content):
        return False
    return _type(content[0]) not in ("thinking", "redacted_thinking")


def _type(block: Any) -> Any:
    return block.get("type") if isinstance(block, dict) else None


def _is_blank(block: Any) -> bool:
    return _type(block) == "text" and not _has_text(str(block.get("text")))


def _has_text(text: str) -> bool:
    """True for text that is not white space alone, without a copy of it."""
    return bool(text) and not text.isspace()


def _trim_prefill(messages: list[Json]) -> None:
    """Removes white space at the end of the assistant's last message."""
    if not messages or messages[-1]["role"] != "assistant":
        return
    content = messages[-1]["content"]
    if isinstance(content, str):
        messages[-1] = {**messages[-1], "content": content.rstrip()}
    elif content[-1]["type"] == "text":
        last = {**content[-1], "text": content[-1]["text"].rstrip()}
        messages[-1] = {**messages[-1], "content": [*content[:-1], last]}


def _complete_schemas(body: Json, nested: str | None) -> None:
    """Adds the `properties` that OpenAI requires of an object's schema."""
    for number, tool in enumerate(body.get("tools") or ()):
        function = tool.get(nested) if nested else tool
        schema = function.get("parameters") if isinstance(function, dict) else None
        if isinstance(schema, dict) and schema.get("type") == "object" and "properties" not in schema:
            completed = {**function, "parameters": {**schema, "properties": {}}}
            body["tools"][number] = {**tool, nested: completed} if nested else completed


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(bound: float) -> float:
    return int(bound) if bound == int(bound) else bound
