"""Scripts of the demo's models: pure functions from the conversation to the acts of the next response.

`tour` looks for words in the newest prompt: think, `use <tool>` (arguments may follow as JSON), ask, approve, fail,
`long <n>`. It calls the tools first and then answers with their results; the first answer of a conversation says what
else to try. A response depends on the conversation alone, so a retried leg repeats it. Scripts run on the event loop,
for every tenant: they take time in proportion to the prompt's length, and less than a millisecond at a stretch.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from core_app import jsontext

MAX_WORDS = 100_000
"""Number of words in the longest answer."""

MAX_USES = 100
"""Number of `use <tool>` that are looked at, in the prompt's order; the gateway takes no more calls in one response."""

MAX_ARGS_CHARACTERS = 10_000
"""Characters after a tool's name that may belong to its arguments. A prompt can be 1 MiB long, and each of the names in
it may begin an object that goes to its end."""

MAX_SAMPLE_VALUES = 1000
"""Number of values in the longest structured answer. A schema may ask for a billion with `minItems`."""

_WORDS = re.compile(r"\s*\S+\s*")
_SPACE = re.compile(r"\s*")
_QUOTES = re.compile("([“”])")
_USE = re.compile(r"\buse\s+([A-Za-z_][A-Za-z0-9_-]{0,63})", re.IGNORECASE)
_LONG = re.compile(r"\blong\s+(\d{1,9})\b", re.IGNORECASE)
_LETTERS = ("lorem", "ipsum", "dolor", "sit", "amet", "consectetur", "adipiscing", "elit")


@dataclass(frozen=True, slots=True)
class Say:
    text: str


@dataclass(frozen=True, slots=True)
class Think:
    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call. `number` counts from 0 in every response, as providers count."""

    number: int
    name: str
    args: str


@dataclass(frozen=True, slots=True)
class Fail:
    """A failure of the provider."""


Act = Say | Think | Call | Fail


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a tool that was called since the newest prompt."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """The part of a request that a script goes by. `tools` are the names of those that may be called, `schema` the form
    that the answer must have, `first` whether the conversation begins with this prompt."""

    prompt: str
    results: Sequence[ToolResult] = ()
    tools: frozenset[str] = frozenset()
    schema: Mapping[str, Any] | None = None
    first: bool = False


def echo(turn: Turn) -> Iterator[Act]:
    """Answers with the prompt's text."""
    yield from _say_words(turn.prompt)


def tour(turn: Turn) -> Iterator[Act]:
    """Responds with tool calls if the prompt asks for tools that have no results yet, else with the answer."""
    wishes = _unquoted(turn.prompt)
    if _has_word(wishes, "fail"):
        yield Fail()
    if _has_word(wishes, "think") and not turn.results:
        yield from (Think(text) for text in ("The prompt asks me to think, ", "so I think about it."))
    calls = _calls(wishes, turn.tools)
    if calls and not turn.results:
        yield from (Call(number, name, args) for number, (name, args) in enumerate(calls))
        return
    if turn.schema is not None:
        yield from _say_words(jsontext.encode_text(_Sampler().sample(turn.schema)))
        return
    yield from _answer(turn, wishes)


def _answer(turn: Turn, wishes: str) -> Iterator[Act]:
    yield from _say_words(f"This is the demo of the gateway, no model was asked: you wrote “{turn.prompt}”.")
    for result in turn.results:
        yield from _say_words(f"\n{result.name} answered: {result.text}")
    if match := _LONG.search(wishes):
        yield Say("\n")
        count = min(int(match.group(1)), MAX_WORDS)
        yield from (Say(f"{_LETTERS[index % len(_LETTERS)]} ") for index in range(count))
    elif turn.first and not turn.results:
        yield from _say_words(f"\nTry: {', '.join(f'“{text}”' for text in stations(turn.tools))}.")


def stations(tools: Collection[str]) -> list[str]:
    """Returns prompts that show more of the demo, for a request with these tools."""
    own = sorted(name for name in tools if name not in ("ask_user", "demo_approval"))
    return [
        *(["approve this"] if "demo_approval" in tools else []),
        *(["ask me"] if "ask_user" in tools else []),
        "think",
        *(f"use {name}" for name in own[:1]),
        "long 200",
    ]


def _calls(prompt: str, tools: Collection[str]) -> list[tuple[str, str]]:
    """Returns the tools to call and their arguments, in the prompt's order. Tools the session lacks are left out."""
    uses = islice(_USE.finditer(prompt), MAX_USES)
    calls = [(match.group(1), _args_after(prompt, match.end())) for match in uses if match.group(1) in tools]
    if _has_word(prompt, "ask") and "ask_user" in tools:
        question = {"question": "Shall the tour go on?", "options": ["Yes", "No"]}
        calls.append(("ask_user", jsontext.encode_text(question)))
    if _has_word(prompt, "approve") and "demo_approval" in tools:
        calls.append(("demo_approval", jsontext.encode_text({"action": "demo"})))
    return calls


def _args_after(prompt: str, position: int) -> str:
    space = _SPACE.match(prompt, position)
    start = space.end() if space is not None else position
    if not prompt.startswith("{", start):
        return "{}"
    rest = prompt[start : start + MAX_ARGS_CHARACTERS]
    try:
        _, end = json.JSONDecoder().raw_decode(rest)
    except (ValueError, RecursionError):
        return "{}"
    return rest[:end]


def _unquoted(prompt: str) -> str:
    """Returns the prompt without what it quotes. An answer of the demo quotes its prompt and names words to try; the
    next step of a pipeline gets it as a part of its own prompt, and wishes none of that."""
    if "“" not in prompt:
        return prompt
    kept, depth = [], 0
    for piece in _QUOTES.split(prompt):
        if piece == "“":
            depth += 1
        elif piece == "”":
            depth = max(0, depth - 1)
        elif not depth:
            kept.append(piece)
    return " ".join(kept)


def _has_word(prompt: str, word: str) -> bool:
    return re.search(rf"\b{word}\b", prompt, re.IGNORECASE) is not None


def _say_words(text: str) -> Iterator[Act]:
    """Yields the text word by word. There is at least one act, because a response must not be empty."""
    return (Say(word.group()) for word in _WORDS.finditer(text)) if text.strip() else iter([Say(text or " ")])


class _Sampler:
    """Makes the smallest value that has the shape of a schema, and stops after MAX_SAMPLE_VALUES."""

    def __init__(self) -> None:
        self._left = MAX_SAMPLE_VALUES

    def sample(self, schema: Mapping[str, Any]) -> Any:
        """Returns a value of that shape; null for those of which there are too many."""
        self._left -= 1
        if self._left < 0:
            return None
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return schema["enum"][0]
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = kind[0] if isinstance(kind, list) and kind else kind
        if kind == "object":
            wanted = schema.get("required", schema.get("properties", {}))
            return {name: self.sample(schema.get("properties", {}).get(name, {})) for name in wanted}
        if kind == "array":
            return [self.sample(schema.get("items") or {}) for _ in range(min(schema.get("minItems", 0), self._left))]
        if kind in ("integer", "number"):
            return schema.get("minimum", 0)
        return {"boolean": False, "null": None}.get(str(kind), "demo")


Script = Callable[[Turn], Iterator[Act]]

SCRIPTS: Mapping[str, Script] = {"tour": tour, "echo": echo}
"""By the name of the model."""
