"""Requests and replies over a connection that both sides write to, for faces with an RPC protocol.

A face describes its methods and its frames, and the dispatcher runs them:

    class Sum(msgspec.Struct):
        a: int
        b: int = 0

    class Calls(Dispatcher[Principal]):
        methods = {"add": Method.on_loop(struct_parser(Sum), add, scope=SESSIONS, counted=True)}

        async def admit(self, request: Request, method: Method[Principal]) -> Principal:
            return await admit_principal(await self.connection.recheck(), method)

        def reply(self, request: Request, result: Any) -> None:
            self.connection.outbox.put_reply(encode({"id": request.id, "result": result}))

        def refuse(self, request: Request, error: GatewayError) -> None:
            self.connection.outbox.put_reply(encode({"id": request.id, "error": CODES.code(error)}))

    calls.dispatch(Request("add", 7, {"a": 1, "b": 2}))    # returns at once; the reply follows

`PeerCalls` is the other direction: the gateway asks the client, and the read loop hands it the client's reply.
tests/edge/sockets has a complete protocol.
"""

from __future__ import annotations

from edge_app.rpc.admission import admit_principal
from edge_app.rpc.dispatcher import Dispatcher, Method, Request
from edge_app.rpc.errors import ErrorTable, MethodTimedOut, RequestCancelled, rpc_error
from edge_app.rpc.parameters import Params, Parse, serializer_parser, struct_parser
from edge_app.rpc.peer_calls import PeerCalls, PeerGone

__all__ = [
    "Dispatcher",
    "ErrorTable",
    "Method",
    "MethodTimedOut",
    "Params",
    "Parse",
    "PeerCalls",
    "PeerGone",
    "Request",
    "RequestCancelled",
    "admit_principal",
    "rpc_error",
    "serializer_parser",
    "struct_parser",
]
