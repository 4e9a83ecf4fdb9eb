"""POST /v1/responses: passed through where the provider has it, else converted to what it speaks and back.

Everything between is the relay's: routing, retries, failover, breaker, metering.
"""

from __future__ import annotations

from dataclasses import replace

from faces.inference.http import Visit
from faces.inference.relay import passed_on, sent, watched
from faces.responses.dialect import ResponsesDialect
from faces.responses.stateless import response_not_found, stateless_check
from inference_app.relay import Envelope, UpstreamRequest, upstream_call
from inference_app.request_kinds import NATIVE


async def response_create(visit: Visit) -> None:
    """One response, streamed or whole."""
    envelope = Envelope.open(await visit.body())
    stateless_check(envelope)
    dialect = ResponsesDialect()
    request = UpstreamRequest(
        kind="responses",
        envelope=envelope,
        principal=visit.principal,
        request_id=visit.request_id,
        dialect=dialect,
        converters=dialect.converters,
        passed_on=passed_on(visit),
    )
    async with watched(visit) as watch, upstream_call(request) as answer:
        if answer.wire == NATIVE["responses"]:
            dialect.passing_through()
        visit.begun = True
        await sent(replace(visit, send=dialect.watching(visit.send), send_body=None), request, answer, watch)


async def response_missing(visit: Visit) -> None:
    """A stored response, of which there are none."""
    raise response_not_found(visit.scope["path"].split("/")[3])
