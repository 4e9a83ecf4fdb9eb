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
    lines = [f"Agent Gateway {settings.GATEWAY_VERSION} answers on {url}", f"  admin    {url}/admin/"]
    lines.append(f"  API      {url}/docs")
    lines += [f"  also on  {base_url(port)}" for port in settings.GATEWAY_EXTRA_PORTS]
    if first is not None:
        lines += first_secrets(first)
    elif not settings.GATEWAY_API_KEYS:
        lines.append("  keys     as made before; new ones in the admin")
    return "\n".join([*lines, "", *lines_to_try(url, first)])


def base_url(port: int) -> str:
    """Returns the address of `port` for a client on this machine."""
    scheme = "https" if settings.GATEWAY_TLS_CERT_FILE else "http"
    host = settings.GATEWAY_HOST
    return f"{scheme}://{ANY_ADDRESS.get(host) or (f'[{host}]' if ':' in host else host)}:{port}"


def first_secrets(first: FirstStart) -> list[str]:
    """Returns the lines with the API key and the admin's password, which cannot be shown again."""
    password = first.admin_password or "as it was"
    kept = [] if sys.stdout.isatty() else [NOT_A_TERMINAL]
    return [
        "",
        "These are shown once; the gateway keeps their hashes only:",
        *kept,
        f"  API key        {first.api_key}   (tenant {first.tenant_slug}, every scope)",
        f"  admin user     {first.admin_username}",
        f"  its password   {password}",
    ]


def lines_to_try(url: str, first: FirstStart | None) -> list[str]:
    """Returns shell commands for a session, a prompt and its events."""
    key = first.api_key if first is not None else "<your API key>"
    return [
        "Try it:",
        f"  export KEY={key if first is not None else repr(key)}",
        f"  curl -s {url}/v1/sessions -H \"X-API-Key: $KEY\" -H 'Content-Type: application/json' \\",
        '    -d \'{"sessionId":"first","model":"demo:tour"}\'',
        f"  curl -s {url}/v1/sessions/first/prompt -H \"X-API-Key: $KEY\" -H 'Content-Type: application/json' \\",
        '    -d \'{"text":"Hello, gateway"}\'',
        f'  curl -N {url}/v1/sessions/first/events -H "X-API-Key: $KEY"',
        "",
    ]
