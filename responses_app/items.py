"""Items of input: as the client sent them for models, and with ids for those who list them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from core_app import jsontext
from core_app.errors import BadRequest, NotFound
from inference_app.relay.reasoning_filter import is_gateway_id

Json = dict[str, Any]
Raw = bytes | memoryview | msgspec.Raw

_PREFIXES: Mapping[str, str] = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "function_call_output": "fco",
    "custom_tool_call": "ctc",
    "custom_tool_call_output": "cto",
}
_TEXT_PARTS = ("input_text", "output_text", "text")
MAX_EXCERPT = 500
"""Characters of the text by which a background response's session is recognised."""

_WHOLE_ONLY = frozenset({"function_call", "custom_tool_call", "mcp_call", "mcp_approval_request"})


def input_items(given: Raw | None) -> str:
    """Returns `input` as a list of items, in the client's own bytes; a text becomes the user's message."""
    raw = b"[]" if given is None else bytes(memoryview(given)).strip()
    if raw == b"null":
        return "[]"
    if raw[:1] == b'"':
        return f'[{{"role":"user","content":{raw.decode()}}}]'
    if raw[:1] != b"[":
        raise BadRequest("'input' must be a text or a list of items.", field="input")
    return raw.decode()


def join_items(lists: Iterable[str]) -> bytes:
    """Returns one list of the items of several, each in its own bytes."""
    inside = (text.strip()[1:-1].strip() for text in lists)
    return b"[%b]" % ",".join(filter(None, inside)).encode()


def replayed_output(output: str, abandoned: int) -> str:
    """Returns the items of an output as later requests show them to a model.

    Left out are attempts that were cut off, calls whose arguments are not whole, and reasoning that only the provider
    that stored it could read. Ids go, too: a provider looks for them among what it has stored.
    """
    return jsontext.encode_text(_replay(counted_items(jsontext.decode(output), abandoned)))


def counted_items(output: Sequence[Json], abandoned: int) -> list[Json]:
    """Returns the items of an output without those of attempts that were cut off. Calls of hosted tools stand: they
    were made, and no later attempt makes them again."""
    return [*filter(is_settled, output[:abandoned]), *output[abandoned:]]


def is_settled(item: Json) -> bool:
    """True for what a hosted tool or its server has answered."""
    return item.get("type") == "mcp_list_tools" or (
        item.get("type") == "mcp_call" and item.get("status") in ("completed", "failed")
    )


def replayed_items(text: str) -> str:
    """Returns the items of a conversation as requests show them to a model, like those of an output."""
    return jsontext.encode_text(_replay(jsontext.decode(text)))


def replayed_item(item: Json) -> Json | None:
    """Returns one item as requests show it to a model; None for one that is left out."""
    return _replayed(item) if _is_replayed(item) else None


def _replay(items: Sequence[Json]) -> list[Json]:
    return [_replayed(item) for item in items if _is_replayed(item)]


def _is_replayed(item: Json) -> bool:
    if item.get("type") == "reasoning":
        return bool(item.get("encrypted_content")) or is_gateway_id(str(item.get("id")))
    return item.get("status") != "incomplete" or item.get("type") not in _WHOLE_ONLY


def _replayed(item: Json) -> Json:
    if item.get("type") == "reasoning":
        return item
    if str(item.get("type")).startswith("mcp_"):
        # An approval finds its request by the id.
        return {name: value for name, value in item.items() if name != "status"}
    return {name: value for name, value in item.items() if name not in ("id", "status")}


def listed_items(response_id: str, text: str) -> list[Json]:
    """Returns items of input as the API lists them: each with its type and an id, always the same."""
    return [_listed(response_id, number, item) for number, item in enumerate(jsontext.decode(text))]


def _listed(response_id: str, number: int, item: Any) -> Json:
    shown = dict(item) if isinstance(item, dict) else {}
    kind = shown["type"] = str(shown.get("type") or "message")
    if not shown.get("id"):
        shown["id"] = f"{_PREFIXES.get(kind, 'item')}_{response_id.partition('_')[2]}{number:04x}"
    if kind == "message":
        shown.setdefault("status", "completed")
        if isinstance(shown.get("content"), str):
            part = "output_text" if shown.get("role") == "assistant" else "input_text"
            more: Json = {"annotations": []} if part == "output_text" else {}
            shown["content"] = [{"type": part, "text": shown["content"], **more}]
    return shown


@dataclass(frozen=True, slots=True)
class Page:
    """The part of a list that a client asked for. `descending` is the API's default."""

    limit: int = 20
    after: str | None = None
    descending: bool = True


def items_page(items: Sequence[Json], page: Page) -> Json:
    """Returns one page of items as the API's list. Raises NotFound for an `after` that is none of them."""
    ordered = list(reversed(items)) if page.descending else list(items)
    if page.after is not None:
        at = next((number for number, item in enumerate(ordered) if item["id"] == page.after), None)
        if at is None:
            raise NotFound("There is no item with the id of 'after' in this list.", field="after")
        ordered = ordered[at + 1 :]
    return list_of(ordered[: page.limit], has_more=len(ordered) > page.limit)


def list_of(items: Sequence[Json], *, has_more: bool) -> Json:
    """Returns items as the API's list."""
    first, last = (items[0]["id"], items[-1]["id"]) if items else (None, None)
    return {"object": "list", "data": list(items), "first_id": first, "last_id": last, "has_more": has_more}


def excerpt(text: str) -> str:
    """Returns the beginning of the newest text of the user, for people who look for the response's session."""
    for item in reversed(jsontext.decode(text)):
        if isinstance(item, dict) and item.get("role") == "user":
            return jsontext.clean_text(" ".join(_texts(item.get("content"))))[:MAX_EXCERPT]
    return ""


def output_text(output: Sequence[Json]) -> str:
    """Returns the texts of the messages, joined as the official clients join them."""
    return "".join(
        part.get("text") or ""
        for item in output
        if item.get("type") == "message"
        for part in item.get("content") or ()
        if part.get("type") == "output_text"
    )


def _texts(content: Any) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    elif isinstance(content, list):
        for part in content:
            if isinstance(part, dict) and part.get("type") in _TEXT_PARTS and isinstance(part.get("text"), str):
                yield part["text"]
