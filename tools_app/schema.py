"""JSON Schemas that tenants write, made harmless before they are used.

A schema is bounded in size, depth, patterns and work; its references stay inside it; patterns run on a
linear-time engine without lookaround or back-references. The work of checking arguments is bounded before it
begins (`_Work`): a 1 KiB schema whose references double at every level would otherwise take 2^n steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

import jsonschema_rs

from core_app import jsontext
from core_app.errors import BadRequest

MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32
MAX_PATTERNS = 64
MAX_PATTERN_CHARACTERS = 1000
MAX_ARGS_BYTES = 256 * 1024
MAX_WORK = 300_000
"""Evaluations of a subschema at a value; at 0.1 µs each, a check holds the interpreter for 30 ms at most."""

_MAX_CHAIN = 200
"""Schemas within schemas, references followed: keeps the recursion of `_Work` below Python's limit."""

_REGEX = jsonschema_rs.RegexOptions(size_limit=200_000, dfa_size_limit=2_000_000)
_DRAFTS = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
)
_REFUSED = ("$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary")

_HERE_LISTS = ("allOf", "anyOf", "oneOf")
_HERE = ("not", "if", "then", "else")
_HERE_MAPS = ("dependentSchemas", "dependencies")
_BELOW = (
    "additionalProperties",
    "unevaluatedProperties",
    "propertyNames",
    "additionalItems",
    "unevaluatedItems",
    "contains",
)


def parameters_checked(value: Any, *, field: str = "parameters") -> str:
    """The schema as encoded JSON, ready to be stored; BadRequest names `field` and what is wrong."""
    if not isinstance(value, Mapping):
        raise BadRequest(f"{field} must be a JSON Schema object.", field=field)
    if value.get("type", "object") != "object":
        raise BadRequest(f'{field} must describe an object: its type must be "object".', field=field)
    if not isinstance(value.get("$schema", ""), str):
        raise BadRequest(f"{field} has a $schema that is not text.", field=field)
    text = jsontext.encode_text({"type": "object", **value})
    if len(text.encode()) > MAX_SCHEMA_BYTES:
        raise BadRequest(f"{field} must be at most {MAX_SCHEMA_BYTES} bytes of JSON.", field=field)
    schema = jsontext.decode(text)
    _bounded(schema, field)
    try:
        _validator(text)
    except jsonschema_rs.ValidationError as error:
        raise BadRequest(f"{field} is not a valid JSON Schema{_place(error)}.", field=field) from None
    except ValueError:
        raise BadRequest(f"{field} is not a valid JSON Schema.", field=field) from None
    return text


def violation(parameters: str, args: Any, *, trusted: bool = False) -> str | None:
    """Why `args` do not fit the schema, as a sentence for the model or the client; None when they do.

    `trusted` schemas are an operator's: they may be recursive, so their work is not bounded.
    """
    if not isinstance(args, dict):
        return "The arguments are not a JSON object."
    if len(jsontext.encode(args)) > MAX_ARGS_BYTES:
        return f"The arguments are larger than {MAX_ARGS_BYTES} bytes."
    if not trusted and not _affordable(parameters, args):
        return "The arguments have too many values to be checked against the tool's schema."
    error = next(iter(_validator(parameters).iter_errors(args)), None)
    if error is None:
        return None
    where = "/".join(str(part) for part in error.instance_path)
    return f"The arguments do not fit the tool's schema{f' at {where[:200]}' if where else ''}: {error.message[:500]}."


def _affordable(parameters: str, args: Any) -> bool:
    try:
        return _work_of(parameters).total(args) <= MAX_WORK
    except _Unbounded:
        return False


@lru_cache(maxsize=512)
def _validator(parameters: str) -> Any:
    return jsonschema_rs.validator_for(
        jsontext.decode(parameters), pattern_options=_REGEX, offline=True, validate_formats=False
    )


@lru_cache(maxsize=512)
def _work_of(parameters: str) -> _Work:
    return _Work(jsontext.decode(parameters))


def _place(error: jsonschema_rs.ValidationError) -> str:
    path = "/".join(str(part) for part in error.instance_path)
    return f" at {path[:200]}" if path else ""


def _bounded(schema: Any, field: str) -> None:
    if schema.get("$schema", _DRAFTS[0]).rstrip("#") not in _DRAFTS:
        raise BadRequest(f"{field} names a $schema that is not draft-06, draft-07, 2019-09 or 2020-12.", field=field)
    patterns = 0
    for depth, key, value in _walk(schema):
        if depth > MAX_SCHEMA_DEPTH:
            raise BadRequest(f"{field} is nested deeper than {MAX_SCHEMA_DEPTH} levels.", field=field)
        if key in _REFUSED:
            raise BadRequest(f"{field} uses {key}, which tools' schemas may not.", field=field)
        if key == "$id" and isinstance(value, str) and depth > 1:
            raise BadRequest(f"{field} may have an $id at its top only.", field=field)
        if key == "$ref" and isinstance(value, str) and not (value == "#" or value.startswith("#/")):
            raise BadRequest(f'{field} may refer ($ref) only into itself: "#/…".', field=field)
        found = _patterns(key, value)
        patterns += len(found)
        if patterns > MAX_PATTERNS or any(len(pattern) > MAX_PATTERN_CHARACTERS for pattern in found):
            raise BadRequest(
                f"{field} may have {MAX_PATTERNS} patterns of {MAX_PATTERN_CHARACTERS} characters at most.", field=field
            )
    try:
        _Work(schema).check()
    except _Unbounded as error:
        raise BadRequest(f"{field} {error}.", field=field) from None


def _patterns(key: str, value: Any) -> list[str]:
    if key == "pattern" and isinstance(value, str):
        return [value]
    return list(value) if key == "patternProperties" and isinstance(value, dict) else []


def _walk(value: Any, depth: int = 1) -> Iterator[tuple[int, str, Any]]:
    if depth > MAX_SCHEMA_DEPTH + 1:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            yield depth, key, item
            yield from _walk(item, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield depth, "", item
            yield from _walk(item, depth + 1)


class _Unbounded(Exception):
    """The schema's work has no useful bound; the message goes on from the field's name."""


class _Work:
    """An upper bound of the evaluations that a check can take, from the schema alone and the shape of a value.

    `at(schema, d)` is the number of evaluations at any one value exactly `d` levels below the one that `schema`
    is applied to; references are followed, a reference that comes back to itself without descending is refused.
    """

    def __init__(self, root: Any) -> None:
        self._root = root
        self._known: dict[tuple[int, int], int] = {}
        self._open: set[tuple[int, int]] = set()

    def check(self) -> None:
        """Raises _Unbounded for a schema that no arguments of a usual shape could be checked against."""
        if max(self.at(self._root, depth) for depth in range(4)) > MAX_WORK // 30:
            raise _Unbounded("takes too much work to check: its subschemas multiply")

    def total(self, value: Any) -> int:
        """The bound for `value`, at most a little above MAX_WORK."""
        work = 0
        level, depth = [value], 0
        while level and work <= MAX_WORK and depth <= jsontext.MAX_DEPTH:
            work += len(level) * self.at(self._root, depth)
            level = [child for item in level for child in _children(item)]
            depth += 1
        return work if depth <= jsontext.MAX_DEPTH else MAX_WORK + 1

    def at(self, schema: Any, depth: int) -> int:
        if not isinstance(schema, dict):
            return 1 if depth == 0 else 0
        key = (id(schema), depth)
        if key in self._known:
            return self._known[key]
        if key in self._open:
            raise _Unbounded("has a $ref that leads back to itself")
        if len(self._open) >= _MAX_CHAIN:
            raise _Unbounded("has too long a chain of references")
        self._open.add(key)
        work = 1 if depth == 0 else self._below(schema, depth - 1)
        work += sum(self.at(child, depth) for child in self._here(schema))
        self._open.discard(key)
        # Beyond this the figure does not matter, and Python's integers would grow without end.
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
        return work + sum(self.at(schema[name], depth) for name in _BELOW if name in schema)

    def _target(self, reference: str) -> Any:
        target = self._root
        for part in reference[2:].split("/") if len(reference) > 1 else ():
            name = part.replace("~1", "/").replace("~0", "~")
            if isinstance(target, list) and name.isdecimal() and int(name) < len(target):
                target = target[int(name)]
            elif isinstance(target, dict) and name in target:
                target = target[name]
            else:
                raise _Unbounded(f"has a $ref to {reference[:100]}, which is not in it")
        return target


def _children(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _map(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
