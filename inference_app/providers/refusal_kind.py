"""The kind of a provider's refusal: what a caller can do about it depends on its code, or on its words.

Many providers have no code for a conversation that is too long, and say it in a sentence.
"""

from __future__ import annotations

import re
from typing import Literal

from inference_app.errors import ProviderRefusal

RefusalKind = Literal["too_long", "filtered", "other"]

_TOO_LONG = re.compile(
    r"maximum context length|reduce the length of the (?:messages|input|prompt)"
    r"|(?:prompt|input) (?:is too long|token count)|input tokens? exceed|too many tokens"
    r"|exceeds? the (?:maximum )?(?:number of tokens allowed|(?:available )?context (?:window|length|size))"
    r"|context (?:window|length|size) (?:is |was )?exceed|input length and `?max_tokens`? exceed context limit",
    re.IGNORECASE,
)
_TOO_LONG_CODES = frozenset({"context_length_exceeded", "string_above_max_length", "context_window_exceeded"})
_FILTERED_CODES = frozenset({"content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation"})


def refusal_kind(refusal: ProviderRefusal | None) -> RefusalKind:
    """Returns the kind of a refusal."""
    if refusal is None:
        return "other"
    named = {refusal.provider_code, refusal.type}
    if named & _TOO_LONG_CODES or _TOO_LONG.search(refusal.message):
        return "too_long"
    return "filtered" if named & _FILTERED_CODES else "other"
