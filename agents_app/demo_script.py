"""The agent library's messages as the turn that a script of the demo goes by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, ToolReturnPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo

from inference_app.demo.script import ToolResult, Turn


def turn_of(messages: Sequence[ModelMessage], info: AgentInfo) -> Turn:
    """Returns the newest prompt, the tool results after it, and what the answer may use."""
    prompt, results = _newest_prompt(messages)
    shape = info.model_request_parameters.output_object
    return Turn(
        prompt=prompt,
        results=[ToolResult(result.tool_name, result.model_response_str()) for result in results],
        tools=frozenset(tool.name for tool in info.function_tools),
        schema=None if shape is None else shape.json_schema,
        first=not any(isinstance(message, ModelResponse) for message in messages),
    )


def _newest_prompt(messages: Sequence[ModelMessage]) -> tuple[str, list[ToolReturnPart]]:
    """Returns the text of the newest prompt and the tool results after it."""
    results: list[ToolReturnPart] = []
    for message in reversed(messages):
        if not isinstance(message, ModelRequest):
            continue
        prompts = [part for part in message.parts if isinstance(part, UserPromptPart)]
        if prompts:
            # Earlier parts are prompts of aborted or failed runs.
            return _text(prompts[-1]), results
        results = [part for part in message.parts if isinstance(part, ToolReturnPart)] + results
    return "", results


def _text(part: UserPromptPart) -> str:
    if isinstance(part.content, str):
        return part.content
    return " ".join(item if isinstance(item, str) else f"[{_kind(item)}]" for item in part.content)


def _kind(item: Any) -> str:
    return str(getattr(item, "media_type", "attachment"))
