"""How a model's output is bounded in chat: by `max_tokens`, which everybody knows, or by its newer name.

OpenAI's own models take `max_completion_tokens` and, since they reason, refuse the other.
"""

from __future__ import annotations

import re

from inference_app.conversion.validation import Json

_OPENAI = re.compile(r"(?:openai/)?(?:gpt-(?!oss)|chatgpt-|o\d)")


def token_limit(model: object, limit: int) -> Json:
    """The field that bounds the answer of `model`."""
    newer = isinstance(model, str) and _OPENAI.match(model)
    return {"max_completion_tokens" if newer else "max_tokens": limit}
