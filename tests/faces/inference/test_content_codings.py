"""Content codings of providers' responses and of clients' requests."""

from __future__ import annotations

import gzip
import json
import zlib
from itertools import product
from typing import Any

import brotli
import pytest

from core_app.content_codings import zstd
from edge_app.http.body_budget import BODIES, BodyShare
from inference_app.relay import attempt
from tests.faces.inference.conftest import RelayClient, ledger
from tests.faces.inference.scripted import PATHS, SSE, STREAM, WHOLE, WIRES, Reply, body, question, scripted, sse

CODINGS = {"gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstd.compress}
PAIRS = list(product(PATHS, WIRES))


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(("client", "wire"), PAIRS)
async def test_a_response_is_decoded_and_counted(
    relay: RelayClient, settings: Any, client: str, wire: str, coding: str
) -> None:
    plain, events = body(WHOLE[wire]), sse(*STREAM[wire])
    encoded = CODINGS[coding](events)
    cut = [encoded[at : at + 40] for at in range(0, len(encoded), 40)]
    for reply, stream in (
        (Reply(pieces=[CODINGS[coding](plain)], headers={"content-encoding": coding}), False),
        (Reply(pieces=cut, headers={**SSE, "content-encoding": coding.upper()}), True),
    ):
        async with scripted(settings, reply):
            heard = await relay.post(PATHS[client], question(client, f"{WIRES[wire]}:m", stream=stream))
        assert heard.status == 200, heard.body
        assert "content-encoding" not in heard.headers
        assert b"Hi" in heard.body
        if client == wire and not stream:
            assert heard.body == plain
    assert {(e.kind, e.input_tokens, e.output_tokens) for e in await ledger()} == {("inference", 11, 7)}


@pytest.mark.parametrize("coding", CODINGS)
async def test_a_refusal_is_decoded(relay: RelayClient, settings: Any, coding: str) -> None:
    error = CODINGS[coding](body({"error": {"message": "the reason"}}))
    async with scripted(settings, Reply(400, [error], {"content-encoding": coding})):
        heard = await relay.chat("c:m")
    assert (heard.status, heard.json["error"]["message"]) == (400, "the reason")


NO_CODINGS = {
    "other bytes": ("gzip", b"no gzip"),
    "unknown": ("compress", b"x"),
    "cut": ("gzip", gzip.compress(b"{", mtime=0)[:-4]),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("kind", NO_CODINGS)
async def test_a_response_that_cannot_be_decoded_is_a_failed_attempt(
    relay: RelayClient, settings: Any, kind: str, stream: bool
) -> None:
    coding, sent = NO_CODINGS[kind]
    async with scripted(settings, Reply(pieces=[sent], headers={"content-encoding": coding})):
        heard = await relay.chat("c-first", stream=stream)
    assert (heard.status, heard.headers.get("x-gateway-provider")) == (200, "second")


async def test_the_limit_of_a_response_is_on_what_it_decodes_to(
    relay: RelayClient, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "MAX_ANSWER_BYTES", 100_000)
    bomb = gzip.compress(b'{"choices": [{"x": "' + b"x" * 1_000_000 + b'"}]}')
    async with scripted(settings, Reply(pieces=[bomb], headers={"content-encoding": "gzip"})):
        heard = await relay.chat("c:m")
    assert (heard.status, "answer_too_large" in heard.json["error"]["message"]) == (502, True)


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize(("client", "wire"), PAIRS)
async def test_a_request_is_decoded(relay: RelayClient, settings: Any, client: str, wire: str, coding: str) -> None:
    asked = question(client, f"{WIRES[wire]}:m")
    async with scripted(settings, Reply(pieces=[body(WHOLE[wire])])) as provider:
        heard = await relay.post(PATHS[client], CODINGS[coding](body(asked)), content_encoding=coding)
    assert heard.status == 200, heard.body
    assert "Hello?" in json.dumps(provider.requests)


@pytest.mark.parametrize("path", [*PATHS.values(), "/v1/embeddings", "/v1/messages/count_tokens"])
async def test_a_coding_that_is_not_known_is_415(relay: RelayClient, path: str) -> None:
    heard = await relay.post(path, body({"model": "hello"}), content_encoding="compress")
    assert (heard.status, "gzip, deflate, br, zstd" in heard.json["error"]["message"]) == (415, True)
    heard = await relay.post(path, b"no gzip at all", content_encoding="gzip")
    assert (heard.status, "Content-Encoding" in heard.json["error"]["message"]) == (400, True)


@pytest.mark.parametrize("coding", CODINGS)
async def test_the_limit_of_a_request_is_on_what_it_decodes_to(relay: RelayClient, settings: Any, coding: str) -> None:
    settings.GATEWAY_MAX_INFERENCE_BODY_BYTES = 200_000
    asked = body({"model": "hello", "messages": [{"role": "user", "content": "x" * 250_000}]})
    encoded = CODINGS[coding](asked)
    assert len(encoded) < 2000
    assert (await relay.post("/v1/chat/completions", encoded, content_encoding=coding)).status == 413


async def test_what_a_body_decodes_to_counts_as_memory(
    relay: RelayClient, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: list[int] = []
    grow_to = BodyShare.grow_to

    def note(share: BodyShare, size: int) -> None:
        grow_to(share, size)
        held.append(BODIES.held_bytes)

    monkeypatch.setattr(BodyShare, "grow_to", note)
    asked = body({"model": "hello", "messages": [{"role": "user", "content": "x" * 3_000_000}]})
    heard = await relay.post("/v1/chat/completions", gzip.compress(asked), content_encoding="gzip")
    assert (heard.status, max(held) >= len(asked), BODIES.held_bytes) == (200, True, 0)
