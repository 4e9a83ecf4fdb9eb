"""Converter of the Responses API's input items to chat's messages.

Calls are added to the assistant message before them, and their results follow. Other messages keep their order.
A developer message becomes a system message, which every provider accepts. Reasoning is left out, except for models
that require it and for what a provider has sealed, and so are items of hosted tools. References to stored items are
rejected.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core_app import jsontext
from core_app.errors import BadRequest
from inference_app.conversion.requests.call_order import order_tool_results
from inference_app.conversion.requests.content import (
    content_of,
    file_part,
    image_part,
    media_of,
    text_of,
    text_part,
    tool_media_parts,
    tool_message,
)
from inference_app.conversion.requests.reasoning import add_reasoning
from inference_app.conversion.requests.state import BLOCKS
from inference_app.conversion.sealed_reasoning import open_token
from inference_app.conversion.tool_names import ToolNames
from inference_app.conversion.validation import Json, field_error, iter_objects, require_object, require_string

LEFT_OUT = frozenset(
    f"{kind}{suffix}"
    for kind in (
        "web_search", "file_search", "code_interpreter", "image_generation", "computer", "mcp", "tool_search", "shell",
        "local_shell", "apply_patch",
    )
    for suffix in ("_call", "_call_output", "_output")
) | {"mcp_list_tools", "mcp_approval_request", "mcp_approval_response", "program", "program_output",
     "additional_tools", "configuration_update", "compaction_trigger"}  # fmt: skip
"""Types of items that a conversation does not need: activity and descriptions of hosted tools."""

_ROLES = {"user": "user", "assistant": "assistant", "system": "system", "developer": "system"}


class InputMessages:
    """Builder of the messages: converts item by item."""

    def __init__(self, names: ToolNames, *, thinking: bool = False) -> None:
        self._names = names
        self._thinking = thinking
        self._reasoning = ""
        self._blocks: list[Json] = []
        self._messages: list[Json] = []
        self._media: list[Json] = []

    def convert(self, given: Any) -> list[Json]:
        """Returns the messages of an `input`."""
        if isinstance(given, str):
            return [{"role": "user", "content": given}]
        for path, item in iter_objects(given, "input"):
            self._add_item(path, item)
        self._flush_media()
        return order_tool_results(self._messages)

    def _add_item(self, path: str, item: Json) -> None:
        kind = require_string(item.get("type") or ("message" if "role" in item else None), f"{path}.type")
        if kind == "message":
            self._add_message(path, item)
        elif kind in ("function_call", "custom_tool_call"):
            self._add_call(path, item, custom=kind == "custom_tool_call")
        elif kind in ("function_call_output", "custom_tool_call_output"):
            self._add_output(path, item)
        elif kind == "reasoning":
            self._add_reasoning(path, item)
        elif kind == "item_reference":
            raise field_error(path, "refers to an item that is not stored here: send the item itself.")
        elif kind not in LEFT_OUT:
            raise BadRequest(f"{path} is of a type that cannot be converted.", field=f"{path}.type")

    def _add_reasoning(self, path: str, item: Json) -> None:
        """Keeps the reasoning that the next assistant's message needs: its text or what a provider has sealed."""
        if self._thinking:
            self._reasoning = "\n\n".join(filter(None, (self._reasoning, _reasoning_text(path, item))))
        if (seal := open_token(item.get("encrypted_content"))) is not None:
            self._blocks.append({"text": _reasoning_text(path, item), "seal": seal})

    def _add_message(self, path: str, item: Json) -> None:
        role = _ROLES.get(require_string(item.get("role"), f"{path}.role"))
        if role is None:
            raise field_error(f"{path}.role", "must be user, assistant, system or developer.")
        if role == "assistant":
            self._add_assistant(path, item)
            return
        self._flush_media()
        self._reasoning, self._blocks = "", []
        parts = list(content_parts(item.get("content"), f"{path}.content"))
        self._messages.append({"role": role, "content": content_of(parts)})

    def _add_assistant(self, path: str, item: Json) -> None:
        """Adds the assistant's text to the message that its calls opened, or to a new one."""
        parts = list(content_parts(item.get("content"), f"{path}.content"))
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        refusal = "".join(part["refusal"] for part in parts if part["type"] == "refusal")
        last = self._messages[-1] if self._messages else {}
        if last.get("tool_calls"):
            last["content"] = (last["content"] or "") + text or None
            self._attach_reasoning(last)
            return
        self._flush_media()
        message: Json = {"role": "assistant", "content": text if text or not refusal else None}
        self._messages.append({**message, **({"refusal": refusal} if refusal else {})})
        self._attach_reasoning(self._messages[-1])

    def _add_call(self, path: str, item: Json, *, custom: bool) -> None:
        namespace = item.get("namespace")
        if namespace is not None:
            namespace = require_string(namespace, f"{path}.namespace")
        name = self._names.wire_name(require_string(item.get("name"), f"{path}.name"), namespace)
        if custom:
            arguments = jsontext.encode_text({"input": require_string(item.get("input"), f"{path}.input")})
        else:
            arguments = require_string(item.get("arguments"), f"{path}.arguments")
        call_id = require_string(item.get("call_id"), f"{path}.call_id")
        if not self._messages or self._messages[-1]["role"] != "assistant":
            self._flush_media()
            self._messages.append({"role": "assistant", "content": None})
        self._attach_reasoning(self._messages[-1])
        calls = self._messages[-1].setdefault("tool_calls", [])
        calls.append({"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}})

    def _add_output(self, path: str, item: Json) -> None:
        call_id = require_string(item.get("call_id"), f"{path}.call_id")
        parts = list(content_parts(item.get("output"), f"{path}.output"))
        self._messages.append(tool_message(call_id, parts))
        self._media += tool_media_parts(call_id, media_of(parts))

    def _attach_reasoning(self, message: Json) -> None:
        """Moves the collected reasoning into an assistant message."""
        if self._blocks:
            message[BLOCKS] = [*(message.get(BLOCKS) or ()), *self._blocks]
            self._blocks = []
        if self._thinking:
            add_reasoning(message, self._reasoning)
            self._reasoning = ""

    def _flush_media(self) -> None:
        """Adds the media of tool results as a user message, after all results."""
        if self._media:
            self._messages.append({"role": "user", "content": self._media})
            self._media = []


def content_parts(content: Any, field: str) -> Iterator[Json]:
    """Yields chat's parts for the content of a message or a tool result."""
    if isinstance(content, str):
        yield text_part(content)
        return
    for path, part in iter_objects(content, field):
        yield _part(path, part)


def instructions_text(given: Any) -> str:
    """Returns `instructions` as text; of items, only the text is used."""
    if isinstance(given, str):
        return given
    texts = []
    for path, item in iter_objects(given, "instructions"):
        texts.append(text_of(list(content_parts(item.get("content"), f"{path}.content"))))
    return "\n\n".join(texts)


def _reasoning_text(path: str, item: Json) -> str:
    """Returns the text of a `reasoning` item."""
    for name in ("content", "summary"):
        if parts := [part for _, part in iter_objects(item.get(name), f"{path}.{name}") if part.get("text")]:
            return "\n\n".join(require_string(part["text"], f"{path}.{name}") for part in parts)
    return ""


def _part(path: str, part: Json) -> Json:
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text", "summary_text"):
        return text_part(require_string(part.get("text"), f"{path}.text"))
    if kind == "refusal":
        return {"type": "refusal", "refusal": require_string(part.get("refusal"), f"{path}.refusal")}
    if kind == "input_image":
        if part.get("file_id"):
            raise field_error(f"{path}.file_id", "names a stored file, which the provider cannot read: send image_url.")
        return image_part(require_string(part.get("image_url"), f"{path}.image_url"), part.get("detail"))
    if kind == "input_file":
        return _file(path, part)
    if kind == "input_audio":
        return {"type": "input_audio", "input_audio": require_object(part.get("input_audio"), f"{path}.input_audio")}
    raise BadRequest(f"{path} is of a type that cannot be converted.", field=f"{path}.type")


def _file(path: str, part: Json) -> Json:
    if part.get("file_id"):
        raise field_error(f"{path}.file_id", "names a file that the provider cannot read: send file_data.")
    named = {"filename": require_string(part["filename"], f"{path}.filename")} if part.get("filename") else {}
    if part.get("file_url"):
        return file_part(**named, file_url=require_string(part["file_url"], f"{path}.file_url"), path=path)
    return file_part(**named, file_data=require_string(part.get("file_data"), f"{path}.file_data"))
