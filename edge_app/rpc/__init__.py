"""Requests and replies over a connection that both sides write to, for faces with an RPC protocol.

A face describes its methods and its frames, and the dispatcher runs them:

    class Calls(Dispatcher[Principal]):
        methods = {"add": Method.on_loop(Sum.parse, add), "chat.send": Method.on_database(Chat.parse, chat_send)}

        async def admit(self, request: Request) -> Principal:
            return await self.connection.recheck()

        def reply(self, request: Request, result: Any) -> None:
            self.connection.outbox.put_reply(encode({"id": request.id, "result": result}))

        def refuse(self, request: Request, error: GatewayError) -> None:
            self.connection.outbox.put_reply(encode({"id": request.id, "error": error.code}))

    calls.dispatch(Request("add", 7, {"a": 1, "b": 2}))    # returns at once; the reply follows

`PeerCalls` is the other direction: the gateway asks the client, and the read loop hands it the client's reply.
"""

from __future__ import annotations

from edge_app.rpc.dispatcher import Dispatcher, Method, Request
from edge_app.rpc.errors import MethodTimedOut, RequestCancelled, rpc_error
from edge_app.rpc.peer_calls import PeerCalls, PeerGone

__all__ = [
    "Dispatcher",
    "Method",
    "MethodTimedOut",
    "PeerCalls",
    "PeerGone",
    "Request",
    "RequestCancelled",
    "rpc_error",
]
