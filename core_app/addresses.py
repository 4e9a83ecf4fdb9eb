"""The rule for addresses that tenants name: public ones only (SSRF protection).

`ipaddress` knows which addresses are globally routed. IPv6 forms that embed an IPv4 address (mapped, NAT64, 6to4,
Teredo, IPv4-compatible, ISATAP) are judged by the embedded address too. A host that is neither a name nor a canonical
address (`2130706433`, `0x7f.1`, `127.1`, `0177.0.0.1`) is refused, because resolvers read it as an address.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

Address = IPv4Address | IPv6Address

_REFUSED = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT; some clouds keep their metadata there
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "240.0.0.0/4",
        "::/8",  # unspecified, loopback, IPv4-compatible
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "5f00::/16",
        "fc00::/7",
        "fe80::/9",  # link-local and the old site-local
        "ff00::/8",
    )
)
_MAPPED = ipaddress.ip_network("::ffff:0:0/96")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_TEREDO = ipaddress.ip_network("2001::/32")
_SIX_TO_FOUR = ipaddress.ip_network("2002::/16")
_LONGEST_ADDRESS = 128
"""Characters; an address with a zone has fewer."""

_NUMERIC_LABEL = re.compile(r"\A(0x[0-9a-f]*|[0-9]+)\Z", re.IGNORECASE)


def is_public(address: Address) -> bool:
    """Returns True when `address`, and every address embedded in it, belongs to the public internet."""
    if embedded := _embedded_addresses(address):
        return all(is_public(inner) for inner in embedded) and not isinstance(address, IPv4Address)
    if any(address.version == network.version and address in network for network in _REFUSED):
        return False
    return address.is_global and not address.is_multicast


def parse(host: str) -> Address | None:
    """Parses `host`: an address, or None for a name. ValueError for a number that is not a canonical address."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        if _NUMERIC_LABEL.match(host.rstrip(".").rpartition(".")[2]):
            raise ValueError("a number that is not a canonical address") from None
        return None


def _embedded_addresses(address: Address) -> list[IPv4Address]:
    if isinstance(address, IPv4Address):
        return []
    if address in _MAPPED or address in _NAT64:
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    if address in _SIX_TO_FOUR:
        return [IPv4Address(int(address) >> 80 & 0xFFFFFFFF)]
    if address in _TEREDO and address.teredo:
        return list(address.teredo)
    if int(address) >> 32 & 0xFDFFFFFF == 0x5EFE:  # ISATAP
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    return []


def client_group(address: str) -> str:
    """Returns the text by which limits per address count a client: its address, and for IPv6 its network of 64 bits,
    because one customer has all of it. A text that is no address is returned as it is."""
    return _client_group(address) if len(address) <= _LONGEST_ADDRESS else address


@lru_cache(maxsize=4096)
def _client_group(address: str) -> str:
    """Does the work of `client_group`, once for the many requests of a client: parsing takes microseconds."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
