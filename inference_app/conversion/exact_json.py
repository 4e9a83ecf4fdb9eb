"""JSON that keeps a tool's input as the text it came in.

Decoded numbers lose digits (2^64, `1.50`) and decoded strings their escapes, while a stream passes both unchanged. A
tool's input is therefore an `ExactObject`: a dict for the code that looks into it, and its original text for the
encoder. Lone surrogates and other values that orjson rejects are cleaned everywhere else.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, TypeVar

import msgspec
import orjson

from core_app import jsontext
from core_app.errors import BadRequest
from core_app.surrogates import replace_lone_surrogates

Json = dict[str, Any]
T = TypeVar("T")

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
    content: list[_Block] | str | None = None


class _Conversation(msgspec.Struct):
    messages: list[_Message] = []


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
        exact = _decode_exactly(_CONVERSATION, raw)
        if exact is not None:
            for message, kept in zip(value["messages"], exact.messages, strict=True):
                _keep_inputs(message, kept)
    return value


def decode_answer(raw: bytes) -> Any:
    """Decodes a provider's answer, with the inputs of Anthropic's `tool_use` blocks as ExactObject."""
    value = decode(raw)
    if _TOOL_USE in raw and isinstance(value, dict) and (exact := _decode_exactly(_MESSAGE, raw)) is not None:
        _keep_inputs(value, exact)
    return value


def _decode_exactly(decoder: msgspec.json.Decoder[T], raw: bytes) -> T | None:
    """Returns the parts whose text is kept; None for a body of another shape. Halves of surrogate pairs, which msgspec
    refuses, are replaced."""
    try:
        return decoder.decode(raw)
    except RecursionError:
        return None
    except msgspec.DecodeError:
        whole = replace_lone_surrogates(raw)
    if whole is None:
        return None
    with suppress(msgspec.DecodeError, RecursionError):
        return decoder.decode(whole)
    return None


def parse_object(text: str) -> ExactObject | None:
    """Returns the JSON object in a text; None for anything else."""
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        try:
            value = jsontext.decode_untrusted(text.encode("utf-8", "replace"))
        except BadRequest:
            return None
    return ExactObject(value, text) if isinstance(value, dict) else None


def object_text(value: Json) -> str:
    """Returns an object as JSON: its original text if there is one."""
    return value.text if isinstance(value, ExactObject) else encode(value).decode()


def _keep_inputs(message: Json, exact: _Message) -> None:
    """Replaces the inputs of a message's calls by the same objects with their text."""
    if not isinstance(exact.content, list):
        return
    for block, raw in zip(message["content"], exact.content, strict=True):
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
