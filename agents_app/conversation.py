"""Conversion of the stored conversation into the agent library's messages, and of responses into what is stored.

The payload of an assistant's message is passed back to the model unchanged (thinking, signatures, provider details),
except that the gateway's call ids replace the provider's. Messages without a payload are built from their text. Tool
results of the last response are left out when that response is unfinished: the loop settles its calls again and gets
stored results at once. A payload may record that an earlier leg cut the conversation (`Cut`); the stored history
remains complete.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ValidationError
from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    DocumentUrl,
    ImageUrl,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
)
from pydantic_core import PydanticSerializationError

from agents_app.attachments import StoredContent
from agents_app.engine import Attachment, HistoryMessage
from core_app import jsontext
from core_app.errors import BadRequest
from inference_app.conversion.stored_conversation import RESULT_MEDIA
from tools_app.types import PlannedCall, ToolRequest

_HIDDEN = re.compile(r"\\u(?:0000|[dD][89a-fA-F])")

THREAD_BYTES = 256 * 1024
"""Larger histories are decoded in a thread: at this size decoding would block the event loop for about 10 ms."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The start of the conversation for one model: the message `kept_from`, after the summary of earlier ones."""

    model: str
    kept_from: str
    summary: str | None = None


def history_bytes(history: Sequence[HistoryMessage]) -> int:
    """Estimates the bytes to decode."""
    return sum(len(message.content) + len(message.payload or b"") for message in history)


def messages_of(history: Sequence[HistoryMessage], *, model: str) -> list[ModelMessage]:
    """Builds the conversation to continue with the model of this name. CPU-bound, see THREAD_BYTES."""
    responses, start, cut = _decode_responses(history, model)
    built: list[ModelMessage] = _messages_before_cut(history, start, cut)
    names = {call.call_id: call.name for message in history for call in message.calls}
    end = _settled_end(history)
    for index in range(start, end):
        message = history[index]
        if message.role == "assistant":
            # Providers reject empty messages. The loop decides about the last one.
            if responses[index].parts or index == end - 1:
                built.append(responses[index])
        elif message.role == "tool_result":
            _append_result(built, message, names)
        else:
            built.append(_request(message))
    return built


def user_request(texts: Iterable[str]) -> ModelRequest:
    """Builds the user's message of steering texts."""
    return ModelRequest(parts=[UserPromptPart(content=jsontext.clean_text(text)) for text in texts])


def message_id_of(message: ModelMessage) -> str | None:
    """Returns the id of the stored message, or None for a message that is not stored."""
    return (message.metadata or {}).get("id")


def answer_text(response: ModelResponse) -> str:
    """Returns the text of the response."""
    return "".join(part.content for part in response.parts if isinstance(part, TextPart))


def clean_response(response: ModelResponse, message_id: str, cut: Cut | None) -> None:
    """Prepares a response for storage: removes NUL and lone surrogates, and records its id and the current cut."""
    response.parts = [_clean_part(part) for part in response.parts]
    note: dict[str, Any] = {"id": message_id}
    if cut is not None:
        note["cut"] = {"model": cut.model, "kept_from": cut.kept_from, "summary": cut.summary}
    response.metadata = note


def payload_of(response: ModelResponse) -> bytes:
    """Encodes the response as the library's JSON. Values of provider details that JSON cannot express are replaced."""
    try:
        return ModelMessagesTypeAdapter.dump_json([response])
    except PydanticSerializationError:
        return jsontext.encode(ModelMessagesTypeAdapter.dump_python([response], mode="json"))


def tool_requests(parts: Iterable[ToolCallPart]) -> tuple[ToolRequest, ...]:
    """Returns the tool calls as the model requested them."""
    return tuple(ToolRequest(part.tool_name, parse_args(part.args), part.tool_call_id) for part in parts)


def parse_args(args: str | Mapping[str, Any] | None) -> Mapping[str, Any] | str:
    """Parses and cleans arguments. Returns the cleaned text if it is no JSON object that the gateway accepts."""
    raw = args if isinstance(args, str) else jsontext.encode_text(args or {})
    if not raw.strip():
        return {}
    text = jsontext.clean_text(raw)
    try:
        value = jsontext.decode_untrusted(text.encode())
    except BadRequest:
        return text
    return value if isinstance(value, dict) else text


def rename_calls(response: ModelResponse, planned: Sequence[PlannedCall]) -> None:
    """Replaces the provider's call ids, which may repeat, by the gateway's, in order."""
    ids = iter(planned)
    response.parts = [
        replace(part, tool_call_id=next(ids).call_id) if isinstance(part, ToolCallPart) else part
        for part in response.parts
    ]


def _decode_responses(
    history: Sequence[HistoryMessage], model: str
) -> tuple[dict[int, ModelResponse], int, Cut | None]:
    """Decodes responses, newest first, back to the start of the newest cut for this model. Returns them by index, the
    index of the first message to keep, and the cut."""
    responses: dict[int, ModelResponse] = {}
    cut: Cut | None = None
    for index in range(len(history) - 1, -1, -1):
        message = history[index]
        if message.role == "assistant":
            responses[index] = _response(message)
            cut = cut or _cut_of(responses[index], model)
        if cut is not None and message.message_id == cut.kept_from:
            return responses, index, cut
    return responses, 0, None


def _cut_of(response: ModelResponse, model: str) -> Cut | None:
    note = (response.metadata or {}).get("cut")
    return Cut(**note) if isinstance(note, dict) and note.get("model") == model else None


def _messages_before_cut(history: Sequence[HistoryMessage], start: int, cut: Cut | None) -> list[ModelMessage]:
    """Builds the messages before a cut: system messages, the summary, and the prompt of the first kept message."""
    head: list[ModelMessage] = [_request(message) for message in history[:start] if message.role == "system"]
    if cut is not None and cut.summary:
        head.append(summary_request(cut.summary))
    if start and history[start].role != "user":
        prompts = (message for message in reversed(history[:start]) if message.role == "user")
        head += [_request(message) for message in [next(prompts, None)] if message is not None]
    return head


def summary_request(summary: str) -> ModelRequest:
    """Builds the message that replaces the messages of which it has the summary."""
    return ModelRequest(parts=[UserPromptPart(content=f"Summary of the conversation so far:\n{summary}")])


def _settled_end(history: Sequence[HistoryMessage]) -> int:
    """Returns the index after the last response if only its tool results follow it, else the end of the history."""
    end = len(history)
    while end and history[end - 1].role == "tool_result":
        end -= 1
    return end if end and history[end - 1].role == "assistant" and history[end - 1].calls else len(history)


def _append_result(built: list[ModelMessage], message: HistoryMessage, names: Mapping[str, str]) -> None:
    """Appends a result. The media of several results follow all of them, because providers want the results first."""
    call_id = message.call_id or ""
    part = ToolReturnPart(tool_name=names.get(call_id, "tool"), content=message.content, tool_call_id=call_id)
    media = [UserPromptPart(content=shown)] if (shown := result_media(message.attachments)) else []
    last = built[-1] if built else None
    if isinstance(last, ModelRequest) and isinstance(last.parts[0], ToolReturnPart):
        results = [other for other in last.parts if isinstance(other, ToolReturnPart)]
        others = [other for other in last.parts if not isinstance(other, ToolReturnPart)]
        built[-1] = replace(last, parts=[*results, part, *others, *media])
    else:
        built.append(ModelRequest(parts=[part, *media]))


def result_media(attachments: Sequence[Attachment]) -> list[UserContent] | None:
    """Returns what the model is shown beside a tool's result, as a message of the user's: every wire takes images
    there. None without attachments."""
    if not attachments:
        return None
    return [RESULT_MEDIA, *(_attachment_content(attachment) for attachment in attachments)]


def _request(message: HistoryMessage) -> ModelRequest:
    if message.role == "system":
        return ModelRequest(parts=[SystemPromptPart(content=message.content)], metadata={"id": message.message_id})
    content: str | list[UserContent] = message.content
    if message.attachments:
        content = [message.content, *(_attachment_content(attachment) for attachment in message.attachments)]
    return ModelRequest(parts=[UserPromptPart(content=content)], metadata={"id": message.message_id})


def _attachment_content(attachment: Attachment) -> UserContent:
    if attachment.stored is not None:
        return StoredContent(attachment)
    if attachment.data is not None:
        return BinaryContent(data=attachment.data, media_type=attachment.media_type)
    url = attachment.url or ""
    if attachment.kind == "image":
        return ImageUrl(url=url, media_type=attachment.media_type)
    if attachment.kind == "audio":
        return AudioUrl(url=url, media_type=attachment.media_type)
    return DocumentUrl(url=url, media_type=attachment.media_type)


def _response(message: HistoryMessage) -> ModelResponse:
    response = _from_payload(message.payload) if message.payload else None
    if response is not None and len(response.tool_calls) == len(message.calls):
        rename_calls(response, message.calls)
    else:
        response = _from_text(message)
    response.metadata = {**(response.metadata or {}), "id": message.message_id}
    return response


def _from_payload(payload: bytes) -> ModelResponse | None:
    try:
        decoded = ModelMessagesTypeAdapter.validate_json(payload)
    except ValidationError:
        return None
    return decoded[0] if len(decoded) == 1 and isinstance(decoded[0], ModelResponse) else None


def _from_text(message: HistoryMessage) -> ModelResponse:
    parts: list[ModelResponsePart] = [TextPart(content=message.content)] if message.content else []
    parts += [
        ToolCallPart(
            tool_name=call.name,
            args=call.args if isinstance(call.args, str) else dict(call.args),
            tool_call_id=call.call_id,
        )
        for call in message.calls
    ]
    return ModelResponse(parts=parts)


def _clean_part(part: ModelResponsePart) -> ModelResponsePart:
    if isinstance(part, TextPart):
        return replace(part, content=jsontext.clean_text(part.content))
    if isinstance(part, ThinkingPart):
        return replace(part, content=jsontext.clean_text(part.content))
    if isinstance(part, ToolCallPart):
        # Only the library's own tools have typed arguments, and it offers none here.
        call: ToolCallPart[Any] = part
        args = _clean_args(call.args) if isinstance(call.args, str) else call.args
        name, call_id = jsontext.clean_text(call.tool_name), jsontext.clean_text(call.tool_call_id)
        return replace(call, tool_name=name, args=args, tool_call_id=call_id)
    return part


def _clean_args(args: str) -> str:
    """Cleans arguments. Their text stays unchanged unless it has escapes of NUL or surrogates, which neither providers
    nor databases accept."""
    if not _HIDDEN.search(args):
        return jsontext.clean_text(args)
    parsed = parse_args(args)
    return parsed if isinstance(parsed, str) else jsontext.encode_text(parsed)
