"""Every HTTP operation of every face, from the API's document, with paths filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

from gateway_project.openapi import document

METHODS = (
    "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "BREW",
)  # fmt: skip
DOCUMENTED = ("get", "post", "put", "patch", "delete")
UNKNOWN = {
    "session_id": "ses_nobodys", "request_id": "run_nobodys", "group_id": "group-of-nobody", "name": "nothing",
    "webhook_id": "whk_nobodys", "delivery_id": "dlv_nobodys", "token": "no-token", "provider": "nobody",
    "model_id": "no-model", "server": "no-server",
    "task_id": "task_nobodys", "space_id": "space-nobodys", "agent_id": "no-agent",
    "response_id": "resp_nobodys", "conversation_id": "conv_nobodys", "item_id": "msg_nobodys",
    "tenant": "nobodys", "key_id": "key_0", "username": "nobody", "model": "no-model", "budget_id": "bud_0",
    "background_id": "bg_nobodys", "completion_id": "bg_nobodys_chat", "message_id": "bg_nobodys_message",
}  # fmt: skip
"""Ids that nobody has, by the name of the parameter."""

_PARAMETER = re.compile(r"\{(\w+)\}")
_SOCKET = re.compile(r"/ws(/|$)")


@dataclass(frozen=True)
class Operation:
    """A method of a path; `scope` is None where none is needed."""

    method: str
    template: str
    scope: str | None

    def path(self, ids: Mapping[str, str] = UNKNOWN) -> str:
        return _PARAMETER.sub(lambda match: ids[match[1]], self.template)

    @property
    def parameters(self) -> list[str]:
        return _PARAMETER.findall(self.template)

    def __str__(self) -> str:
        return f"{self.method} {self.template}"


@cache
def operations() -> tuple[Operation, ...]:
    """All of them but sockets, whose upgrades have tests of their own."""
    return tuple(sorted(_operations(), key=str))


def _operations() -> Iterator[Operation]:
    for template, item in document()["paths"].items():
        for method in DOCUMENTED:
            if method in item and not _SOCKET.search(template):
                yield Operation(method.upper(), template, item[method].get("x-scope"))


def closed() -> list[Operation]:
    """The operations that need a key."""
    return [operation for operation in operations() if operation.scope is not None]
