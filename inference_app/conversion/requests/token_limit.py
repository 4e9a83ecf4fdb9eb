"""Token limit of a chat request: `max_tokens`, which most providers accept, or `max_completion_tokens`.

OpenAI's own models take the newer name, and its reasoning models reject the older one.
"""

from __future__ import annotations

import re

from inference_app.conversion.validation import Json

_OPENAI = re.compile(r"(?:openai/)?(?:gpt-(?!oss)|chatgpt-|o\d)")


def token_limit(model: object, limit: int) -> Json:
    """Returns the field that limits the completion of `model`."""
    newer = isinstance(model, str) and _OPENAI.match(model)
    return {"max_completion_tokens" if newer else "max_tokens": limit}
