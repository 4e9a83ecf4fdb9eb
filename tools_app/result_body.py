"""The result body of a tool, `{"result": …}` or `{"error": "…"}`.

docs/protocol-native.md, "Tools, approvals, questions".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from core_app import jsontext
from core_app.errors import BadRequest


def parse_result_body(body: Any) -> tuple[Literal["ok", "error"], str]:
    """Returns status and text of a result body; raises BadRequest for any other shape.

    A null beside the other field is absent: clients that serialise a class send both fields.
    """
    if not isinstance(body, Mapping) or (body.get("error") is None and "result" not in body):
        raise BadRequest('The body must be {"result": …} or {"error": "…"}.', field="result")
    error = body.get("error")
    if error is None:
        return "ok", as_text(body["result"])
    if body.get("result") is not None:
        raise BadRequest("The body must have a result or an error, not both.", field="result")
    if not isinstance(error, str):
        raise BadRequest("error must be text.", field="error")
    return "error", error or "The tool failed without saying why."


def as_text(value: Any) -> str:
    """Returns a result as the model reads it: text as it is, anything else as JSON."""
    return jsontext.clean_text(value) if isinstance(value, str) else jsontext.encode_text(value)
