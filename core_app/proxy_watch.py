"""Notices a reverse proxy that GATEWAY_TRUSTED_PROXIES does not name.

Everybody behind such a proxy has its address, and so shares the limits that are counted per address. A peer with a
private address that sends `X-Forwarded-For` is one: the log says so once per peer and process.
"""

from __future__ import annotations

import ipaddress

import structlog

from core_app.lifecycle import process_wide

MAX_PEERS = 100
"""A whole private network could connect."""

logger = structlog.get_logger("gateway.proxies")


class ProxyWatch:
    """The peers that were named in the log already."""

    def __init__(self) -> None:
        self._named: set[str] = set()

    def look(self, peer: str | None, forwarded_for: str | None) -> None:
        """Looks at a request's peer, as the server believes it to be, and at its `X-Forwarded-For`."""
        if not peer or not forwarded_for or peer in self._named or len(self._named) >= MAX_PEERS:
            return
        if is_proxy_not_believed(peer, forwarded_for):
            self._named.add(peer)
            logger.warning(
                "proxy_not_trusted",
                peer=peer,
                advice="X-Forwarded-For of this private address is ignored, so everybody behind it shares its limits:"
                " if it is your proxy, add it to GATEWAY_TRUSTED_PROXIES.",
            )

    def forget(self) -> None:
        """Forgets the peers."""
        self._named.clear()


def is_proxy_not_believed(peer: str, forwarded_for: str) -> bool:
    """True for a private peer that forwards for others. The server replaces the peer of a trusted proxy by an address
    of the header, so a peer that the header names was believed."""
    try:
        is_private = ipaddress.ip_address(peer).is_private
    except ValueError:
        return False
    return is_private and peer not in (part.strip() for part in forwarded_for.split(","))


PROXY_WATCH = process_wide(ProxyWatch(), reset=ProxyWatch.forget)
"""Process-wide instance."""
