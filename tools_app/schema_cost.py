"""An upper bound for the cost of checking a value against a tenant's schema, computed before the check.

The check runs in a library that holds the interpreter until it ends, so every other tenant waits for it. The cost is
counted in evaluations of a subschema at a value; slower operations count as several (measured; one unit is 0.1 µs).

- Subschemas multiply through references, and `unevaluated…` evaluates everything beside it again, three times per
  level.
- The members of an `enum` that does not hold texts alone are compared one by one, a number as a decimal (1 µs).
- A pattern runs in time proportional to the length of the text times the positions of the pattern (50 ns).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

from core_app import jsontext

MAX_WORK = 300_000
"""Evaluations of a subschema at a value; at 0.1 µs each, a check holds the interpreter for 30 ms at most."""

_MAX_CHAIN = 200
"""Nesting of schemas with references followed; keeps the recursion below Python's limit."""

_AGAIN = 3
"""Evaluations of the keywords beside `unevaluated…`, in the worst case."""

_CONTAINS = 20
_COMPARISON = 10
_UNIQUE = 10
_VISIT = 5
"""Cost of the estimate itself at one value, in units."""

_CHARACTERS_A_UNIT = 500
"""Characters that `minLength` counts in one unit."""

_HERE_LISTS = ("allOf", "anyOf", "oneOf")
_HERE = ("not", "if", "then", "else")
_HERE_MAPS = ("dependentSchemas", "dependencies")
_UNEVALUATED = ("unevaluatedProperties", "unevaluatedItems")
_BELOW = ("additionalProperties", "propertyNames", "additionalItems", "contains", *_UNEVALUATED)
_HEAVY = ("enum", "const", "pattern", "patternProperties", "uniqueItems", "minLength", "maxLength")
_COLLECTING = ("anyOf", "oneOf")

_REPEATED = re.compile(r"\{(\d+)(,?)(\d*)\}")
_ENDLESS = re.compile(r"[*+|]|,\}")


class Unbounded(Exception):
    """The schema's cost has no useful bound; the message continues a sentence that starts with the field's name."""


class SchemaWork:
    """The cost estimate of one schema, whose references stay inside it."""

    def __init__(self, root: Any) -> None:
        self._root = root
        self._known: dict[tuple[int, int], int] = {}
        self._open: set[tuple[int, int]] = set()
        keys = set(_keys(root))
        self._heavy = not keys.isdisjoint(_HEAVY)
        self.collects = not keys.isdisjoint(_COLLECTING)
        """True when naming the fault costs more than finding it: the library then builds the errors of all branches, up
        to 40 µs each."""

    def check(self) -> None:
        """Raises Unbounded for a schema that is too costly for arguments of any usual shape."""
        if max(self.at(self._root, depth) for depth in range(4)) > MAX_WORK // 30:
            raise Unbounded("takes too much work to check: its subschemas multiply")

    def total(self, value: Any) -> int:
        """The bound for `value`, at most a little above MAX_WORK."""
        work = 0
        level, depth = [value], 0
        while level and work <= MAX_WORK and depth <= jsontext.MAX_DEPTH:
            work += len(level) * self.at(self._root, depth)
            level = [child for item in level for child in _children(item)]
            depth += 1
        if depth > jsontext.MAX_DEPTH:
            return MAX_WORK + 1
        return work + self._weight(value, MAX_WORK - work) if self._heavy and work <= MAX_WORK else work

    def at(self, schema: Any, depth: int) -> int:
        """Evaluations at any single value exactly `depth` levels below the value that `schema` applies to."""
        if not isinstance(schema, dict):
            return 1 if depth == 0 else 0
        key = (id(schema), depth)
        if key in self._known:
            return self._known[key]
        if key in self._open:
            raise Unbounded("has a $ref that leads back to itself")
        if len(self._open) >= _MAX_CHAIN:
            raise Unbounded("has too long a chain of references")
        self._open.add(key)
        work = 1 + len(_list(schema.get("required"))) if depth == 0 else self._below(schema, depth - 1)
        work += _times(schema) * sum(self.at(child, depth) for child in self._here(schema))
        self._open.discard(key)
        # Larger figures do not matter, and Python's integers would grow without bound.
        self._known[key] = work = min(work, MAX_WORK + 1)
        return work

    def _here(self, schema: dict[str, Any]) -> Iterator[Any]:
        for name in _HERE_LISTS:
            yield from _list(schema.get(name))
        for name in _HERE_MAPS:
            yield from _map(schema.get(name)).values()
        yield from (schema[name] for name in _HERE if name in schema)
        if isinstance(schema.get("$ref"), str):
            yield self._target(schema["$ref"])

    def _below(self, schema: dict[str, Any], depth: int) -> int:
        named = [self.at(child, depth) for child in _map(schema.get("properties")).values()]
        places = [self.at(child, depth) for name in ("prefixItems", "items") for child in _list(schema.get(name))]
        work = max(named, default=0) + max(places, default=0)
        work += sum(self.at(child, depth) for child in _map(schema.get("patternProperties")).values())
        if isinstance(schema.get("items"), dict):
            work += self.at(schema["items"], depth)
        for name in _BELOW:
            if name in schema:
                work += self.at(schema[name], depth) * (_CONTAINS if name == "contains" else 1)
        return work

    def _target(self, reference: str) -> Any:
        target = self._root
        for part in reference[2:].split("/") if len(reference) > 1 else ():
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and name.isdecimal() and int(name) < len(target):
                target = target[int(name)]
            elif isinstance(target, dict) and name in target:
                target = target[name]
            else:
                raise Unbounded(f"has a $ref to {reference[:100]}, which is not in it")
        return target

    def _weight(self, value: Any, limit: int) -> int:
        """Cost that enums, patterns and similar keywords add for this value; the walk stops a little above `limit`."""
        work = 0
        pairs: list[tuple[Any, Any, int]] = [(self._root, value, 1)]
        while pairs and work <= limit:
            schema, item, times = pairs.pop()
            if not isinstance(schema, dict):
                continue
            work += times * _keyword_cost(schema, item) + _VISIT
            again = min(times * _times(schema), limit + 1)
            pairs.extend((child, item, again) for child in self._here(schema))
            pairs.extend((child, below, times) for child, below in _descents(schema, item))
        return work


@lru_cache(maxsize=1024)
def positions(pattern: str) -> int:
    """Number of positions in `pattern` with repetitions written out; never fewer than the engine has."""
    totals, last, at = [0], 0, 0
    while at < len(pattern):
        character = pattern[at]
        if (repeated := _REPEATED.match(pattern, at)) is not None:
            least, open_ended, most = repeated.groups()
            copies = max(1, int(most or least) + (1 if open_ended and not most else 0))
            totals[-1] += last * (copies - 1)
            last *= copies
            at = repeated.end()
            continue
        if character == "(":
            totals.append(0)
            last = 0
        elif character == ")":
            last = totals.pop() if len(totals) > 1 else 0
            totals[-1] += last
        elif character not in "*+?|^$":
            at = _class_end(pattern, at) if character == "[" else at + 1 if character == "\\" else at
            last = 1
            totals[-1] += 1
        at += 1
    return max(1, sum(totals))


def _class_end(pattern: str, at: int) -> int:
    """The earliest index at which the character class that opens at `at` closes."""
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return at


def _times(schema: dict[str, Any]) -> int:
    return _AGAIN if any(name in schema for name in _UNEVALUATED) else 1


def _keyword_cost(schema: dict[str, Any], value: Any) -> int:
    """Cost of the schema's own keywords at the value, beyond one evaluation."""
    work = 0
    members = _list(schema.get("enum"))
    if members and not all(isinstance(member, str) for member in members):
        work += _COMPARISON * _nodes(members)
    if isinstance(schema.get("const"), dict | list):
        work += _COMPARISON * _nodes(schema["const"])
    if isinstance(value, str):
        if isinstance(schema.get("pattern"), str):
            work += _match_cost(schema["pattern"], value)
        if "minLength" in schema or "maxLength" in schema:
            work += len(value) // _CHARACTERS_A_UNIT
    elif isinstance(value, list):
        work += _UNIQUE * _nodes(value) if schema.get("uniqueItems") is True else 0
    elif isinstance(value, dict) and (patterns := _map(schema.get("patternProperties"))):
        # Once for its own schemas, and again for each keyword that asks which properties remain.
        others = 1 + sum(name in schema for name in ("additionalProperties", "unevaluatedProperties"))
        work += others * sum(map(_size, value)) * sum(map(positions, patterns)) // 2
    return work


def _match_cost(pattern: str, text: str) -> int:
    places, size = positions(pattern), _size(text)
    if pattern.startswith("^") and not _ENDLESS.search(pattern):
        # The match ends with the pattern's positions.
        size = min(size, 4 * places)
    return size * places // 2


def _size(text: str) -> int:
    return len(text) if text.isascii() else 4 * len(text)


def _descents(schema: dict[str, Any], value: Any) -> Iterator[tuple[Any, Any]]:
    """The subschemas for the children of the value, each with its child."""
    rest = [schema[name] for name in ("additionalProperties", "unevaluatedProperties") if name in schema]
    if isinstance(value, dict):
        named, patterned = _map(schema.get("properties")), [*_map(schema.get("patternProperties")).values(), *rest]
        for name, item in value.items():
            if name in named:
                yield named[name], item
            yield from ((child, item) for child in patterned)
            if "propertyNames" in schema:
                yield schema["propertyNames"], name
    elif isinstance(value, list):
        names = ("additionalItems", "unevaluatedItems", "contains")
        every = [schema[name] for name in names if name in schema]
        every += [schema["items"]] if isinstance(schema.get("items"), dict) else []
        placed = [*_list(schema.get("prefixItems")), *_list(schema.get("items"))]
        yield from zip(placed, value, strict=False)
        yield from ((child, item) for item in value for child in every)


def _nodes(value: Any) -> int:
    count, level = 0, [value]
    while level:
        count += len(level)
        level = [child for item in level for child in _children(item)]
    return count


def _keys(value: Any) -> Iterator[str]:
    level = [value]
    while level:
        for item in level:
            if isinstance(item, dict):
                yield from item
        level = [child for item in level for child in _children(item)]


def _children(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
