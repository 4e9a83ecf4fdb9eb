"""The initial response object: the request's parameters with defaults, without output."""

from __future__ import annotations

from inference_app.conversion.steps import Json

_DEFAULTS: Json = {
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": "default",
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


_SECRETS = ("authorization", "headers", "gateway_sealed")


def response_shape(request: Json, response_id: str, created_at: int) -> Json:
    """Returns a response in progress. `store` is false: who stores the response says otherwise."""
    reasoning = request.get("reasoning") if isinstance(request.get("reasoning"), dict) else {}
    asked = {name: request[name] for name in _DEFAULTS if request.get(name) is not None}
    text = asked.get("text")
    if isinstance(text, dict):
        asked["text"] = {**_DEFAULTS["text"], **text}
    if isinstance(tools := asked.get("tools"), list):
        asked["tools"] = [_without_secrets(_with_strict(tool)) for tool in tools]
    return {
        "id": response_id,
        "object": "response",
        "created_at": created_at,
        "completed_at": None,
        "status": "in_progress",
        "background": False,
        "error": None,
        "incomplete_details": None,
        "model": str(request.get("model") or ""),
        "output": [],
        "reasoning": {"effort": None, "summary": None, **(reasoning or {})},
        "store": False,
        "usage": None,
        **_DEFAULTS,
        **asked,
    }


def _without_secrets(tool: object) -> object:
    """Returns an MCP server without the credentials that the request gave for it."""
    if isinstance(tool, dict) and tool.get("type") == "mcp":
        return {name: value for name, value in tool.items() if name not in _SECRETS}
    return tool


def _with_strict(tool: object) -> object:
    """Returns a function tool with `strict`, which clients require, as OpenAI assumes it."""
    if isinstance(tool, dict) and tool.get("type") == "function" and tool.get("strict") is None:
        return {**tool, "strict": True}
    return tool
