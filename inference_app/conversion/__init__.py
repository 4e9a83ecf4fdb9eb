"""Wire conversions for OpenAI and Anthropic clients whose provider speaks a different wire.

Pure functions and small state machines without Django, settings or network access. docs/conversions.md lists the
fields that are converted and the fields that are left out.
"""

from __future__ import annotations

from inference_app.conversion.converter import ClientDialect, RequestConverter
from inference_app.conversion.failures import CompletionError
from inference_app.conversion.steps import Failure
from inference_app.conversion.token_estimate import estimate_body_tokens, estimate_response_tokens, estimate_tokens
from inference_app.conversion.usage import Usage

__all__ = [
    "ClientDialect",
    "CompletionError",
    "Failure",
    "RequestConverter",
    "Usage",
    "estimate_body_tokens",
    "estimate_response_tokens",
    "estimate_tokens",
]
