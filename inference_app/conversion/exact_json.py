"""JSON that keeps a tool's input as the text it came in.

Decoded numbers lose digits (2^64, `1.50`) and decoded strings their escapes, while a stream passes both unchanged. A
tool's input is therefore an `ExactObject`: a dict for the code that looks into it, and its original text for the
encoder. Lone surrogates and other values that orjson rejects are cleaned everywhere else.
"""

from __future__ import annotations

from typing import Any

import msgspec
import orjson

from core_app import jsontext
from core_app.errors import BadRequest

Json = dict[str, Any]

_TOOL_USE = b'"tool_use"'


class ExactObject(dict[str, Any]):
    """A JSON object with its original text."""

    __slots__ = ("text",)

    def __init__(self, value: Json, text: str) -> None:
        super().__init__(value)
        self.text = text


class _Block(msgspec.Struct):
    """The input of one content block, undecoded."""

    type: Any = None
    input: msgspec.Raw = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw(b"")


class _Conversation(msgspec.Struct):
    messages: list[_Message] = []


_BLOCKS = msgspec.json.Decoder(list[_Block])
_CONVERSATION = msgspec.json.Decoder(_Conversation)
_MESSAGE = msgspec.json.Decoder(_Message)


def encode(value: Any) -> bytes:
    """Encodes a value; the cleaning path is taken only when orjson refuses."""
    try:
        return orjson.dumps(value, _exact_text, orjson.OPT_PASSTHROUGH_SUBCLASS)
    except (orjson.JSONEncodeError, RecursionError):
        return orjson.dumps(_clean(value), _exact_text, orjson.OPT_PASSTHROUGH_SUBCLASS)


def decode(raw: bytes) -> Any:
    """Decodes JSON of any type. Cleans values that orjson rejects, or raises BadRequest."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return jsontext.decode_untrusted(raw)


def decode_request(raw: bytes) -> Any:
    """Decodes a client's request, with the inputs of Anthropic's `tool_use` blocks as ExactObject."""
    value = decode(raw)
    if _TOOL_USE in raw and isinstance(value, dict) and isinstance(value.get("messages"), list):
        try:
            contents = [message.content for message in _CONVERSATION.decode(raw).messages]
        except (msgspec.DecodeError, RecursionError):
            return value
        for message, content in zip(value["messages"], contents, strict=True):
            _keep_inputs(message, content)
    return value


def decode_answer(raw: bytes) -> Any:
    """Decodes a provider's answer, with the inputs of Anthropic's `tool_use` blocks as ExactObject."""
    value = decode(raw)
    if _TOOL_USE in raw and isinstance(value, dict):
        try:
            _keep_inputs(value, _MESSAGE.decode(raw).content)
        except (msgspec.DecodeError, RecursionError):
            return value
    return value


def parse_object(text: str) -> ExactObject | None:
    """Returns the JSON object in a text; None for anything else."""
    raw = text.encode("utf-8", "surrogatepass")
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        try:
            value = jsontext.decode_untrusted(text.encode("utf-8", "replace"))
        except BadRequest:
            return None
    return ExactObject(value, text) if isinstance(value, dict) else None


def object_text(value: Json) -> str:
    """Returns an object as JSON: its original text if there is one."""
    return value.text if isinstance(value, ExactObject) else encode(value).decode()


def _keep_inputs(message: Any, content: msgspec.Raw) -> None:
    """Replaces the inputs of a message's calls by the same objects with their text."""
    blocks = message.get("content") if isinstance(message, dict) else None
    if not isinstance(blocks, list) or _TOOL_USE not in bytes(content):
        return
    try:
        raws = _BLOCKS.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return
    for block, raw in zip(blocks, raws, strict=True):
        if raw.type == "tool_use" and isinstance(block.get("input"), dict):
            block["input"] = ExactObject(block["input"], bytes(raw.input).decode())


def _exact_text(value: Any) -> orjson.Fragment | str:
    if isinstance(value, ExactObject):
        return orjson.Fragment(value.text)
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def _clean(value: Any) -> Any:
    """Returns a copy that orjson accepts. Texts of exact objects are valid JSON already."""
    if isinstance(value, ExactObject):
        return ExactObject({}, replace_lone(value.text))
    if isinstance(value, dict):
        return {jsontext.clean_text(str(name)): _clean(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    return jsontext.clean(value)


def replace_lone(text: str) -> str:
    """Returns the text with U+FFFD for halves of surrogate pairs, which are no UTF-8."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
