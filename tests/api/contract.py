"""Strict validation of responses against the OpenAPI document: a field that the document does not name is an error.

The document leaves its objects open, because clients must ignore fields that they do not know. Here they are closed,
because a field that is sent and not documented is a fault of the document.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jsonschema_rs

from gateway_project.openapi import document
from tests.gateway_harness import Answer, Client

Schema = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    method: str
    path: str
    described: Schema

    @property
    def name(self) -> str:
        return str(self.described["operationId"])


@dataclass
class Contract:
    """The document; `seen` has the statuses of the responses so far, by operation id."""

    seen: dict[str, set[int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.document = document()
        self.components = close_objects(copy.deepcopy(self.document["components"]))

    def operations(self) -> list[Operation]:
        """Returns every operation."""
        return [
            Operation(method.upper(), path, described)
            for path, item in self.document["paths"].items()
            for method, described in item.items()
        ]

    def operation(self, method: str, target: str) -> Operation:
        """Returns the operation that a request reaches; fixed paths precede those with parameters."""
        path = target.partition("?")[0]
        found = [one for one in self.operations() if one.method == method and matches(one.path, path)]
        assert found, f"{method} {path} is not documented"
        return min(found, key=lambda one: one.path.count("{"))

    def check(self, method: str, target: str, answer: Answer) -> None:
        """Fails when the document does not allow this response."""
        operation = self.operation(method, target)
        where = f"{operation.name} answered {answer.status}: {answer.body[:500]!r}"
        self.seen.setdefault(operation.name, set()).add(answer.status)
        response = self.resolve_response(operation.described["responses"].get(str(answer.status)))
        assert response is not None, f"{where}, which is not documented"
        for name in response.get("headers", {}):
            if name == "X-Request-Id":
                assert name.lower() in answer.headers, f"{where} without {name}"
        content = response.get("content")
        if not content:
            assert answer.body == b"", f"{where}, documented without a body"
            return
        kind = answer.headers["content-type"].partition(";")[0]
        assert kind in content or "*/*" in content, f"{where} as {kind}"
        if kind == "application/json" and kind in content:
            self.validate(content[kind]["schema"], answer.json, where)

    def validate(self, schema: Mapping[str, Any], value: Any, where: str) -> None:
        """Fails when `value` does not match the schema, or has fields that it does not name."""
        errors = list(self.validator(schema).iter_errors(value))
        assert not errors, f"{where}\n{errors[0]}"

    def validator(self, schema: Mapping[str, Any]) -> Any:
        whole = {**close_objects(copy.deepcopy(dict(schema))), "components": self.components}
        return jsonschema_rs.Draft202012Validator(whole, validate_formats=True)

    def resolve_response(self, response: Schema | None) -> Schema | None:
        if response is not None and "$ref" in response:
            return dict(self.document["components"]["responses"][response["$ref"].rpartition("/")[2]])
        return response


class CheckingClient(Client):
    """A client that validates every response against the document."""

    contract: Contract

    async def ask(self, method: str, path: str, *args: Any, **more: Any) -> Answer:
        answer = await super().ask(method, path, *args, **more)
        self.contract.check(method, path, answer)
        return answer


def matches(template: str, path: str) -> bool:
    """Returns whether the template matches the path."""
    return re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", template), path) is not None


def close_objects(schema: Any) -> Any:
    """Closes every object of the schema, except in an `allOf`, whose members share their fields."""
    if isinstance(schema, list):
        for item in schema:
            close_objects(item)
    elif isinstance(schema, dict):
        if "properties" in schema and isinstance(schema["properties"], dict):
            schema.setdefault("additionalProperties", False)
        for name, item in schema.items():
            if name != "allOf":
                close_objects(item)
    return schema
