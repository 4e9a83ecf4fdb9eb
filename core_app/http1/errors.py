"""Errors of the HTTP/1.1 client, by what a caller does about them."""

from __future__ import annotations


class HttpClientError(Exception):
    """A request without a whole response."""


class ConnectFailed(HttpClientError):
    """No connection: nothing of the request was sent."""


class ConnectTimedOut(ConnectFailed):
    """No connection within the time for it."""


class NameNotResolved(ConnectFailed):
    """The host's name has no address."""


class TlsFailed(ConnectFailed):
    """The server's certificate, or its TLS, was refused."""


class Disconnected(HttpClientError):
    """The server closed the connection before the first byte of its response; it may have the request."""


class ResponseInvalid(HttpClientError):
    """A response that broke off, is longer than its limits or is no HTTP."""
