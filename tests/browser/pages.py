"""Pages in a real Chromium, driven with Playwright: in each size and colour scheme, watched, and audited by axe-core.

A test asks for `chromium()` and opens a `WatchedPage` per view. The page keeps everything that went wrong on it:
exceptions, console errors, what its policy blocked, dialogs, and requests to other origins. `axe` audits it against
WCAG 2 A and AA. Tests wait with Playwright's own `expect`, which has a bound.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, Page, StorageState, async_playwright, expect

from tests.browser.chromium import VIOLATIONS

AXE = Path(__file__).parents[1] / "javascript/node_modules/axe-core/axe.min.js"
TAGS = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice")
SERIOUS = ("serious", "critical")

PICTURES = os.environ.get("GATEWAY_TEST_PICTURES")
"""A directory for pictures of pages; without it none are taken."""

TIMEOUT_MS = 60_000
"""Longest wait for an element or a page; generous, because a busy machine is slow and a test is not."""

expect.set_options(timeout=TIMEOUT_MS)

TOO_WIDE = """(inside) => [...document.querySelectorAll("body, body *")].filter(element => element.offsetParent
  && element.getBoundingClientRect().right > document.documentElement.clientWidth + 1
  && !element.closest(inside)).map(element => element.outerHTML.slice(0, 160))"""
SCROLLS_INSIDE = ".results, #changelist-form, pre, svg, .scrolls"
"""Elements that may be wider than the page, because they scroll by themselves."""

AUDIT = """async ([tags, impacts]) => (await axe.run(document, {runOnly: {type: "tag", values: tags},
  resultTypes: ["violations"]})).violations.filter(rule => impacts.includes(rule.impact))
  .flatMap(rule => rule.nodes.map(node => `${rule.impact} ${rule.id}: ${rule.help} at ${node.target.join(" ")}`))"""


def executable() -> str | None:
    """The path of Chromium on this machine; None without it."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


needs_chromium = pytest.mark.skipif(executable() is None, reason="Chromium is not installed here.")
needs_axe = pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed: npm ci in tests/javascript.")


@dataclass(frozen=True, slots=True)
class View:
    """A size of the window, and a colour scheme."""

    width: int
    height: int
    dark: bool = False

    def __str__(self) -> str:
        return f"{self.width}-{'dark' if self.dark else 'light'}"


DESK, PHONE = (1280, 900), (390, 844)
VIEWS: Sequence[View] = tuple(View(*size, dark=dark) for size in (DESK, PHONE) for dark in (False, True))

AUDITED = VIEWS if os.environ.get("GATEWAY_TEST_BROWSER") == "thorough" else (VIEWS[0], VIEWS[3])
"""The views in which whole sets of pages are audited: both sizes and both schemes, in minutes; `thorough` takes all."""


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A browser without a window; its contexts share nothing."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable(), args=["--no-sandbox"])
        try:
            yield browser
        finally:
            await browser.close()


@dataclass(slots=True)
class WatchedPage:
    """A page, and everything that went wrong on it since it was opened."""

    page: Page
    origin: str
    view: View
    errors: list[str] = field(default_factory=list)
    """Exceptions and console errors, with the address of the page."""

    violations: list[str] = field(default_factory=list)
    """What the policy of a page blocked, with the place in it."""

    foreign: list[str] = field(default_factory=list)
    """Requests to other origins."""

    dialogs: list[str] = field(default_factory=list)

    async def open(self, path: str) -> None:
        """Goes to a path of the gateway, and waits until everything on the page is loaded."""
        await self.page.goto(self.origin + path, wait_until="load")

    async def axe(self, *, impacts: Sequence[str] = SERIOUS, tags: Sequence[str] = TAGS) -> list[str]:
        """Returns axe-core's findings of these impacts, a sentence with the element's selector each.

        axe may set styles of its own, which a page's policy blocks and reports as the page's: open pages with
        `bypass_csp=True` where both are looked at."""
        # Evaluated rather than added as an element, which the page's policy would block.
        await self.page.evaluate(AXE.read_text(encoding="utf-8"))
        found: list[str] = await self.page.evaluate(AUDIT, [list(tags), list(impacts)])
        return found

    async def too_wide(self, *, scrolls_inside: str = SCROLLS_INSIDE) -> list[str]:
        """Returns the elements that reach over the right edge of the window."""
        found: list[str] = await self.page.evaluate(TOO_WIDE, scrolls_inside)
        return found

    async def picture(self, name: str) -> None:
        """Takes a picture of the whole page, where GATEWAY_TEST_PICTURES names a directory."""
        if PICTURES:
            # Playwright hides the caret with a style of its own, which a page's policy blocks.
            file = Path(PICTURES) / f"{name}-{self.view}.png"
            await self.page.screenshot(path=file, full_page=True, caret="initial")

    async def state(self) -> StorageState:
        """Returns the cookies and stored values, with which another view is signed in too."""
        return await self.page.context.storage_state()


@asynccontextmanager
async def watched_page(
    browser: Browser, origin: str, view: View = VIEWS[0], *, state: StorageState | None = None, **options: Any
) -> AsyncIterator[WatchedPage]:
    """Opens an empty page of this view. `origin` is the gateway's address, `state` another page's `state()`; `options`
    are those of Playwright's `new_context`."""
    context = await browser.new_context(
        viewport={"width": view.width, "height": view.height},
        color_scheme="dark" if view.dark else "light",
        storage_state=state,
        reduced_motion="reduce",
        **options,
    )
    context.set_default_timeout(TIMEOUT_MS)
    page = await context.new_page()
    watched = WatchedPage(page, origin.rstrip("/"), view)
    await context.expose_function("reportViolation", lambda violation: watched.violations.append(violation))
    await context.add_init_script(VIOLATIONS)
    _watch(watched)
    try:
        yield watched
    finally:
        await context.close()


def _watch(watched: WatchedPage) -> None:
    page, own = watched.page, urlsplit(watched.origin).netloc

    def request_sent(address: str) -> None:
        parts = urlsplit(address)
        if parts.scheme in ("http", "https", "ws", "wss") and parts.netloc != own:
            watched.foreign.append(address)

    async def dialog_shown(dialog: Any) -> None:
        watched.dialogs.append(dialog.message)
        await dialog.dismiss()

    page.on("pageerror", lambda error: watched.errors.append(f"{page.url}: {error}"))
    page.on(
        "console",
        lambda message: watched.errors.append(f"{page.url}: {message.text}") if message.type == "error" else None,
    )
    page.on("request", lambda request: request_sent(request.url))
    page.on("websocket", lambda socket: request_sent(socket.url))
    page.on("dialog", dialog_shown)
