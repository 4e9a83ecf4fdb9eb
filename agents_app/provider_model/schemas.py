"""Schemas of structured output in the subset that Anthropic takes.

It takes closed objects, a few formats of texts, and no bounds: what it does not take becomes part of the description,
so that the model may follow it. The answer is checked against the complete schema afterwards.
"""

from __future__ import annotations

from typing import Any

from pydantic_ai import JsonSchemaTransformer

Schema = dict[str, Any]

_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_UNIONS = ("anyOf", "oneOf", "allOf")


class AnthropicSchema(JsonSchemaTransformer):
    """The library's transformer for Anthropic; schemas of tools stay as they are."""

    def walk(self) -> Schema:
        """Returns the schema."""
        schema = super().walk()
        # Only structured output is strict. A tool would be if the transformation lost nothing, which is not known.
        self.is_strict_compatible = self.strict is True
        return closed_schema(schema) if self.strict is True else schema

    def transform(self, schema: Schema) -> Schema:
        """Returns the schema unchanged."""
        return schema


def closed_schema(schema: Schema) -> Schema:
    """Returns the schema in Anthropic's subset; ValueError for one without a type."""
    rest, closed = dict(schema), Schema()
    if (definitions := rest.pop("$defs", None)) is not None:
        closed["$defs"] = {name: closed_schema(value) for name, value in definitions.items()}
    if "$ref" in rest:
        return {**closed, "$ref": rest["$ref"]}
    kind = rest.pop("type", None)
    for name in ("enum", "const"):
        if name in rest and _is_literal(rest[name]):
            closed[name], kind = rest.pop(name), None
    _close_type(rest, closed, kind)
    for name in ("description", "title"):
        if (text := rest.pop(name, None)) is not None:
            closed[name] = text
    if kind == "object":
        closed["properties"] = {name: closed_schema(value) for name, value in rest.pop("properties", {}).items()}
        rest.pop("additionalProperties", None)
        closed["additionalProperties"] = False
        if "required" in rest:
            closed["required"] = rest.pop("required")
    elif kind == "array" and "items" in rest:
        closed["items"] = closed_schema(rest.pop("items"))
    if (kind == "string" and rest.get("format") in _FORMATS) or (kind == "array" and rest.get("minItems") in (0, 1)):
        name = "format" if kind == "string" else "minItems"
        closed[name] = rest.pop(name)
    if rest:
        told = "{" + ", ".join(f"{name}: {value}" for name, value in rest.items()) + "}"
        closed["description"] = "\n\n".join(filter(None, (closed.get("description"), told)))
    return closed


def _close_type(rest: Schema, closed: Schema, kind: Any) -> None:
    variants = {name: rest.pop(name, None) for name in _UNIONS}
    named = next((name for name in _UNIONS if isinstance(variants[name], list)), None)
    if named is not None:
        name = "allOf" if named == "allOf" else "anyOf"
        closed[name] = [closed_schema(variant) for variant in variants[named]]
    elif "enum" not in closed and "const" not in closed:
        if kind is None:
            raise ValueError("A schema must have a type, a union or a literal.")
        closed["type"] = kind


def _is_literal(value: Any) -> bool:
    values = value if isinstance(value, list) else [value]
    return bool(values) and all(item is None or isinstance(item, str | int | float | bool) for item in values)
