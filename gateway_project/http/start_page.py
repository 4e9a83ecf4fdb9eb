"""`/`: a page for a browser, and a short document for everything else.

It says what this is, whether it is well, what to try and where to go on. It has no key and shows nothing that needs
one: the models come with the key that a visitor types, which stays in the page. Its script and its style are files of
the gateway, and its policy allows no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from django.conf import settings
from django.templatetags.static import static

from core_app import jsontext
from edge_app.http.asgi import Receive, Scope, Send, header
from edge_app.http.response import send_json, send_response
from gateway_project.http.health import Readyz

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
LINKS = (
    ("/console", "Console", "sessions live, and what waits for people"),
    ("/admin/", "Admin", "sessions, approvals, providers, keys, usage"),
    ("/docs", "API reference", "every path, to try out"),
    ("/openapi.json", "OpenAPI document", "for generators of clients"),
    ("/readyz", "Readiness", "a line for each part, for load balancers"),
)
DOCUMENTS = (
    ("README.md", "the first steps, in English and Chinese (README.zh-CN.md)"),
    ("docs/ten-requests.md", "ten requests in curl, Python and JavaScript"),
    ("docs/protocol-native.md", "sessions over REST, SSE and WebSocket"),
    ("docs/conversions.md", "clients of OpenAI and Anthropic, and coding assistants"),
    ("docs/configuration.md", "every setting"),
    ("docs/gateway-yaml.md", "every field of config/gateway.yaml"),
    ("docs/operating.md", "doctor, backup, upgrades, metrics"),
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Agent Gateway</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{style}">
</head>
<body>
<header>
<h1>Agent Gateway</h1>
<p>Durable sessions with AI agents over REST, SSE and WebSocket, and one address for the models of every provider.</p>
</header>
<main>
<section aria-labelledby="health">
<h2 id="health">Health</h2>
<p class="state {state}"><strong>{summary}</strong> <span>version {version}</span></p>
<ul class="parts">{parts}</ul>
</section>
<section aria-labelledby="try">
<h2 id="try">Try it</h2>
<p>With the API key that the first start printed. The demo needs no provider and no network.</p>
<form id="ask">
<label for="key">API key</label>
<input id="key" type="password" autocomplete="off" spellcheck="false" placeholder="agw_…" required>
<label for="model">Model</label>
<select id="model"><option>demo:tour</option></select>
<label for="prompt">Prompt</label>
<input id="prompt" value="Hello, gateway" required>
<button>Send</button>
</form>
<p id="hint" class="hint">The key stays in this page. With it the list shows the models that answer.</p>
<pre id="answer" aria-live="polite" hidden></pre>
<noscript><p>This form needs JavaScript; the lines below do not.</p></noscript>
<h3>The same from a shell</h3>
<pre tabindex="0">export KEY=…
curl -N {url}/v1/chat/completions \\
  -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
  -d '{{"model":"demo:tour","stream":true,
       "messages":[{{"role":"user","content":"Hello"}}]}}'</pre>
<h3>A session, with an approval</h3>
<pre tabindex="0">curl -s {url}/v1/sessions \\
  -H "X-API-Key: $KEY" -H 'Content-Type: application/json' \\
  -d '{{"sessionId":"first","model":"demo:tour"}}'
curl -s {url}/v1/sessions/first/prompt \\
  -H "X-API-Key: $KEY" -H 'Content-Type: application/json' \\
  -d '{{"text":"approve this"}}'
curl -N {url}/v1/sessions/first/events \\
  -H "X-API-Key: $KEY"</pre>
<h3>A real model</h3>
<p>Write a provider's key into <code>.env</code>, such as <code>OPENAI_API_KEY=…</code> or
<code>DEEPSEEK_API_KEY=…</code> (<code>.env.example</code> lists them), and start again; in the admin it works at once.
<code>.venv/bin/gateway provider test deepseek</code> says whether it works.</p>
</section>
<section aria-labelledby="go">
<h2 id="go">Go on</h2>
<ul class="links">{links}</ul>
<h3>In the checkout</h3>
<ul class="links">{documents}</ul>
</section>
</main>
<script src="{script}"></script>
</body>
</html>
"""


class StartPage:
    """`GET /`. `readyz` knows the parts of the process."""

    def __init__(self, readyz: Readyz) -> None:
        self.readyz = readyz

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        vary = (b"vary", b"accept")
        if scope["method"] not in ("GET", "HEAD"):
            refusal = {"error": "method_not_allowed", "message": "This path answers GET only."}
            await send_json(send, 405, refusal, [(b"allow", b"GET, HEAD")])
            return
        parts = await self.readyz.look()
        head = scope["method"] == "HEAD"
        headers = [(b"cache-control", b"no-store"), vary]
        if b"text/html" not in (header(scope, b"accept") or b""):
            headers.append((b"content-type", b"application/json"))
            await send_response(send, 200, jsontext.encode(document(parts)), headers, head=head)
            return
        headers += [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-security-policy", POLICY.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
        ]
        await send_response(send, 200, page(parts).encode(), headers, head=head)


Parts = Sequence[tuple[str, bool, str]]


def document(parts: Parts) -> dict[str, object]:
    """Returns the same for programs."""
    return {
        "name": "Agent Gateway",
        "version": settings.GATEWAY_VERSION,
        "ready": all(well for _, well, _ in parts),
        "links": {name: path for path, name, _ in LINKS},
    }


def page(parts: Parts) -> str:
    """Returns the page; everything in it that is not its own is escaped."""
    well = all(good for _, good, _ in parts)
    return _PAGE.format(
        style=static("gateway_project/start.css"),
        script=static("gateway_project/start.js"),
        state="well" if well else "ill",
        summary="Everything is well." if well else "Something needs attention.",
        version=escape(settings.GATEWAY_VERSION),
        parts="".join(
            f'<li class="{"well" if good else "ill"}"><span>{escape(name)}</span> {escape(line)}</li>'
            for name, good, line in parts
        ),
        url=escape(settings.GATEWAY_PUBLIC_URL.rstrip("/")),
        links="".join(f'<li><a href="{path}">{name}</a> <span>{text}</span></li>' for path, name, text in LINKS),
        documents="".join(f"<li><code>{name}</code> <span>{text}</span></li>" for name, text in DOCUMENTS),
    )
