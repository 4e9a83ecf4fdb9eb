"""The target of requests: where to connect, and the head that all requests to it have in common."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*\Z")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy of the environment: its address, and the value of Proxy-Authorization."""

    host: str
    port: int
    authorization: bytes | None


@dataclass(frozen=True, slots=True)
class Origin:
    """A server, by the connections that may be shared: scheme, host and port, and the proxy in between."""

    tls: bool
    host: str
    port: int
    proxy: Proxy | None = None

    @property
    def authority(self) -> bytes:
        """The host and port as they are in a request's first line."""
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}".encode("ascii")


@dataclass(frozen=True, slots=True)
class Target:
    """A URL to POST to. `head` has the request line and the common headers, without the blank line after them."""

    origin: Origin
    head: bytes

    @classmethod
    def of(cls, url: str, headers: Iterable[tuple[str, str]], *, use_proxies: bool = True) -> Target:
        """Prepares a target; ValueError for a URL or a header that cannot be sent. `use_proxies` heeds HTTP_PROXY,
        HTTPS_PROXY, ALL_PROXY and NO_PROXY."""
        parts = urlsplit(url)
        if parts.scheme not in _PORTS or not parts.hostname:
            raise ValueError("The URL is not one of http or https with a host.")
        host = parts.hostname.encode("idna" if not parts.hostname.isascii() else "ascii").decode("ascii")
        port = parts.port or _PORTS[parts.scheme]
        origin = Origin(parts.scheme == "https", host, port, _proxy_for(parts, host) if use_proxies else None)
        path = parts.path or "/"
        path = path if not parts.query else f"{path}?{parts.query}"
        shown = origin.authority if port != _PORTS[parts.scheme] else origin.authority.rpartition(b":")[0]
        line, proxy = path.encode("ascii"), origin.proxy
        if proxy is not None and not origin.tls:
            line = b"http://" + shown + line
        if not _is_request_target(line):
            raise ValueError("The URL has a character that is to be percent-encoded.")
        lines = [b"POST %b HTTP/1.1" % line, b"Host: " + shown]
        lines += [header_line(name, value) for name, value in headers]
        if proxy is not None and proxy.authorization is not None and not origin.tls:
            lines.append(b"Proxy-Authorization: " + proxy.authorization)
        return cls(origin, b"\r\n".join(lines) + b"\r\n")


def header_line(name: str, value: str) -> bytes:
    """Returns a header as it is sent, without the end of its line; ValueError for one that would be several or none."""
    encoded, text = name.encode("ascii"), value.strip().encode("latin-1")
    if not _TOKEN.match(encoded) or not _VALUE.match(text):
        raise ValueError(f"The header {name!r} has a character that no header may have.")
    return b"%b: %b" % (encoded, text)


def _is_request_target(line: bytes) -> bool:
    return all(0x21 <= byte <= 0x7E for byte in line)


def _proxy_for(parts: SplitResult, host: str) -> Proxy | None:
    proxies = getproxies_environment()
    if proxy_bypass_environment(parts.netloc.rpartition("@")[2], proxies):
        return None
    address = proxies.get(parts.scheme) or proxies.get("all")
    if not address:
        return None
    proxy = urlsplit(address if "://" in address else f"http://{address}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise ValueError("The proxy of the environment is not an http:// URL.")
    authorization = None
    if proxy.username is not None:
        pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
        authorization = b"Basic " + base64.b64encode(pair.encode())
    return Proxy(proxy.hostname, proxy.port or 80, authorization)
