"""The result body of a tool, `{"result": …}` or `{"error": "…"}`.

docs/protocol-native.md, "Tools, approvals, questions".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from core_app import jsontext
from core_app.errors import BadRequest


def parse_result_body(body: Any) -> tuple[Literal["ok", "error"], str]:
    """Status and text of a result body; raises BadRequest for any other shape."""
    if not isinstance(body, Mapping) or ("result" in body) == ("error" in body):
        raise BadRequest('The body must be {"result": …} or {"error": "…"}.', field="result")
    if "error" not in body:
        return "ok", as_text(body["result"])
    if not isinstance(body["error"], str):
        raise BadRequest("error must be text.", field="error")
    return "error", body["error"] or "The tool failed without saying why."


def as_text(value: Any) -> str:
    """A result as the model reads it: text as it is, anything else as JSON."""
    return jsontext.clean_text(value) if isinstance(value, str) else jsontext.encode_text(value)
