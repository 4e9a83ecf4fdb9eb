"""POST /v1/messages/count_tokens: counted by a provider of Anthropic's wire, else estimated by the gateway.

An estimate makes no request to a provider; the header `x-gateway-estimated: true` marks it.
"""

from __future__ import annotations

from faces.inference.http import Exchange
from faces.inference.relay import relay_body
from inference_app.catalogue.config import models_config
from inference_app.conversion import estimate_body_tokens
from inference_app.conversion.fields import THREAD, thread_check
from inference_app.converters import CONVERTERS
from inference_app.errors import ModelNotFound, NoProvider
from inference_app.relay import Envelope, open_envelope, take_token
from inference_app.relay.large_bodies import run_for_size
from inference_app.relay.targets import TARGETS
from responses_app.threads.preparation import messages_prepare


async def count_tokens(exchange: Exchange) -> None:
    """Sends the count of a provider or the gateway's estimate; raises the same errors as messages for that model."""
    exchange.headers += await take_token(exchange.principal, "count_tokens")
    envelope = await open_envelope(await exchange.read_body())
    # The client has the whole conversation, and a count of its end would be of no use.
    thread_check(envelope.value_of(THREAD))
    if _is_counted(exchange, envelope):
        await relay_body("count_tokens", exchange, messages_prepare(envelope, None, None))
        return
    estimate = await run_for_size(envelope.size, estimate_body_tokens, envelope.raw)
    await exchange.send_json(200, {"input_tokens": estimate}, [(b"x-gateway-estimated", b"true")])


def _is_counted(exchange: Exchange, envelope: Envelope) -> bool:
    """True if a provider counts; raises ModelNotFound or NoProvider if none would take the messages either."""
    config, model = models_config(), envelope.model
    try:
        TARGETS.targets_for(config, model, "count_tokens", {}, exchange.principal)
    except (ModelNotFound, NoProvider):
        TARGETS.targets_for(config, model, "messages", CONVERTERS["messages"], exchange.principal)
        return False
    return True
