"""`/`: a page for browsers, a document for programs, and nothing in it that is somebody else's markup."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway_project.http.health import NotReady, Readyz
from gateway_project.http.start_page import StartPage


async def _well() -> str:
    return "ok"


async def _ill() -> str:
    raise NotReady("<b>away</b>")


async def fetched(*, accept: str = "*/*", method: str = "GET", ill: bool = False) -> tuple[int, dict[str, str], bytes]:
    """Returns what a client of the page gets."""
    scope: dict[str, Any] = {"type": "http", "method": method, "path": "/", "headers": [(b"accept", accept.encode())]}
    sent: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        await asyncio.Event().wait()

    await StartPage(Readyz({"database": _well, "threads": _ill if ill else _well}))(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent[1:])


async def test_a_browser_gets_a_page_with_a_policy_that_runs_its_own_files_only() -> None:
    status, headers, body = await fetched(accept="text/html,application/xhtml+xml")
    page = body.decode()
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "script-src 'self'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert "Everything is well." in page
    for link in ("/admin/", "/docs", "/openapi.json", "/readyz"):
        assert f'href="{link}"' in page
    assert "demo:tour" in page
    assert "DEEPSEEK_API_KEY" in page


async def test_a_program_gets_a_document() -> None:
    status, headers, body = await fetched()
    document = json.loads(body)
    assert (status, headers["content-type"], headers["vary"]) == (200, "application/json", "accept")
    assert (document["name"], document["ready"], document["links"]["Admin"]) == ("Agent Gateway", True, "/admin/")


async def test_a_part_that_is_ill_is_shown_and_its_words_are_no_markup() -> None:
    assert json.loads((await fetched(ill=True))[2])["ready"] is False
    page = (await fetched(accept="text/html", ill=True))[2].decode()
    assert "Something needs attention." in page
    assert "&lt;b&gt;away&lt;/b&gt;" in page
    assert "<b>away" not in page


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("POST", 405)])
async def test_other_methods(method: str, status: int) -> None:
    found, headers, body = await fetched(accept="text/html", method=method)
    assert found == status
    assert body == b"" if method == "HEAD" else json.loads(body)["error"] == "method_not_allowed"
    assert method == "HEAD" or headers["allow"] == "GET, HEAD"
