"""The session's response format, and the check of a run's answer against it.

The request uses the library's structured output (`output_type`), in a mode that streams text and needs no hidden tool.
The answer is checked here, because the library does not validate against a plain JSON Schema.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic_ai import NativeOutput, PromptedOutput, StructuredDict
from pydantic_ai.exceptions import UserError

from core_app import jsontext
from core_app.errors import BadRequest
from tools_app.schema import violation

MAX_REPEATED_REQUESTS = 2
"""Number of times a run asks again after an answer that is empty or violates the format."""

EMPTY_FEEDBACK = "Your last response had neither text nor a tool call. Answer the user now."

_FENCED = re.compile(r"\A\s*```(?:json)?\s*\n(.*?)\n?```\s*\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class ResponseFormat:
    """A response format. `schema` is the JSON text of its JSON Schema, which was checked when it was set."""

    schema: str

    @classmethod
    def of(cls, response_format: Mapping[str, Any] | None) -> ResponseFormat | None:
        return cls(jsontext.encode_text(dict(response_format))) if response_format else None

    def output_type(self, *, json_schema: bool) -> Any:
        """Returns the output type for the library: plain text if it cannot express the schema."""
        try:
            shape = StructuredDict(jsontext.decode(self.schema), name="answer")
        except UserError:
            return str
        return NativeOutput(shape, name="answer") if json_schema else PromptedOutput(shape, name="answer")

    def instructions(self) -> str:
        """Returns the instructions for a request with plain text output."""
        return f"Answer with one JSON object alone that fits this JSON Schema, no other text:\n{self.schema}"

    def check_answer(self, text: str) -> str:
        """Returns the answer as canonical JSON text. Raises ValueError, with a sentence for the model, if it violates
        the format."""
        match = _FENCED.match(text)
        inner = (match.group(1) if match else text).strip()
        try:
            value = jsontext.decode_untrusted(inner.encode())
        except BadRequest:
            raise ValueError("Your answer is not JSON. Answer again with one JSON object and no other text.") from None
        if reason := violation(self.schema, value):
            raise ValueError(f"Your answer was checked against the response format and refused. {reason}")
        return jsontext.encode_text(value)
