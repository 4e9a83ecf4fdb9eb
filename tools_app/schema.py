"""Validation of tool arguments against JSON Schemas from tenants, safe against hostile schemas.

A schema is limited in size, depth, patterns and cost; its references stay inside it; patterns run on a linear-time
engine without lookaround or back-references. The cost of a check is bounded before it starts (`tools_app.schema_cost`),
because a 1 KiB schema whose references double at every level takes 2^n steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jsonschema_rs

from core_app import jsontext
from core_app.errors import BadRequest
from tools_app.schema_cost import MAX_WORK, SchemaWork, Unbounded

MAX_SCHEMA_BYTES = 64 * 1024
MAX_SCHEMA_DEPTH = 32
MAX_PATTERNS = 64
MAX_PATTERN_CHARACTERS = 1000
MAX_ARGS_BYTES = 256 * 1024
MAX_EXPLAINED_WORK = 1_000
"""Highest cost at which arguments are checked a second time to name the fault, when that collects the errors of all
branches."""

_REGEX = jsonschema_rs.RegexOptions(size_limit=200_000, dfa_size_limit=2_000_000)
_DRAFTS = (
    "https://json-schema.org/draft/2020-12/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "http://json-schema.org/draft-07/schema",
    "http://json-schema.org/draft-06/schema",
)
_REFUSED = ("$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "$recursiveAnchor", "$vocabulary")


def schema_check(value: Any, *, field: str = "parameters") -> str:
    """Returns the schema as encoded JSON, ready to be stored; raises BadRequest naming `field` and the fault."""
    text = _encode_schema(value, field)
    schema = jsontext.decode(text)
    _check_bounds(schema, field)
    try:
        SchemaWork(schema).check()
    except Unbounded as error:
        raise BadRequest(f"{field} {error}.", field=field) from None
    _compile(text, field)
    return text


@dataclass(frozen=True, slots=True)
class ServerSchema:
    """A usable schema from an MCP server, as encoded JSON. Unless `is_bounded`, arguments are not checked against it:
    that may take for ever, and the server checks them itself."""

    text: str
    is_bounded: bool


def server_schema_check(value: Any, *, trusted: bool, field: str = "inputSchema") -> ServerSchema:
    """Checks the schema of an MCP server's tool. That of the operator's server (`trusted`) may be recursive and refer
    to anchors. Raises BadRequest naming the fault for a schema that providers would refuse or nothing could check."""
    text = _encode_schema(value, field)
    if trusted:
        _compile(text, field)
        return ServerSchema(text, is_bounded=True)
    schema = jsontext.decode(text)
    _check_bounds(schema, field, references=False)
    _compile(text, field)
    try:
        _check_bounds(schema, field)
        SchemaWork(schema).check()
    except (BadRequest, Unbounded):
        # Recursive, for example, or with anchors: valid, and of no use here.
        return ServerSchema(text, is_bounded=False)
    return ServerSchema(text, is_bounded=True)


def _encode_schema(value: Any, field: str) -> str:
    if not isinstance(value, Mapping):
        raise BadRequest(f"{field} must be a JSON Schema object.", field=field)
    if value.get("type", "object") != "object":
        raise BadRequest(f'{field} must describe an object: its type must be "object".', field=field)
    if not isinstance(value.get("$schema", ""), str):
        raise BadRequest(f"{field} has a $schema that is not text.", field=field)
    text = jsontext.encode_text({"type": "object", **value})
    if len(text.encode()) > MAX_SCHEMA_BYTES:
        raise BadRequest(f"{field} must be at most {MAX_SCHEMA_BYTES} bytes of JSON.", field=field)
    return text


def _compile(text: str, field: str) -> None:
    try:
        _validator(text)
    except jsonschema_rs.ValidationError as error:
        raise BadRequest(f"{field} is not a valid JSON Schema{_place(error)}.", field=field) from None
    except ValueError:
        raise BadRequest(f"{field} is not a valid JSON Schema.", field=field) from None


def violation(parameters: str, args: Any, *, trusted: bool = False) -> str | None:
    """Returns a sentence for the model or the client that says why `args` do not fit the schema, or None.

    A `trusted` schema comes from the operator: it may be recursive, so its cost is not bounded.
    """
    if not isinstance(args, dict):
        return "The arguments are not a JSON object."
    if len(jsontext.encode(args)) > MAX_ARGS_BYTES:
        return f"The arguments are larger than {MAX_ARGS_BYTES} bytes."
    work = 0 if trusted else _work(parameters, args)
    if work > MAX_WORK:
        return "The arguments have too many values, or too long ones, to be checked against the tool's schema."
    validator = _validator(parameters)
    if validator.is_valid(args):
        return None
    if work > MAX_EXPLAINED_WORK and _work_of(parameters).collects:
        return "The arguments do not fit the tool's schema."
    return _explain(validator, args)


def _explain(validator: Any, args: Any) -> str:
    try:
        validator.validate(args)
    except jsonschema_rs.ValidationError as found:
        error = found
    else:
        raise AssertionError("what is not valid has a first error")
    where = "/".join(str(part) for part in error.instance_path)
    return f"The arguments do not fit the tool's schema{f' at {where[:200]}' if where else ''}: {error.message[:500]}."


def _work(parameters: str, args: Any) -> int:
    try:
        return _work_of(parameters).total(args)
    except Unbounded:
        return MAX_WORK + 1


@lru_cache(maxsize=512)
def _validator(parameters: str) -> Any:
    return jsonschema_rs.validator_for(
        jsontext.decode(parameters), pattern_options=_REGEX, offline=True, validate_formats=False
    )


@lru_cache(maxsize=512)
def _work_of(parameters: str) -> SchemaWork:
    return SchemaWork(jsontext.decode(parameters))


def _place(error: jsonschema_rs.ValidationError) -> str:
    path = "/".join(str(part) for part in error.instance_path)
    return f" at {path[:200]}" if path else ""


def _check_bounds(schema: Any, field: str, *, references: bool = True) -> None:
    """Raises BadRequest for a schema that is too costly to compile, and for `references` whose targets the estimate of
    the cost does not find."""
    if schema.get("$schema", _DRAFTS[0]).rstrip("#") not in _DRAFTS:
        raise BadRequest(f"{field} names a $schema that is not draft-06, draft-07, 2019-09 or 2020-12.", field=field)
    patterns = 0
    for depth, key, value in _walk(schema):
        if depth > MAX_SCHEMA_DEPTH:
            raise BadRequest(f"{field} is nested deeper than {MAX_SCHEMA_DEPTH} levels.", field=field)
        if references:
            _check_reference(depth, key, value, field)
        found = _patterns(key, value)
        patterns += len(found)
        if patterns > MAX_PATTERNS or any(len(pattern) > MAX_PATTERN_CHARACTERS for pattern in found):
            raise BadRequest(
                f"{field} may have {MAX_PATTERNS} patterns of {MAX_PATTERN_CHARACTERS} characters at most.", field=field
            )


def _check_reference(depth: int, key: str, value: Any, field: str) -> None:
    if key in _REFUSED:
        raise BadRequest(f"{field} uses {key}, which tools' schemas may not.", field=field)
    if key == "$id" and isinstance(value, str) and depth > 1:
        raise BadRequest(f"{field} may have an $id at its top only.", field=field)
    if key == "$ref" and isinstance(value, str) and not (value == "#" or value.startswith("#/")):
        raise BadRequest(f'{field} may refer ($ref) only into itself: "#/…".', field=field)


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
