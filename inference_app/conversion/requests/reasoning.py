"""Reasoning of earlier assistant messages: dropped, except for models that reject a conversation without it.

DeepSeek's and Kimi's thinking models respond with 400 if an assistant message with tool calls lacks
`reasoning_content`. Other models have no such field, and some reject unknown fields.
"""

from __future__ import annotations

import re

from inference_app.conversion.validation import Json

_REQUIRING = re.compile(
    r"(?:.*/)?(?:deepseek-(?:reasoner|v3\.[2-9]|v[4-9])|kimi-(?:thinking|k2-thinking|k2\.[5-9]|k[3-9]))", re.IGNORECASE
)


def requires_reasoning(model: object) -> bool:
    """Returns True if the provider's model requires its earlier reasoning."""
    return isinstance(model, str) and _REQUIRING.match(model) is not None


def add_reasoning(message: Json, reasoning: str) -> None:
    """Appends to the reasoning of an assistant message."""
    message["reasoning_content"] = "\n\n".join(filter(None, (message.get("reasoning_content"), reasoning)))
