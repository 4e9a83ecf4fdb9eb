"""Schemas that tenants write are bounded, and checking arguments against them blocks nobody."""

from __future__ import annotations

from time import thread_time
from typing import Any

import pytest

from core_app.errors import BadRequest
from tools_app import schema
from tools_app.schema import parameters_checked, violation

BLOCKED_SECONDS = 0.05
"""How long the loop may be blocked; measured in this thread's processor time, which a busy machine does not change."""


def nested(levels: int) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "object"}
    for _ in range(levels):
        made = {"type": "object", "properties": {"a": made}}
    return made


def doubling(levels: int) -> dict[str, Any]:
    """2^levels subschemas to evaluate at one value."""
    definitions: dict[str, Any] = {
        f"d{level}": {"allOf": [{"$ref": f"#/$defs/d{level + 1}"}] * 2} for level in range(levels)
    }
    definitions[f"d{levels}"] = {"type": "object"}
    return {"type": "object", "$defs": definitions, "$ref": "#/$defs/d0"}


BAD = {
    "no object": [],
    "text": "object",
    "not of objects": {"type": "string"},
    "unknown type": {"type": "object", "properties": {"a": {"type": "objekt"}}},
    "remote reference": {"type": "object", "$ref": "https://example.com/schema"},
    "file reference": {"type": "object", "properties": {"a": {"$ref": "file:///etc/passwd"}}},
    "missing reference": {"type": "object", "properties": {"a": {"$ref": "#/$defs/none"}}},
    "reference to itself": {"type": "object", "$ref": "#"},
    "circle": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"allOf": [{"$ref": "#/$defs/a"}]}}, "$ref": "#/$defs/a"},
    "another dialect": {"$schema": "https://example.com/meta"},
    "dialect of a wrong type": {"$schema": 7},
    "nested id": {"properties": {"a": {"$id": "https://example.com/x", "type": "object"}}},
    "anchor": {"$anchor": "here"},
    "dynamic reference": {"$dynamicRef": "#x"},
    "lookahead": {"properties": {"a": {"pattern": "(?=x)y"}}},
    "back-reference": {"properties": {"a": {"pattern": "(a)\\1"}}},
    "huge repetition": {"properties": {"a": {"pattern": "((a{100}){100}){100}"}}},
    "broken pattern": {"patternProperties": {"(": {}}},
    "too large": {"description": "x" * 70_000},
    "too deep": nested(20),
    "far too deep": nested(60),
    "too many patterns": {"allOf": [{"properties": {"a": {"pattern": f"a{n}"}}} for n in range(65)]},
    "too long a pattern": {"properties": {"a": {"pattern": "a" * 1001}}},
    "doubling": doubling(30),
    "long chain": {
        "$defs": {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(1500)} | {"d1500": {}},
        "$ref": "#/$defs/d0",
    },
}


@pytest.mark.parametrize("name", BAD)
def test_a_schema_that_is_wrong_or_a_bomb_is_refused_at_once(name: str) -> None:
    before = thread_time()
    with pytest.raises(BadRequest) as refused:
        parameters_checked(BAD[name])
    assert refused.value.field == "parameters"
    assert thread_time() - before < BLOCKED_SECONDS


def test_every_sensible_schema_is_taken() -> None:
    tree = {
        "type": "object",
        "properties": {"and": {"type": "array", "items": {"$ref": "#"}}, "eq": {"type": "string"}},
    }
    for each in ({}, nested(10), tree, {"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}}):
        assert '"type":"object"' in parameters_checked(each)


def test_a_recursive_schema_is_held_to() -> None:
    tree = parameters_checked(
        {"properties": {"and": {"type": "array", "items": {"$ref": "#"}}, "eq": {"type": "string"}}}
    )
    assert violation(tree, {"and": [{"eq": "a"}, {"and": [{"eq": "b"}]}]}) is None
    assert "eq" in str(violation(tree, {"and": [{"and": [{"eq": 1}]}]}))


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(a|aa)+$", "(.*a){20}", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_a_pattern_takes_linear_time(pattern: str) -> None:
    parameters = parameters_checked({"properties": {"a": {"type": "string", "pattern": pattern}}})
    before = thread_time()
    violation(parameters, {"a": "a" * 50_000 + "!"})
    assert thread_time() - before < BLOCKED_SECONDS


def test_arguments_whose_check_would_multiply_are_refused_before_it() -> None:
    fork = {"anyOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}, "required": ["b"]}]}
    parameters = parameters_checked(fork)
    deep: dict[str, Any] = {}
    for _ in range(50):
        deep = {"a": deep}
    before = thread_time()
    assert "too many values" in str(violation(parameters, deep))
    assert violation(parameters, {"a": {"a": {}}}) is None
    assert thread_time() - before < BLOCKED_SECONDS


def test_the_bound_of_the_work_is_never_below_what_checking_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound counts each evaluation; a wide value under a plain schema costs its size, not more."""
    parameters = parameters_checked({"properties": {"list": {"type": "array", "items": {"type": "integer"}}}})
    before = thread_time()
    assert violation(parameters, {"list": list(range(20_000))}) is None
    assert thread_time() - before < BLOCKED_SECONDS
    monkeypatch.setattr(schema, "MAX_WORK", 10_000)
    assert violation(parameters, {"list": list(range(20_000))}) is not None


@pytest.mark.parametrize("args", ["text", None, 3, [1], {"a": "x" * 300_000}])
def test_what_is_no_object_or_too_large_is_a_violation(args: Any) -> None:
    assert violation(parameters_checked({}), args) is not None
