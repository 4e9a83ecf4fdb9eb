"""Wire conversions: an OpenAI or Anthropic client served by a provider that speaks another wire.

Pure functions and small state machines: nothing here knows Django, settings or the network. What both sides can say
and what is left out is written down in docs/conversions.md.
"""

from __future__ import annotations

from inference_app.conversion.converter import ClientDialect, RequestConverter
from inference_app.conversion.failures import CompletionError
from inference_app.conversion.steps import Failure
from inference_app.conversion.token_estimate import estimate_tokens
from inference_app.conversion.usage import Usage

__all__ = ["ClientDialect", "CompletionError", "Failure", "RequestConverter", "Usage", "estimate_tokens"]
