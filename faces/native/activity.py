"""GET /v1/activity: says when something has happened in the tenant's sessions, for pages that list them.

Its frames carry no position and are not kept: each says how things are, so a client that reconnects has missed nothing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import structlog
from django.conf import settings

from core_app import jsontext
from core_app.errors import BadRequest, GatewayError, MethodNotAllowed
from edge_app.consumer import ChannellessConsumer
from edge_app.followers import FOLLOWERS
from edge_app.http.asgi import ClientGone
from edge_app.http.errors import face_error_body, internal_error
from edge_app.http.query import query_of
from edge_app.http.response import send_error
from edge_app.sse.frames import HEARTBEAT_COMMENT, RESTART_COMMENT, data_frame, retry_field
from edge_app.sse.writer import write_stream
from sessions_app.activity import ACTIVITY, ActivityFollower, Look
from tenants_app.authentication import KeyWatch
from tenants_app.principal import SESSIONS_READ, Principal

logger = structlog.get_logger("gateway.streams")


class ActivityStream(ChannellessConsumer):
    """One client."""

    async def http_request(self, message: Mapping[str, Any]) -> None:
        """Serves the request."""
        try:
            self.principal.require(SESSIONS_READ)
            if self.scope["method"] != "GET":
                raise MethodNotAllowed("The activity is read with GET.", allow="GET")
            if unknown := query_of(self.scope).keys():
                name = min(unknown)[:64]
                raise BadRequest(f"There is no parameter '{name}'.", field=name)
            with FOLLOWERS.track(self.principal):
                async with ACTIVITY.follow(self.principal.tenant_id) as follower:
                    await write_stream(self.receive, self.base_send, follower, _chunks(follower, self.principal))
        except GatewayError as error:
            await send_error(self.base_send, error, face_error_body(self.scope, error))

    async def http_disconnect(self, message: Mapping[str, Any]) -> None:
        """Ends a request whose client left before it was served."""
        raise ClientGone


def _frame(look: Look) -> bytes:
    return data_frame(jsontext.encode({"type": "activity", "waits": look.waits}))


async def _chunks(follower: ActivityFollower, principal: Principal) -> AsyncIterator[bytes]:
    """Yields a frame for each change, and a heartbeat when there was none."""
    watch = KeyWatch(principal, SESSIONS_READ)
    yield retry_field()
    try:
        while True:
            look = await follower.next(settings.GATEWAY_HEARTBEAT_SECONDS)
            if follower.ended:
                yield RESTART_COMMENT
                return
            await watch.check()
            yield HEARTBEAT_COMMENT if look is None else _frame(look)
    except GatewayError as error:
        # The key is no longer good: the client's next request gets the reason.
        logger.info("stream_ended", stream="activity", reason=type(error).__name__)
    except Exception as error:  # the head has been sent: all that is left is to end the stream and to log why
        internal_error(error)
