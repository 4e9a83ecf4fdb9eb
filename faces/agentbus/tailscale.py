"""Identity of a Tailscale peer: asked of the local tailscaled, or told by Tailscale's own proxy.

tailscaled answers `GET /localapi/v0/whois?addr=<ip:port>` on its socket (tailscale.com/kb/1312/serve describes the
header that `tailscale serve` adds). The header is believed only from GATEWAY_TRUSTED_PROXIES.

A peer proves nothing that a web page in its browser could not use as well: browsers open sockets to every address for
the pages of every origin. A page therefore signs in from origins that GATEWAY_CORS_ORIGINS names only; `*` names none.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import aiohttp
import structlog
from django.conf import settings

from core_app.jsontext import clean_text
from core_app.log_lines import error_summary
from edge_app.http.asgi import Scope, header

WHOIS_SECONDS = 3.0

logger = structlog.get_logger("gateway.tailscale")


async def tailscale_login(scope: Scope) -> str | None:
    """Returns the login name of the peer, or None for one that is not in the tailnet."""
    client = scope.get("client")
    if client is None:
        return None
    if int(client[1]) == 0:
        # The server takes the address of a client from X-Forwarded-For only where it trusts the proxy, without a port.
        proxied = header(scope, b"tailscale-user-login") or b""
        return clean_text(proxied.decode("utf-8", "replace")).strip()[:200] or None
    return await _whois(str(client[0]), int(client[1]))


def is_foreign_page(scope: Scope) -> bool:
    """Returns True for a socket that a web page opened whose origin GATEWAY_CORS_ORIGINS does not name."""
    origin = header(scope, b"origin")
    return origin is not None and origin.decode("latin-1") not in settings.GATEWAY_CORS_ORIGINS


async def _whois(host: str, port: int) -> str | None:
    peer = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    address = f"http://local-tailscaled.sock/localapi/v0/whois?addr={quote(peer)}"
    try:
        connector = aiohttp.UnixConnector(path=settings.GATEWAY_TAILSCALE_SOCKET)
        limit = aiohttp.ClientTimeout(total=WHOIS_SECONDS)
        async with aiohttp.ClientSession(connector=connector, timeout=limit) as client, client.get(address) as answer:
            if answer.status != 200:
                return None
            whois: Any = await answer.json(content_type=None)
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        logger.warning("tailscale_unavailable", error=error_summary(error))
        return None
    profile = whois.get("UserProfile") if isinstance(whois, dict) else None
    login = profile.get("LoginName") if isinstance(profile, dict) else None
    return clean_text(login)[:200] if isinstance(login, str) and login else None
