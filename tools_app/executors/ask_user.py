"""`ask_user`: a question from the model to a person. The run waits for `respond` and holds no resource.

The tool is never executed: `tools_app.waits` turns the call into a question with a `ref`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app import jsontext
from tools_app.executors.base import Builtin
from tools_app.types import CallContext, Outcome

MAX_OPTIONS = 20
MAX_QUESTION_CHARACTERS = 8_000


async def _run(args: Mapping[str, Any], context: CallContext) -> Outcome:
    return Outcome("error", "A question is answered by the user, not executed.")


def question_of(args: Mapping[str, Any]) -> tuple[str, str]:
    """The question and its options as encoded `[{"id", "label"}]`."""
    options = [_option(number, given) for number, given in enumerate(args.get("options") or [], start=1)]
    return args["question"], jsontext.encode_text(options)


def _option(number: int, given: Any) -> dict[str, str]:
    if isinstance(given, str):
        return {"id": str(number), "label": given}
    return {"id": given.get("id") or str(number), "label": given["label"]}


TOOL = Builtin(
    name="ask_user",
    description="Ask the user a question and wait for the answer. Give options when the answer is a choice.",
    parameters={
        "type": "object",
        "properties": {
            "question": {"type": "string", "minLength": 1, "maxLength": MAX_QUESTION_CHARACTERS},
            "options": {
                "type": "array",
                "maxItems": MAX_OPTIONS,
                "items": {
                    "anyOf": [
                        {"type": "string", "minLength": 1, "maxLength": 500},
                        {
                            "type": "object",
                            "properties": {
                                "id": {"type": "string", "maxLength": 100},
                                "label": {"type": "string", "minLength": 1, "maxLength": 500},
                            },
                            "required": ["label"],
                        },
                    ]
                },
            },
        },
        "required": ["question"],
        "additionalProperties": False,
    },
    run=_run,
)
