"""Items of hosted tools as a model reads them: a call that was made is a function's call with its output.

Lists of tools say nothing to a model, which gets the tools themselves; nor do approvals, but for those that were
refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from core_app import jsontext
from tools_app.mcp.names import model_name

Json = dict[str, Any]

MARK = b'"mcp_'
"""A list of items without it has none of these."""

_OURS = re.compile(r"mcp[lr]?_(?:[a-z0-9]{1,8}_)?[0-9a-hjkmnp-tv-z]{26}\Z")
"""Ids of items that the gateway made (`core_app.ids`)."""

REFUSED = "The user did not approve this call."


def model_items(items: Sequence[Any]) -> list[Any]:
    """Returns a list of items as a model gets it."""
    approvals = _approvals(items)
    return [shown for item in items for shown in _shown(item, approvals)]


def model_items_text(items: bytes) -> bytes:
    """Does the same for an `input` as JSON, which may be a text."""
    decoded = jsontext.decode_untrusted(items, field="input")
    return jsontext.encode(model_items(decoded)) if isinstance(decoded, list) else items


def kind_of(item: Any) -> str:
    """Returns the type of an item; none for what is no object."""
    return str(item.get("type") or "message") if isinstance(item, dict) else ""


def _approvals(items: Sequence[Any]) -> dict[str, Json]:
    answers = (item for item in items if kind_of(item) == "mcp_approval_response")
    return {str(item.get("approval_request_id")): item for item in answers}


def _is_ours(item: Any) -> bool:
    """True for an item that the gateway made, or that answers one. A provider's own stay as they are."""
    named = item.get("approval_request_id") if kind_of(item) == "mcp_approval_response" else item.get("id")
    return isinstance(named, str) and _OURS.match(named) is not None


def _shown(item: Any, approvals: dict[str, Json]) -> Iterator[Any]:
    kind = kind_of(item)
    if not kind.startswith("mcp_") or not _is_ours(item):
        yield item
    elif kind == "mcp_call":
        yield from _call(item, result_text(item))
    elif kind == "mcp_approval_request":
        answer = approvals.get(str(item.get("id")))
        if answer is not None and answer.get("approve") is False:
            reason = f" {answer['reason']}" if answer.get("reason") else ""
            yield from _call(item, REFUSED + reason)


def _call(item: Json, output: str) -> Iterator[Json]:
    name = model_name(str(item.get("server_label")), str(item.get("name")))
    call_id = str(item.get("id") or f"mcp_{item.get('name')}")
    arguments = item.get("arguments")
    yield {
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments if isinstance(arguments, str) else "{}",
    }
    yield {"type": "function_call_output", "call_id": call_id, "output": output}


def result_text(item: Json) -> str:
    """Returns what a call brought, for the model."""
    if isinstance(item.get("output"), str):
        return str(item["output"])
    error = item.get("error")
    content = error.get("content") if isinstance(error, dict) else None
    texts = [str(part.get("text")) for part in content or () if isinstance(part, dict) and part.get("text")]
    return "\n".join(texts) or (str(error.get("message")) if isinstance(error, dict) and error.get("message") else "")
