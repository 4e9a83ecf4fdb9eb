"""What went wrong with a provider's answer, said without a word of the provider's own text.

Only the error's code is taken over, and only when it looks like one.
"""

from __future__ import annotations

import re
from typing import Any

from inference_app.conversion.steps import Failure

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
_STATUSES = {"rate_limit_error": 429, "rate_limit_exceeded": 429, "overloaded_error": 529, "429": 429, "529": 529}


class CompletionError(ValueError):
    """A provider's answer that is none: garbage, an error in an answer's place, or an end before the end."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.code)
        self.failure = failure


def provider_error(error: Any) -> Failure:
    """An error object that came in the place of an answer, or in the middle of one."""
    fields = error if isinstance(error, dict) else {}
    named = (fields.get("code"), fields.get("type"))
    code = next((str(name) for name in named if name and _CODE.match(str(name))), "provider_error")
    return Failure(code, f"The provider ended its answer with the error {code}.", _STATUSES.get(code, 502))
