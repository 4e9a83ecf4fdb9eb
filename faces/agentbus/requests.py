"""The requests of one connection: which caller they have, their replies and their refusals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings

from core_app.errors import BadRequest, GatewayError, NotFound, RateLimited, Unauthorized
from edge_app.rpc import Dispatcher, Method, Request, admit_principal
from faces.agentbus.caller import Caller
from faces.agentbus.close_codes import AgentbusClose
from faces.agentbus.frames import encode_refusal, encode_reply
from faces.agentbus.methods import METHODS

if TYPE_CHECKING:
    from faces.agentbus.connection import AgentbusConnection

PUBLIC = frozenset({"system.info", "system.status"})
"""Methods that need no `connect` where GATEWAY_RPC_PUBLIC_STATUS is on."""


class Requests(Dispatcher[Caller]):
    """The dispatcher of one connection."""

    __slots__ = ("_connection",)

    methods = METHODS
    limit = 64

    def __init__(self, connection: AgentbusConnection) -> None:
        super().__init__(connection.order)
        self._connection = connection

    def objection(self, request: Request) -> GatewayError | None:
        if self._connection.credential is None and request.method != "connect" and not self._is_public(request):
            return Unauthorized("The first request is 'connect'.")
        if self.is_under_way(request.id):
            return BadRequest("A request of this 'id' is in flight: its response could not be told from this one's.")
        return super().objection(request)

    async def admit(self, request: Request, method: Method[Caller]) -> Caller:
        if request.method == "connect" or (self._connection.credential is None and self._is_public(request)):
            return Caller(self._connection, None)
        return Caller(self._connection, await admit_principal(await self._connection.recheck(), method))

    def admit_now(self, request: Request, method: Method[Caller]) -> Caller | None:
        credential = self._connection.credential
        if credential is None:
            return Caller(self._connection, None)
        principal = None if method.counted else credential.check_now()
        if principal is None:
            return None
        if method.scope is not None:
            principal.require(method.scope)
        return Caller(self._connection, principal)

    def reply(self, request: Request, result: Mapping[str, Any]) -> None:
        self._connection.outbox.put_reply(encode_reply(request.id, result))
        self._connection.follow_reply(request.method)

    def refuse(self, request: Request, error: GatewayError) -> None:
        self._connection.outbox.put_reply(encode_refusal(request.id, error))
        if isinstance(error, Unauthorized) and self._connection.credential is not None and request.method != "connect":
            self._connection.end(AgentbusClose.UNAUTHORIZED)

    def unknown_method(self, request: Request) -> GatewayError:
        return NotFound(f"There is no method {request.method[:64]!r}.", field="method")

    def too_many(self) -> GatewayError:
        return RateLimited(f"A connection may have {self.limit} requests in flight; wait for a reply.")

    @staticmethod
    def _is_public(request: Request) -> bool:
        return request.method in PUBLIC and settings.GATEWAY_RPC_PUBLIC_STATUS
