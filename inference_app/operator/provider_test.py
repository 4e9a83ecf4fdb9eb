"""A real, short request to a provider, for whoever sets one up. Some list their models without a key; none answers."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec

from core_app.log_lines import error_summary
from inference_app.catalogue.config import ProviderEntry, Wire, models_config
from inference_app.providers.fault_sentences import fault_sentence
from inference_app.providers.provider_errors import parse_error
from inference_app.providers.retry_policy import Fault
from inference_app.providers.upstreams import UPSTREAMS, identity_headers
from inference_app.relay.attempt import redacted_excerpt
from inference_app.request_kinds import CONVERTED, upstream_url

SECONDS = 60.0
PAGE_SECONDS = 15.0
"""The time of a test for which a page waits."""

_PAGE_TESTS = threading.BoundedSemaphore(2)
"""Each holds a request thread."""

MAX_BYTES = 1024 * 1024
QUESTION = "Answer with the word ok."


@dataclass(frozen=True, slots=True)
class ProviderTest:
    """The result of a test: a sentence, and whether the provider answered."""

    ok: bool
    text: str


def provider_test_now(name: str, *, model: str | None = None) -> ProviderTest:
    """Tests a provider in the calling thread, for PAGE_SECONDS at most; a few at a time."""
    if not _PAGE_TESTS.acquire(blocking=False):
        return ProviderTest(False, "Other tests are under way. Try again in a moment.")
    try:
        return asyncio.run(_test_alone(name, model))
    finally:
        _PAGE_TESTS.release()


async def _test_alone(name: str, model: str | None) -> ProviderTest:
    try:
        return await provider_test(name, model=model, seconds=PAGE_SECONDS)
    finally:
        await UPSTREAMS.stop()


async def provider_test(name: str, *, model: str | None = None, seconds: float = SECONDS) -> ProviderTest:
    """Asks the provider for a few tokens of `model`, by default its default or first model."""
    provider = models_config().providers[name]
    model = model or provider.default_model or next((entry.id for entry in provider.models), None)
    if provider.wire == "demo":
        return ProviderTest(True, f"{name} is part of the gateway.")
    if not provider.enabled:
        return ProviderTest(False, f"{name} is switched off.")
    if not provider.usable:
        return ProviderTest(False, f"{name} has no key: put it into .env, as {provider.api_key_env}=…")
    if model is None:
        return ProviderTest(False, f"{name} has no default model: name one to test.")
    began = time.perf_counter()
    fault = await _ask(name, provider, model, seconds)
    took = time.perf_counter() - began
    return ProviderTest(fault is None, fault or f"{name} answered with {model} in {took:.1f} s.")


async def _ask(name: str, provider: ProviderEntry, model: str, seconds: float) -> str | None:
    """Returns the reason why the provider does not answer; None when it does."""
    headers = identity_headers(provider, provider.wire)
    headers["Content-Type"] = "application/json"
    body = msgspec.json.encode(_body(provider.wire, provider.upstream_model(model)))
    try:
        async with (
            asyncio.timeout(seconds),
            UPSTREAMS.session().post(
                upstream_url(provider.base_url, CONVERTED[provider.wire]),
                data=body,
                headers=headers,
                allow_redirects=False,
            ) as response,
        ):
            content = await response.content.read(MAX_BYTES)
    except TimeoutError:
        return f"{name} did not answer within {seconds:.0f} s; check models.providers.{name}.base_url."
    except aiohttp.ClientConnectorDNSError:
        return fault_sentence(name, provider, Fault("connect", "name_not_resolved"))
    except (aiohttp.ClientError, OSError, ValueError) as error:
        reason = error_summary(error)
        return f"{fault_sentence(name, provider, Fault('connect', 'connection_failed'))} ({reason})"
    if response.status == 200:
        return None
    told = parse_error(content, plain=True)
    word = (told.word if told is not None else None) or str(response.status)
    sentence = fault_sentence(name, provider, Fault("status", word, response.status))
    return f"{sentence} It said: {redacted_excerpt(content, provider.key)}"


def _body(wire: Wire, model: str) -> dict[str, Any]:
    if wire == "openai-responses":
        return {"model": model, "input": QUESTION}
    body = {"model": model, "messages": [{"role": "user", "content": QUESTION}]}
    return {**body, "max_tokens": 16} if wire == "anthropic" else body
