"""`fetch_url`: the text of a page, however it is written, and nothing from inside."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core_app.guarded_client import CLIENT, GuardedResponse
from tests.tools.conftest import CallbackServer
from tools_app.executors.fetch_url import TOOL
from tools_app.types import CallContext, Outcome

pytestmark = [pytest.mark.usefixtures("guarded")]


async def fetch(url: str, *, private: bool = True) -> Outcome:
    context = CallContext(session_id="s", request_id=None, tenant_id=1, allow_private=private)
    return await TOOL.run({"url": url}, context)


def page(body: bytes, kind: str = "text/html", *more: tuple[str, str], status: int = 200) -> Any:
    def reply(handler: Any) -> None:
        handler.send_response(status)
        handler.send_header("Content-Type", kind)
        for name, value in more:
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return reply


async def test_a_pages_text_is_what_a_reader_sees(server: CallbackServer) -> None:
    html = b"<html><head><title>t</title></head><body><h1>Big</h1><p>One &amp; <b>two</b></p><script>evil()</script>"
    server.replies = [page(html)]
    assert await fetch(server.url) == Outcome("ok", "Big\nOne & two")


@pytest.mark.parametrize("kind", ["text/plain; charset=latin-1", "text/plain; charset=nonsense", "application/json"])
async def test_plain_text_comes_as_it_is_whatever_its_charset(server: CallbackServer, kind: str) -> None:
    server.replies = [page(b'{"a": 1}', kind)]
    assert (await fetch(server.url)).content == '{"a": 1}'


@pytest.mark.parametrize("charset", ["punycode", "idna", "undefined", "zlib"])
async def test_a_page_cannot_choose_a_codec_that_is_not_of_the_web(server: CallbackServer, charset: str) -> None:
    """200 kB of punycode took 12 s, which nothing could end."""
    server.replies = [page(b"a" * 200_000, f"text/plain; charset={charset}")]
    assert await fetch(server.url) == Outcome("ok", "a" * 200_000)


async def test_a_page_that_takes_too_long_to_read_is_given_up(server: CallbackServer, settings: Any) -> None:
    settings.GATEWAY_CONTENT_SECONDS = 0.000001
    server.replies = [page(b"<p>" * 1000)]
    outcome = await fetch(server.url)
    assert (outcome.status, "GATEWAY_CONTENT_SECONDS" in outcome.content) == ("error", True)


async def test_pages_are_not_read_in_the_loops_executor(
    server: CallbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> Any:
        raise AssertionError("the default executor was used")

    monkeypatch.setattr(asyncio.get_running_loop(), "run_in_executor", refuse, raising=False)
    server.replies = [page(b"<p>here")]
    # A literal address, because names are looked up in threads too.
    assert await fetch(server.url) == Outcome("ok", "here")


@pytest.mark.parametrize(
    ("kind", "status"), [("image/png", 200), ("application/octet-stream", 200), ("text/html", 404)]
)
async def test_what_is_no_page_is_an_error(server: CallbackServer, kind: str, status: int) -> None:
    server.replies = [page(b"x", kind, status=status)]
    assert (await fetch(server.url)).status == "error"


async def test_a_large_page_is_cut(server: CallbackServer) -> None:
    server.replies = [page("é".encode() * 1_000_000, "text/plain; charset=utf-8")]
    assert len((await fetch(server.url)).content.encode()) == 200 * 1024


async def test_redirects_are_followed_a_few_times(server: CallbackServer) -> None:
    server.replies = [page(b"", "text/html", ("Location", "/other"), status=302), page(b"there", "text/plain")]
    assert (await fetch(server.url)).content == "there"
    server.replies = [page(b"", "text/html", ("Location", "/again"), status=302)]
    assert (await fetch(server.url)).status == "error"
    assert len(server.received) == 2 + 6


@pytest.mark.parametrize("location", ["http://127.0.0.1/", "file:///etc/passwd", "http://2130706433/", "https://[::1"])
async def test_a_redirect_is_checked_like_the_first_address(
    server: CallbackServer, monkeypatch: pytest.MonkeyPatch, location: str
) -> None:
    asked: list[str] = []
    real = CLIENT.request

    async def first_is_public(method: str, url: str, **more: Any) -> GuardedResponse:
        asked.append(url)
        if url == "https://example.com/":
            return GuardedResponse(302, {"location": location}, b"", "text/html", "utf-8")
        return await real(method, url, **more)

    monkeypatch.setattr(CLIENT, "request", first_is_public)
    assert (await fetch("https://example.com/", private=False)).status == "error"
    assert server.received == []


async def test_addresses_inside_are_refused(server: CallbackServer) -> None:
    assert (await fetch(server.url, private=False)).status == "error"
    assert server.received == []
