"""DRF views that know who asks: the base view, scopes, and idempotent POSTs.

Views get `self.principal` (`edge_app.rest.authentication` made it) and hand it to services. A view names the scope
that it needs; what it raises is rendered by `edge_app.rest.errors`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, cast

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView
from structlog.contextvars import bind_contextvars

from core_app.database import write_transaction
from core_app.jsontext import clean_text, encode_text
from core_app.sealing import seal, unseal
from tenants_app.principal import Principal
from tenants_app.services.idempotency import (
    Claim,
    Replay,
    idempotency_begin,
    idempotency_complete,
    idempotency_release,
)

_KEPT_HEADERS = ("Location",)
_LOGGED = {"session_id": "session", "request_id": "run"}
"""Parameters of paths by their names in the log, where `request_id` is the HTTP request's."""

Handler = Callable[..., HttpResponseBase]


class GatewayAPIView(APIView):
    """The base of every REST view. `scope` is what all its methods need, `scopes` what single ones need instead.

    `answers_secret`: what is kept of its answers for an `Idempotency-Key` is sealed.
    """

    scope: ClassVar[str | None] = None
    scopes: ClassVar[Mapping[str, str | None]] = {}
    answers_secret: ClassVar[bool] = False

    claim: Claim | None = None
    """The right to answer an `Idempotency-Key` first, when the request has one."""

    kept: bool = False

    @property
    def principal(self) -> Principal:
        """Who asks."""
        return cast("Principal", self.request.auth)

    def once(self) -> AbstractContextManager[None]:
        """The transaction in which the work is done and its answer kept; none for a request without a key."""
        return nullcontext() if self.claim is None else write_transaction()

    def keep(self, response: Response) -> Response:
        """Keeps the answer for the request's `Idempotency-Key`; raises Conflict when somebody else answers it now."""
        if self.claim is not None and not self.kept:
            body = "" if response.data is None else encode_text(response.data)
            idempotency_complete(
                claim=self.claim,
                status=response.status_code,
                headers={name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers},
                body=seal(body) if self.answers_secret else body,
            )
            self.kept = True
        return response

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Binds what the path names to every line that is logged for this request."""
        bind_contextvars(**{_LOGGED[name]: clean_text(value) for name, value in kwargs.items() if name in _LOGGED})
        super().initial(request, *args, **kwargs)

    def check_permissions(self, request: Request) -> None:
        """Raises Forbidden, naming the scope that is missing; a wrong method is 405 whatever the scope."""
        needed = self.scopes.get(cast("str", request.method), self.scope)
        if needed is not None and hasattr(self, cast("str", request.method).lower()):
            cast("Principal", request.auth).require(needed)


def idempotent(handler: Handler) -> Handler:
    """Makes a view's `post` honour `Idempotency-Key`; failures are not kept, so that a retry may succeed.

    Put it on a method of GatewayAPIView that has not read `request.data` yet, and that calls `keep` in the transaction
    of its work: what is kept after the work is lost with a process that dies between the two.
    """

    @functools.wraps(handler)
    def once(view: GatewayAPIView, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return handler(view, request, *args, **kwargs)
        found = idempotency_begin(
            tenant_id=view.principal.tenant_id,
            key=key,
            # Without the query: who repeats a prompt with another `?wait=` does not want it twice.
            route=f"{request.method} {request.path}",
            body=request._request.body,
        )
        if isinstance(found, Replay):
            return _replayed(found, view.answers_secret)
        view.claim = found
        try:
            response = handler(view, request, *args, **kwargs)
            if response.status_code < 300 and isinstance(response, Response):
                view.keep(response)
        except BaseException:
            # An answer that is kept stays.
            idempotency_release(claim=found)
            raise
        if not view.kept:
            idempotency_release(claim=found)
        return response

    once.idempotent = True  # type: ignore[attr-defined]  # for the document of the API
    return once


def _replayed(replay: Replay, sealed: bool) -> HttpResponse:
    body = unseal(replay.body) if sealed else replay.body
    response = HttpResponse(body, status=replay.status, content_type="application/json")
    for name, value in replay.headers.items():
        response.headers[name] = value
    response.headers["Idempotent-Replayed"] = "true"
    return response
