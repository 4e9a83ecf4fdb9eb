"""Schemas that tenants write are bounded, and checking arguments against them blocks nobody.

The library that checks holds the interpreter from beginning to end, so what would take it long must be refused before
it is asked, in few steps of our own; how long the longest check takes is `python -m tests.benchmarks hostile_input`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from string import ascii_lowercase
from typing import Any

import jsonschema_rs
import pytest

from core_app.errors import BadRequest
from tests.steps import steps_at_most
from tools_app import schema
from tools_app.schema import schema_check, violation
from tools_app.schema_cost import positions

SCHEMA_STEPS = 250_000
"""Three times what the dearest of the schemas below takes; going through a bomb takes 2^25 and more."""

CHECK_STEPS = 1_500_000
"""Twice what counting the dearest arguments takes: a third of a second, which yields to others all the while."""


class Library:
    """The calls to the library."""

    def __init__(self) -> None:
        self.compiled = 0
        self.checked = 0
        self.explained = 0


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    """Counts the library's calls; schemas that earlier tests compiled are compiled anew."""
    seen, compile_ = Library(), jsonschema_rs.validator_for

    class Counted:
        def __init__(self, validator: Any) -> None:
            self._validator = validator

        def is_valid(self, value: Any) -> bool:
            seen.checked += 1
            return bool(self._validator.is_valid(value))

        def validate(self, value: Any) -> None:
            seen.explained += 1
            self._validator.validate(value)

    def counted(*args: Any, **options: Any) -> Counted:
        seen.compiled += 1
        return Counted(compile_(*args, **options))

    monkeypatch.setattr(jsonschema_rs, "validator_for", counted)
    schema._validator.cache_clear()
    yield seen
    schema._validator.cache_clear()


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


def again_and_again(levels: int, keyword: str, join: str) -> dict[str, Any]:
    """More than 2^levels evaluations: what is left over is looked for at every level, in all that stands below."""
    definitions: dict[str, Any] = {
        f"d{level}": {join: [{"$ref": f"#/$defs/d{level + 1}"}], keyword: False} for level in range(levels)
    }
    definitions[f"d{levels}"] = {"properties": {"a": {}}, "prefixItems": [{}]}
    return {"$defs": definitions, "properties": {"x": {"$ref": "#/$defs/d0"}}}


def listed(item: Any) -> dict[str, Any]:
    return {"properties": {"list": {"type": "array", "items": item}}}


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
    "left-over properties": again_and_again(25, "unevaluatedProperties", "anyOf"),
    "left-over items": again_and_again(25, "unevaluatedItems", "allOf"),
    "more names than a check can look for": listed(
        {"required": ["".join(name) for name in product(ascii_lowercase, repeat=3)][:10_100]}
    ),
    "long chain": {
        "$defs": {f"d{n}": {"$ref": f"#/$defs/d{n + 1}"} for n in range(1500)} | {"d1500": {}},
        "$ref": "#/$defs/d0",
    },
}


FOUND_BY_THE_LIBRARY = {"unknown type", "lookahead", "back-reference", "huge repetition", "broken pattern"}


@pytest.mark.parametrize("name", BAD)
def test_a_schema_that_is_wrong_or_a_bomb_is_refused_at_once(name: str, library: Library) -> None:
    with steps_at_most(SCHEMA_STEPS, within="tools_app"), pytest.raises(BadRequest) as refused:
        schema_check(BAD[name])
    assert refused.value.field == "parameters"
    assert ("bytes of JSON" in str(refused.value)) == (name == "too large")
    assert library.compiled == (name in FOUND_BY_THE_LIBRARY)


def test_every_sensible_schema_is_taken() -> None:
    tree = {
        "type": "object",
        "properties": {"and": {"type": "array", "items": {"$ref": "#"}}, "eq": {"type": "string"}},
    }
    for each in ({}, nested(10), tree, {"properties": {"$ref": {"type": "string"}, "$id": {"type": "string"}}}):
        assert '"type":"object"' in schema_check(each)


def test_a_recursive_schema_is_held_to() -> None:
    tree = schema_check({"properties": {"and": {"type": "array", "items": {"$ref": "#"}}, "eq": {"type": "string"}}})
    assert violation(tree, {"and": [{"eq": "a"}, {"and": [{"eq": "b"}]}]}) is None
    assert "eq" in str(violation(tree, {"and": [{"and": [{"eq": 1}]}]}))


@pytest.mark.parametrize("pattern", ["^(a+)+$", "(a|aa)+$", "(.*a){20}$", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_a_pattern_takes_linear_time(pattern: str) -> None:
    """An engine that goes back would never end: at 27 characters it takes seconds, and twice that at one more."""
    parameters = schema_check({"properties": {"a": {"type": "string", "pattern": pattern}}})
    assert violation(parameters, {"a": "a" * 10_000 + "!"}) is not None


def test_arguments_whose_check_would_multiply_are_refused_before_it(library: Library) -> None:
    fork = {"anyOf": [{"properties": {"a": {"$ref": "#"}}}, {"properties": {"a": {"$ref": "#"}}, "required": ["b"]}]}
    parameters = schema_check(fork)
    deep: dict[str, Any] = {}
    for _ in range(50):
        deep = {"a": deep}
    with steps_at_most(SCHEMA_STEPS, within="tools_app"):
        assert "too many values" in str(violation(parameters, deep))
    assert library.checked == 0
    assert violation(parameters, {"a": {"a": {}}}) is None


NAMES = [f"k{number}" for number in range(7_000)]
AMBIGUOUS = "ab" * 40_000 + "".join("ab"[bits >> place & 1] for bits in range(4_000) for place in range(12))
SLOW: dict[str, tuple[Any, Any]] = {
    "objects of an enum": ({"enum": [{"a": number} for number in range(4_000)]}, [{"a": 3_999}] * 10_000),
    "arrays of an enum": ({"enum": [[number] for number in range(4_000)]}, [[3_999]] * 10_000),
    "decimals of an enum": ({"enum": [number + 0.5 for number in range(4_000)]}, [3_999.5] * 10_000),
    "whole decimals among numbers": ({"enum": list(range(9_000))}, [8_999.0] * 10_000),
    "texts after another type": ({"enum": [1, *NAMES]}, [NAMES[-1]] * 10_000),
    "a constant that is large": ({"const": [0] * 20_000}, [[0] * 20_000] * 6),
    "many names that are all missing": ({"required": NAMES}, [{}] * 60_000),
    "branches that all fail": ({"anyOf": [{"required": NAMES[:40]}, {"type": "string"}]}, [{}] * 10_000),
    "a pattern in two thousand places at once": ({"pattern": "a[ab]{2000}[cd]"}, [AMBIGUOUS]),
    "many ambiguous patterns": ({"allOf": [{"pattern": f"a[ab]{{{n}}}[cd]"} for n in range(10, 70)]}, [AMBIGUOUS]),
}


@pytest.mark.parametrize("name", SLOW)
def test_arguments_that_would_take_long_to_compare_are_refused_before_it(name: str, library: Library) -> None:
    item, values = SLOW[name]
    parameters = schema_check(listed(item))
    with steps_at_most(CHECK_STEPS, within="tools_app"):
        assert "too many values, or too long ones" in str(violation(parameters, {"list": values}))
    assert library.checked == 0


def test_branches_that_fail_for_much_are_not_all_explained(library: Library) -> None:
    parameters = schema_check({"properties": {"list": {"anyOf": [{"items": {"type": "integer"}}] * 3}}})
    assert violation(parameters, {"list": ["x"] * 20_000}) == "The arguments do not fit the tool's schema."
    assert (library.checked, library.explained) == (1, 0)
    assert "list" in str(violation(parameters, {"list": ["x"]}))
    assert library.explained == 1


USUAL: dict[str, tuple[Any, Any]] = {
    "a long text that is not blank": ({"pattern": "\\S"}, "x" * 200_000),
    "a long text with a beginning": (
        {"pattern": "^data:image/[a-z]{3};base64,"},
        "data:image/png;base64," + "A" * 200_000,
    ),
    "an id": ({"pattern": "^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"}, "c0ffee00-0000-4000-8000-00000000beef"),
    "an address": ({"pattern": "^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$"}, "somebody@" + "x" * 200 + ".example"),
    "a short text": ({"pattern": "^.{1,100}$"}, "x" * 100),
    "a number of a hundred": ({"enum": list(range(100))}, 99),
    "one of many names": ({"enum": NAMES[:800]}, NAMES[799]),
    "numbers that differ": ({"type": "array", "uniqueItems": True}, list(range(10_000))),
    "two shapes, and nothing else": (
        {"anyOf": [{"properties": {"a": {}}}, {"properties": {"b": {}}}], "unevaluatedProperties": False},
        {"a": 1},
    ),
}


@pytest.mark.parametrize("name", USUAL)
def test_usual_arguments_are_checked(name: str) -> None:
    item, value = USUAL[name]
    parameters = schema_check({"properties": {f"p{number}": item for number in range(8)}})
    assert violation(parameters, {"p0": value}) is None
    assert violation(parameters, {"p0": None}) is None or "p0" in str(violation(parameters, {"p0": None}))


PLACES = {
    "a": 1,
    "^a$": 1,
    "abc": 3,
    "\\w+": 1,
    "[a-z\\]0-9]*x": 2,
    "a{3}": 3,
    "a{2,5}": 5,
    "a{2,}": 3,
    "(ab){3}": 6,
    "(a(bc){2}){3}": 15,
    "(?:[ab]|c){10}": 20,
    "a{3}{4}": 12,
}


@pytest.mark.parametrize("pattern", PLACES)
def test_the_places_of_a_pattern_are_counted_with_their_repetitions(pattern: str) -> None:
    assert positions(pattern) >= PLACES[pattern]
    assert positions(pattern) <= PLACES[pattern] + pattern.count("(") * 10


def test_the_bound_of_the_work_is_never_below_what_checking_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound counts each evaluation; a wide value under a plain schema costs its size, not more."""
    parameters = schema_check({"properties": {"list": {"type": "array", "items": {"type": "integer"}}}})
    values = {"list": list(range(20_000))}
    assert violation(parameters, values) is None
    assert 20_000 < schema._work(parameters, values) < 20_010
    monkeypatch.setattr(schema, "MAX_WORK", 10_000)
    assert violation(parameters, values) is not None


@pytest.mark.parametrize("args", ["text", None, 3, [1], {"a": "x" * 300_000}])
def test_what_is_no_object_or_too_large_is_a_violation(args: Any) -> None:
    assert violation(schema_check({}), args) is not None
