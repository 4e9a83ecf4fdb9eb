"""Failures of a provider's completion, described without the provider's own text.

Only the provider's error code is kept, and only if it has the form of a code.
"""

from __future__ import annotations

import re
from typing import Any

from inference_app.conversion.steps import Failure

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_STATUSES = {"rate_limit_error": 429, "rate_limit_exceeded": 429, "overloaded_error": 529, "429": 429, "529": 529}


class CompletionError(ValueError):
    """An invalid completion: malformed JSON, an error instead of a completion, or a premature end."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


def provider_error(error: Any) -> Failure:
    """Returns the failure for a provider's error object, sent instead of a completion or within its stream."""
    fields = error if isinstance(error, dict) else {}
    named = (fields.get("code"), fields.get("type"))
    code = next((str(name) for name in named if name and _CODE.match(str(name))), "provider_error")
    return Failure(code, f"The provider ended its answer with the error {code}.", _STATUSES.get(code, 502))
