"""What the model reasoning in earlier turns: out of the request, but for models that refuse a conversation without it.

DeepSeek's and Kimi's thinking models answer 400 when an assistant's message lacks its `reasoning_content` after tools
were called; others have no field for it, and some refuse one that they do not know.
"""

from __future__ import annotations

import re

from inference_app.conversion.validation import Json

_REQUIRING = re.compile(
    r"(?:.*/)?(?:deepseek-(?:reasoner|v3\.[2-9]|v[4-9])|kimi-(?:thinking|k2-thinking|k2\.[5-9]|k[3-9]))", re.IGNORECASE
)


def requires_reasoning(model: object) -> bool:
    """Whether the provider's model insists on its thoughts."""
    return isinstance(model, str) and _REQUIRING.match(model) is not None


def add_reasoning(message: Json, reasoning: str) -> None:
    """Puts a reasoning into an assistant's message, behind those that are there."""
    message["reasoning_content"] = "\n\n".join(filter(None, (message.get("reasoning_content"), reasoning)))
