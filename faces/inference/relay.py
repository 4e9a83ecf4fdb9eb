"""The endpoints that a provider answers: chat completions, embeddings and messages, streamed and not."""

from __future__ import annotations

from collections.abc import Mapping

from django.conf import settings

from edge_app.http.asgi import ClientGone
from faces.inference.http import Endpoint, Visit
from inference_app.converters import CONVERTERS
from inference_app.providers.upstreams import PASSED_ON
from inference_app.relay import ClientWatch, Envelope, Kind, UpstreamAnswer, UpstreamRequest, upstream_call


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
    async with watched(visit) as watch, upstream_call(request) as answer:
        await sent(visit, request, answer, watch)


def watched(visit: Visit) -> ClientWatch:
    """Around everything that is done for the client after its request was read."""
    return ClientWatch(visit.receive, settings.GATEWAY_SLOW_CLIENT_SECONDS)


def passed_on(visit: Visit) -> Mapping[str, str]:
    """The client's headers that belong to the wire itself; one that comes in several lines is a list."""
    found: dict[str, str] = {}
    for name, value in visit.scope["headers"]:
        if name in PASSED_ON:
            known, text = name.decode("latin-1"), value.decode("latin-1")
            found[known] = f"{found[known]},{text}" if known in found else text
    return found


async def sent(visit: Visit, request: UpstreamRequest, answer: UpstreamAnswer, watch: ClientWatch) -> None:
    """The answer to the client, as it comes and no faster than the client takes it; one that takes nothing is gone."""
    send, send_body = visit.send, visit.send_body or visit.send
    headers = [*answer.headers, *visit.naming]
    if not request.streamed:
        headers.append((b"content-length", b"%d" % len(answer.first)))
    visit.begun = True
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    taking = watch.write_timer
    data = answer.first or await answer.more()
    while data:
        taking.resume()
        try:
            await send_body({"type": "http.response.body", "body": data, "more_body": request.streamed})
        except OSError:
            raise ClientGone from None
        taking.pause()
        if not request.streamed:
            return
        data = await answer.more()
    await send({"type": "http.response.body", "body": b"", "more_body": False})
