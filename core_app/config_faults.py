"""Sentences about faults of a typed configuration: the path to the field, what is wrong there, and what to write.

pydantic finds the faults; its words speak of Python's types and inputs, so none of them reaches the operator. A value
is never repeated, because it may be a secret.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from core_app.suggestion import suggestion

_TAGS = re.compile(r"(function-|constrained|literal\[|tuple\[|list\[|dict\[|json-|\[key\]|(int|float|str|bool)\Z)")
"""Steps of a fault's path that name a check and no field."""


def fault_parts(error: ValidationError, *, section: str, form: Any = None) -> tuple[str, str]:
    """Returns the path of a section's first fault, and the rest of the sentence about it. `form` is the section's type,
    for which names are known and forms shown."""
    faults = error.errors(include_url=False, include_input=False)
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    steps = [step for step in fault["loc"] if isinstance(step, int) or not _TAGS.match(step)]
    return ".".join(str(step) for step in (section, *steps)), _reason(fault, steps, form)


def _reason(fault: Any, steps: Sequence[str | int], form: Any) -> str:
    kind, context, last = fault["type"], fault.get("ctx") or {}, str(steps[-1]) if steps else ""
    if kind == "extra_forbidden":
        owner = _type_at(form, steps[:-1])
        return f"is not a field.{suggestion(last, field_names(owner))}{_listed(owner)}"
    if kind == "value_error":
        words = str(context.get("error", ""))
        end = "" if words.endswith(("?", ".")) else "."
        return f"{'' if words.partition(' ')[0] in _VERBS else 'cannot be used: '}{words}{end}"
    if kind == "literal_error":
        return f"must be {context['expected']}."
    if kind in _WORDS:
        return f"{_WORDS[kind].format(**context)}."
    example = getattr(_type_at(form, steps), "FORM", "")
    if example and "model" in kind:
        return f"must be {example}."
    return f"{next((words for part, words in _KINDS if part in kind), 'has a value that cannot be used')}."


_VERBS = frozenset({"is", "must", "takes", "names", "has", "leads"})
"""Beginnings of the rooms' own words that follow the path as a sentence."""

_WORDS: Mapping[str, str] = {
    "missing": "is missing",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than": "must be less than {lt:g}",
    "less_than_equal": "must be at most {le:g}",
    "finite_number": "must be a finite number",
    "string_too_short": "must not be empty",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must not be empty",
    "too_long": "must have at most {max_length} entries",
    "string_pattern_mismatch": "must consist of letters, digits, '-' and '_'",
}

_KINDS = (
    ("model", "must be a mapping of fields"),
    ("dict", "must be a mapping of names to entries"),
    ("mapping", "must be a mapping of names to entries"),
    ("list", "must be a list"),
    ("tuple", "must be a list"),
    ("bool", "must be true or false"),
    ("int", "must be a whole number"),
    ("float", "must be a number"),
    ("string", "must be text; put a number, yes, no, on and off into quotes"),
)


def field_names(model: type[BaseModel] | None) -> list[str]:
    """Returns the names that a model's mapping may have in the file."""
    return [] if model is None else list(model.model_fields)


def _listed(model: type[BaseModel] | None) -> str:
    names = field_names(model)
    return f" There are: {', '.join(names)}." if names else ""


def _type_at(form: Any, steps: Sequence[str | int]) -> type[BaseModel] | None:
    """Follows a path through annotated types; None where it ends in no model."""
    now = form
    for step in steps:
        now = _inner(now, step)
    for candidate in (now, *get_args(now)):
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            return candidate
    return None


def _inner(form: Any, step: str | int) -> Any:
    if isinstance(form, type) and issubclass(form, BaseModel):
        field = form.model_fields.get(str(step))
        return None if field is None else field.annotation
    arguments = get_args(form)
    origin = get_origin(form)
    if isinstance(step, int) and arguments and origin in (tuple, list):
        return arguments[0]
    if origin is not None and isinstance(origin, type) and issubclass(origin, Mapping) and len(arguments) == 2:
        return arguments[1]
    # Annotated and unions: the first part that leads on.
    for argument in arguments:
        if (found := _inner(argument, step)) is not None:
            return found
    return None
