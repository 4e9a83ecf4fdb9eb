"""Credentials of the MCP servers that a request brings, sealed while the request waits for its run."""

from __future__ import annotations

from typing import Any

from core_app import jsontext
from core_app.sealing import seal, unseal
from inference_app.relay import Envelope

SEALED = "gateway_sealed"
_SECRETS = ("authorization", "headers")
_MAY_HAVE = b'"mcp"'


def secrets_seal(envelope: Envelope) -> Envelope:
    """Returns a request whose tools show no credential."""
    return _with_tools(envelope, _seal)


def secrets_unseal(envelope: Envelope) -> Envelope:
    """Returns the request as it came. Raises Unprocessable where GATEWAY_SECRET_KEY is another by now."""
    return _with_tools(envelope, _unseal)


def _with_tools(envelope: Envelope, change: Any) -> Envelope:
    raw = envelope.fields.get("tools")
    if raw is None or _MAY_HAVE not in bytes(memoryview(raw)):
        return envelope
    tools = jsontext.decode_untrusted(bytes(memoryview(raw)), field="tools")
    if not isinstance(tools, list):
        return envelope
    return envelope.with_value("tools", jsontext.encode([change(tool) for tool in tools]))


def _seal(tool: Any) -> Any:
    if not isinstance(tool, dict) or tool.get("type") != "mcp" or not any(tool.get(name) for name in _SECRETS):
        return tool
    kept = {name: value for name, value in tool.items() if name not in (*_SECRETS, SEALED)}
    return {**kept, SEALED: seal(jsontext.encode_text({name: tool.get(name) for name in _SECRETS}))}


def _unseal(tool: Any) -> Any:
    if not isinstance(tool, dict) or SEALED not in tool:
        return tool
    shown = {name: value for name, value in tool.items() if name != SEALED}
    return {**shown, **jsontext.decode(unseal(tool[SEALED]))}
