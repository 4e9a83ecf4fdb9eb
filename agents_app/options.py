"""Checks of a session's `providerOpts`: the options of each engine, and their types.

Unknown options are refused, so that a misspelt one is not silently ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from core_app.errors import BadRequest

Check = Callable[[Any], bool]

EFFORTS = ("none", "minimal", "low", "medium", "high")


def _number(low: float, high: float) -> Check:
    def check(value: Any) -> bool:
        return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high

    return check


def _integer(low: int, high: int) -> Check:
    def check(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return check


def _boolean(value: Any) -> bool:
    return isinstance(value, bool)


def _stop(value: Any) -> bool:
    texts = value if isinstance(value, list) else [value]
    return 0 < len(texts) <= 16 and all(isinstance(text, str) and 0 < len(text) <= 200 for text in texts)


def _effort(value: Any) -> bool:
    return value in EFFORTS


def _bias(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= 300
        and all(isinstance(bias, int) and not isinstance(bias, bool) and -100 <= bias <= 100 for bias in value.values())
    )


_MODEL: Mapping[str, tuple[Check, str]] = {
    "temperature": (_number(0, 2), "a number from 0 to 2"),
    "top_p": (_number(0, 1), "a number from 0 to 1"),
    "top_k": (_integer(1, 100_000), "a whole number from 1"),
    "seed": (_integer(-(2**63), 2**63 - 1), "a whole number"),
    "stop": (_stop, "a text or a list of at most 16 texts"),
    "presence_penalty": (_number(-2, 2), "a number from -2 to 2"),
    "frequency_penalty": (_number(-2, 2), "a number from -2 to 2"),
    "logit_bias": (_bias, "an object of token ids and whole numbers from -100 to 100"),
    "parallel_tool_calls": (_boolean, "true or false"),
    "reasoning_effort": (_effort, f"one of {', '.join(EFFORTS)}"),
}
# The demo accepts a model's options too, so that clients can try it without changing their requests.
_BY_ENGINE: Mapping[str, Mapping[str, tuple[Check, str]]] = {
    "model": _MODEL,
    "demo": {**_MODEL, "delayMs": (_integer(0, 1000), "a whole number from 0 to 1000")},
}


def provider_options_check(engine: str, options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Returns the options if the engine knows each and its type is right. Raises BadRequest with the field
    `providerOpts.<name>`."""
    known = _BY_ENGINE.get(engine, {})
    for name, value in (options or {}).items():
        field = f"providerOpts.{name[:64]}"
        if name not in known:
            raise BadRequest(f"{field} is not an option of this agent.", field=field)
        check, wanted = known[name]
        if not check(value):
            raise BadRequest(f"{field} must be {wanted}.", field=field)
    return dict(options or {})
