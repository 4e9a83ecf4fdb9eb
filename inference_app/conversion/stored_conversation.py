"""Fit of a conversation that the gateway stores to its next target.

A client can mend a request that a provider refuses; a stored message that is refused ends every later run of its
session. So a stored conversation is never refused for what was said before: names, arguments, ids, blank texts and
media are adapted to the table of targets (`inference_app.catalogue.limits`) each time, and the stored messages stay as
they are. Only the media of the newest prompt are refused, because its sender is there to be told.

The table does not know everything. `Detail` has forms with less and less that a provider could refuse, down to text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from core_app import jsontext
from core_app.errors import BadRequest
from inference_app.catalogue.limits import CallIdForm, Limits
from inference_app.conversion.call_ids import fit_call_id
from inference_app.conversion.fit import NO_TEXT
from inference_app.conversion.requests.media import parse_data_url
from inference_app.conversion.tool_names import ToolNames
from inference_app.conversion.validation import Json, field_error

UNSUPPORTED = "unsupported"
"""The type of a part in place of a medium that chat cannot express; `text` is the sentence that says so."""

RESULT_MEDIA = "[Attached to the result of a tool:]"
"""The text before the media of a tool's result, which are sent as a message of the user's."""

NO_RESULT = "[No result of this call was recorded.]"

_KINDS = {"image_url": "image", "input_audio": "audio", "file": "file"}
_PLAIN_FIELDS = ("role", "content", "tool_calls")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}\Z")
_ID_LENGTH = 64
"""Length of ids for targets without a form of them: no provider is known to refuse it."""


class Detail(IntEnum):
    """The parts of a conversation that are sent as they are: all of them; calls and text without earlier media and
    without thoughts; text alone, in which calls and results are told."""

    WHOLE = 0
    WITHOUT_MEDIA = 1
    TEXT = 2


@dataclass(frozen=True, slots=True)
class FittedConversation:
    """The messages for a target, and the next detail that would leave something out; None if there is none."""

    messages: list[Json]
    simpler: Detail | None


def fit_conversation(
    messages: Sequence[Json], limits: Limits, *, has_tools: bool, detail: Detail = Detail.WHOLE
) -> FittedConversation:
    """Returns the chat messages as the target takes them. `has_tools`: the request declares tools.

    Raises BadRequest with a sentence if the newest prompt has media that the target does not take.
    """
    fit = _ConversationFit(limits, detail)
    newest = _newest_prompt(messages)
    fitted = fit.pair_calls(
        fit.fit_message(message, is_newest=index == newest) for index, message in enumerate(messages)
    )
    has_calls = any("tool_calls" in message for message in fitted)
    if has_calls and (detail is Detail.TEXT or (limits.calls_need_tools and not has_tools)):
        fitted, has_calls = list(_calls_as_text(fitted)), False
    if detail is Detail.WHOLE and fit.had_more:
        return FittedConversation(fitted, Detail.WITHOUT_MEDIA)
    return FittedConversation(fitted, Detail.TEXT if has_calls else None)


class _ConversationFit:
    """The fit of one conversation. `had_more`: WITHOUT_MEDIA leaves something out."""

    def __init__(self, limits: Limits, detail: Detail) -> None:
        self._limits = limits
        self._detail = detail
        self._names = ToolNames()
        self._form = limits.call_id or CallIdForm(length=_ID_LENGTH)
        self._used: Counter[str] = Counter()
        self.had_more = False

    def fit_message(self, message: Json, *, is_newest: bool) -> Json | None:
        """Returns the message, None if it says nothing. `is_newest`: it is the newest prompt."""
        role, content = message["role"], message.get("content")
        if role == "user":
            return {**message, "content": self._user_content(content, is_newest=is_newest)}
        if role == "tool":
            return {**message, "content": content if _has_text(content) else NO_TEXT}
        if role != "assistant":
            return message if _has_text(content) else None
        return self._assistant(message)

    def pair_calls(self, messages: Iterator[Json | None]) -> list[Json]:
        """Returns the messages with exactly one result after each call, under ids that the target takes and that no
        other call has. A result without its call becomes the user's text."""
        paired: list[Json] = []
        open_calls: list[tuple[str, Json]] = []
        for message in messages:
            if message is None:
                continue
            if message["role"] == "tool":
                paired.append(_settle(open_calls, message))
                continue
            paired += _unsettled(open_calls)
            if calls := message.get("tool_calls"):
                given = [call["id"] for call in calls]
                calls = [{**call, "id": self._fit_id(call["id"])} for call in calls]
                open_calls = list(zip(given, calls, strict=True))
                message = {**message, "tool_calls": calls}
            paired.append(message)
        return paired + _unsettled(open_calls)

    def _assistant(self, message: Json) -> Json | None:
        calls, content = message.get("tool_calls"), message.get("content")
        if not _has_text(content):
            if not calls:
                return None
            content = None
        if self._detail is not Detail.WHOLE:
            message = {name: message[name] for name in _PLAIN_FIELDS if name in message}
        elif any(name not in _PLAIN_FIELDS for name in message):
            self.had_more = True
        message = {**message, "content": content}
        return {**message, "tool_calls": [self._call(call) for call in calls]} if calls else message

    def _call(self, call: Json) -> Json:
        name, arguments = call["function"]["name"], call["function"].get("arguments") or "{}"
        function = {**call["function"], "name": self._name(name), "arguments": _arguments(arguments)}
        if self._detail is not Detail.WHOLE:
            return {"id": call["id"], "type": "function", "function": function}
        self.had_more |= "extra_content" in call
        return {**call, "function": function}

    def _name(self, name: str) -> str:
        """Returns the name of a called tool: a model may invent any."""
        if _NAME.match(name):
            return name
        plain = self._names.wire_name(name)
        return plain if _NAME.match(plain) else f"_{plain}"[:64]

    def _fit_id(self, given: str) -> str:
        # A mark of signed ids that no signature follows would be taken for one.
        fitted = fit_call_id(given.replace("__sig", "_sig") or "call", self._form)
        self._used[fitted] += 1
        return fitted if self._used[fitted] == 1 else self._fit_id(f"{given}_{self._used[fitted]}")

    def _user_content(self, content: Any, *, is_newest: bool) -> str | list[Json]:
        if not isinstance(content, list):
            return content if _has_text(content) else NO_TEXT
        parts = [self._part(part, is_newest=is_newest) for part in content]
        parts = [part for part in parts if part["type"] != "text" or _has_text(part["text"])]
        return parts or NO_TEXT

    def _part(self, part: Json, *, is_newest: bool) -> Json:
        if part["type"] == "text":
            return part
        reason = self._refusal_of(part)
        if is_newest:
            if reason is not None:
                raise field_error("messages", reason)
            return part
        self.had_more = True
        if reason is None and self._detail is Detail.WHOLE:
            return part
        return {"type": "text", "text": f"[{reason or 'A file of this conversation is left out.'}]"}

    def _refusal_of(self, part: Json) -> str | None:
        """Returns the sentence about a medium that the target does not take."""
        if part["type"] == UNSUPPORTED:
            return str(part["text"])
        kind = _KINDS[part["type"]]
        if self._limits.media is not None and kind not in self._limits.media:
            return f"The model takes no attachments of the type {kind}."
        if part["type"] == "input_audio":
            return None
        url = part["image_url"]["url"] if kind == "image" else part["file"].get("file_data", "")
        known = self._limits.image_types if kind == "image" else self._limits.document_types
        if known is None or (inline := parse_data_url(url)) is None:
            return None
        if inline.media_type in known or (kind == "file" and inline.text is not None and "text/plain" in known):
            return None
        return f"The model takes no data of the type {inline.media_type[:50]}."


def _newest_prompt(messages: Sequence[Json]) -> int:
    """Returns the index of the user's newest message; -1 if that has the media of a tool's result, which comes after
    the prompt was taken."""
    index = next((i for i in range(len(messages) - 1, -1, -1) if messages[i]["role"] == "user"), -1)
    content = messages[index].get("content")
    return -1 if isinstance(content, list) and content[0].get("text") == RESULT_MEDIA else index


def _has_text(content: Any) -> bool:
    return isinstance(content, str) and bool(content) and not content.isspace()


def _arguments(text: str) -> str:
    """Returns arguments that are a JSON object; others are kept under `invalid_json`, as conversions keep them."""
    text = jsontext.clean_text(text)
    try:
        if isinstance(jsontext.decode_untrusted(text.encode()), dict):
            return text
    except BadRequest:
        pass
    return jsontext.encode_text({"invalid_json": text} if text.strip() else {})


def _settle(open_calls: list[tuple[str, Json]], message: Json) -> Json:
    """Returns the result under the id of the first open call of its id."""
    for index, (given, call) in enumerate(open_calls):
        if given == message["tool_call_id"]:
            del open_calls[index]
            return {**message, "tool_call_id": call["id"]}
    return {"role": "user", "content": f"[The result of an earlier tool call:]\n{message['content']}"}


def _unsettled(open_calls: list[tuple[str, Json]]) -> list[Json]:
    """Returns results for the calls that have none."""
    results = [{"role": "tool", "tool_call_id": call["id"], "content": NO_RESULT} for _, call in open_calls]
    open_calls.clear()
    return results


def _calls_as_text(messages: Sequence[Json]) -> Iterator[Json]:
    """Yields a conversation without calls, in which their text tells what was called and what came of it."""
    names: dict[str, str] = {}
    for message in messages:
        if message["role"] == "tool":
            yield {"role": "user", "content": f"[Result of {names[message['tool_call_id']]}:]\n{message['content']}"}
        elif calls := message.get("tool_calls"):
            names |= {call["id"]: call["function"]["name"] for call in calls}
            told = [f"[Called {call['function']['name']} with {call['function']['arguments']}]" for call in calls]
            said = [message["content"]] if message["content"] else []
            yield {"role": "assistant", "content": "\n".join([*said, *told])}
        else:
            yield message
