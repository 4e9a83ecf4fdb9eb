"""Requests to a provider that rejects unknown fields lack the fields that the gateway would add."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inference_app.catalogue.config import MODELS, parse
from tests.agents.conftest import Upstream
from tests.faces.inference.conftest import RelayClient

REFUSED = "refuses: [stream_options, user, store, prompt_cache_key]"


@pytest.fixture(autouse=True)
def _strict(upstream: Upstream, settings: Any) -> None:
    file = Path(settings.GATEWAY_CONFIG)
    entry = f'    strict: {{base_url: "{upstream.url}", api_key: none, {REFUSED}}}'
    file.write_text(file.read_text().replace("  providers:", f"  providers:\n{entry}"))
    MODELS.forget()


async def test_it_is_not_asked_for_the_usage_of_a_stream(relay: RelayClient, upstream: Upstream) -> None:
    assert (await relay.chat("strict:hello", stream=True)).text == "Hello, world."
    assert "stream_options" not in upstream.requests()[0]


async def test_what_a_client_wrote_itself_is_handed_on(relay: RelayClient, upstream: Upstream) -> None:
    own = {"stream_options": {"include_usage": True}, "user": "me"}
    await relay.chat("strict:hello", stream=True, **own)
    sent = upstream.requests()[0]
    assert {name: sent[name] for name in own} == own


@pytest.mark.parametrize("stream", [False, True])
async def test_conversions_leave_those_fields_out(relay: RelayClient, upstream: Upstream, stream: bool) -> None:
    message = [{"role": "user", "content": "Hi"}]
    asked = {"model": "strict:hello", "max_tokens": 9, "messages": message, "metadata": {"user_id": "me"}}
    assert (await relay.post("/v1/messages", {**asked, "stream": stream})).status == 200
    asked = {"model": "strict:hello", "input": "Hi", "prompt_cache_key": "k", "user": "me", "store": False}
    assert (await relay.post("/v1/responses", {**asked, "stream": stream})).status == 200
    for sent in upstream.requests():
        assert not {"stream_options", "user", "store", "prompt_cache_key"} & set(sent)


def test_mistral_is_known_to_be_strict() -> None:
    assert "stream_options" in parse({}).providers["mistral"].refuses
