"""The endpoints that a provider answers: chat completions, embeddings and messages, streamed and not."""

from __future__ import annotations

from collections.abc import Mapping

from inference_app.conversion_table import CONVERTERS
from inference_app.endpoints.answering import Endpoint, Visit
from inference_app.relay import ClientWatch, Envelope, Kind, UpstreamAnswer, UpstreamRequest, upstream_call
from inference_app.relay.upstreams import PASSED_ON
from tenants_app.gate.body import ClientGone


def relayed(kind: Kind) -> Endpoint:
    """The endpoint that relays requests of `kind`."""

    async def endpoint(visit: Visit) -> None:
        await relayed_body(kind, visit, Envelope.open(await visit.body()))

    return endpoint


async def relayed_body(kind: Kind, visit: Visit, envelope: Envelope) -> None:
    """Relays a request whose body is open already."""
    request = UpstreamRequest(
        kind=kind,
        envelope=envelope,
        principal=visit.principal,
        request_id=visit.request_id,
        dialect=visit.dialect,
        converters=CONVERTERS.get(kind, {}),
        passed_on=passed_on(visit),
    )
    async with ClientWatch(visit.receive), upstream_call(request) as answer:
        await sent(visit, request, answer)


def passed_on(visit: Visit) -> Mapping[str, str]:
    """The client's headers that belong to the wire itself."""
    return {
        name.decode("latin-1"): value.decode("latin-1") for name, value in visit.scope["headers"] if name in PASSED_ON
    }


async def sent(visit: Visit, request: UpstreamRequest, answer: UpstreamAnswer) -> None:
    """The answer to the client, as it comes and no faster than the client takes it."""
    send, send_body = visit.send, visit.send_body or visit.send
    headers = answer.headers
    if not request.streamed:
        headers.append((b"content-length", b"%d" % len(answer.first)))
    visit.begun = True
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    data = answer.first or await answer.more()
    while data:
        try:
            await send_body({"type": "http.response.body", "body": data, "more_body": request.streamed})
        except OSError:
            raise ClientGone from None
        if not request.streamed:
            return
        data = await answer.more()
    await send({"type": "http.response.body", "body": b"", "more_body": False})
