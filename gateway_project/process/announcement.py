"""The text that a start prints: addresses, the first secrets, commands to try.

The secrets of a first start are shown here and nowhere else; a later start shows none.
"""

from __future__ import annotations

import sys

from django.conf import settings

from tenants_app.services import FirstStart

ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  (shown, not listened on)

NOT_A_TERMINAL = "(Whatever keeps this output has them too: replace them if others read it.)"
"""A journal, or the log of a container."""


def announcement(first: FirstStart | None) -> str:
    """Returns the whole text."""
    url = base_url(settings.GATEWAY_PORT)
    lines = [f"Agent Gateway {settings.GATEWAY_VERSION} answers on {url}"]
    lines += [f"  console  {url}/console", f"  admin    {url}/admin/"]
    lines.append(f"  API      {url}/docs")
    lines += [f"  also on  {base_url(port)}" for port in settings.GATEWAY_EXTRA_PORTS]
    key = None if first is None else first.api_key
    if first is not None:
        lines += first_secrets(first)
    if key is None and not settings.GATEWAY_API_KEYS:
        lines.append("  keys     as made before; new ones: gateway key issue --name NAME")
    return "\n".join([*lines, "", *lines_to_try(url, key)])


def base_url(port: int) -> str:
    """Returns the address of `port` for a client on this machine."""
    scheme = "https" if settings.GATEWAY_TLS_CERT_FILE else "http"
    host = settings.GATEWAY_HOST
    return f"{scheme}://{ANY_ADDRESS.get(host) or (f'[{host}]' if ':' in host else host)}:{port}"


def first_secrets(first: FirstStart) -> list[str]:
    """Returns the lines with the API key and the admin's password, which cannot be shown again."""
    kept = [] if sys.stdout.isatty() else [NOT_A_TERMINAL]
    lines = ["", "These are shown once; the gateway keeps their hashes only:", *kept]
    if first.api_key is not None:
        lines.append(f"  API key        {first.api_key}   (tenant {first.tenant_slug}, every scope)")
    if first.admin_password is not None:
        lines += [f"  admin user     {first.admin_username}", f"  its password   {first.admin_password}"]
    return lines


def lines_to_try(url: str, key: str | None) -> list[str]:
    """Returns shell commands for a session, a prompt and its events, and the way to a real model."""
    return [
        "Try it:",
        f"  export KEY={key or repr('<your API key>')}",
        f"  curl -s {url}/v1/sessions -H \"X-API-Key: $KEY\" -H 'Content-Type: application/json' \\",
        '    -d \'{"sessionId":"first","model":"demo:tour"}\'',
        f"  curl -s {url}/v1/sessions/first/prompt -H \"X-API-Key: $KEY\" -H 'Content-Type: application/json' \\",
        '    -d \'{"text":"Hello, gateway"}\'',
        f'  curl -N {url}/v1/sessions/first/events -H "X-API-Key: $KEY"',
        "A real model: put its key into .env (OPENAI_API_KEY=…, DEEPSEEK_API_KEY=…: .env.example), and start again.",
        "",
    ]
