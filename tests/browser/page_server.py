"""A page on an origin of its own, as a customer's site would serve it: it follows a session and keeps what it got.

Addresses of the gateway come in the page's fragment; `window.received` has the ids in the order they came.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

_PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><title>Follows</title>
<script>
const [events, socket] = decodeURIComponent(location.hash.slice(1)).split(" ");
window.received = {sse: [], ws: [], opened: {sse: 0, ws: 0}, codes: [], terminal: {sse: 0, ws: 0}};
const took = (way, id, type) => {
  received[way].push(Number(id));
  if (["agent_end", "agent_abort"].includes(type)) received.terminal[way]++;
};

// An EventSource connects again by itself, from the last id it had.
window.source = new EventSource(events);
source.onopen = () => received.opened.sse++;
// The event `error` shares its name with the failure of a connection, which carries no data.
for (const type of TYPES) source.addEventListener(type, event => {
  if (event instanceof MessageEvent) took("sse", event.lastEventId, type);
});

// A WebSocket is connected again by its page.
function follow() {
  const ws = new WebSocket(`${socket}&since=${received.ws.at(-1) ?? 0}`);
  ws.onopen = () => received.opened.ws++;
  ws.onmessage = message => {
    const {id, event} = JSON.parse(message.data);
    if (id !== undefined && TYPES.includes(event)) took("ws", id, event);
  };
  ws.onclose = closed => { received.codes.push(closed.code); if (closed.code < 4500) setTimeout(follow, 200); };
}
follow();
</script>"""


@asynccontextmanager
async def page_serving(port: int, types: Sequence[str]) -> AsyncIterator[str]:
    """The page at this port; gives its address."""
    text = _PAGE.replace("TYPES", str(list(types)))

    async def page(request: web.Request) -> web.Response:
        return web.Response(text=text, content_type="text/html")

    application = web.Application()
    application.router.add_get("/", page)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
