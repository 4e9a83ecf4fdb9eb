"""The base of every REST viewset: the caller's principal, a scope per action, and idempotent POSTs.

A viewset hands `self.principal` (made by `edge_app.rest.authentication`) to services and renders what they return.
What it raises becomes a response in `edge_app.rest.errors`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar, cast

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.viewsets import ViewSet
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

_STORED_HEADERS = ("Location",)
_LOG_FIELDS = {"session_id": "session", "request_id": "run"}
"""Path parameters by their names in the log, where `request_id` is the HTTP request's."""

Handler = Callable[..., HttpResponseBase]
S = TypeVar("S", bound=BaseSerializer[Any])


class GatewayViewSet(ViewSet):
    """Base viewset. `scope` is required for every action, except where `scopes` names another for an action.

    Actions made with DRF's `@action` may pass either attribute: `@action(detail=True, scope=APPROVALS)`.
    """

    scope: str | None = None
    scopes: Mapping[str, str | None] = {}

    has_secrets: bool = False
    """Responses contain secrets, so what is stored of them for an `Idempotency-Key` is sealed."""

    claim: Claim | None = None
    """The right to be the first to answer an `Idempotency-Key`, when the request has one."""

    response_stored: bool = False

    _serializer: BaseSerializer[Any] | None = None

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Handles the request and then lets go of its body. A viewset, its request, serializer and response refer to
        one another, so a body of megabytes would stay in several forms until the garbage collector came by."""
        try:
            return super().dispatch(request, *args, **kwargs)
        finally:
            if self._serializer is not None:
                vars(self._serializer).clear()
            vars(self.request).pop("_full_data", None)
            vars(self.request).pop("_data", None)
            vars(self.request).pop("_stream", None)
            vars(request).pop("_body", None)

    @property
    def principal(self) -> Principal:
        """The caller, as the authentication class established it."""
        return cast("Principal", self.request.auth)

    def parse_body(self, serializer_class: type[S]) -> S:
        """Returns a serializer with the validated body; raises ValidationError, which becomes 400."""
        serializer = serializer_class(data=self.request.data)
        self._serializer = serializer
        serializer.is_valid(raise_exception=True)
        return serializer

    def work_transaction(self) -> AbstractContextManager[None]:
        """Opens a transaction for the work and `store_response`; does nothing for a request without a key."""
        return nullcontext() if self.claim is None else write_transaction()

    def store_response(self, response: Response) -> Response:
        """Stores the response for the request's `Idempotency-Key` and returns it.

        Raises Conflict when another request has taken over the key meanwhile.
        """
        if self.claim is not None and not self.response_stored:
            body = "" if response.data is None else encode_text(response.data)
            idempotency_complete(
                claim=self.claim,
                status=response.status_code,
                headers={name: response.headers[name] for name in _STORED_HEADERS if name in response.headers},
                body=seal(body) if self.has_secrets else body,
            )
            self.response_stored = True
        return response

    def required_scope(self, action: str) -> str | None:
        """Returns the scope that an action of this viewset requires."""
        return self.scopes.get(action, self.scope)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Binds the path's session and run to every line that is logged for this request."""
        bind_contextvars(
            **{_LOG_FIELDS[name]: clean_text(value) for name, value in kwargs.items() if name in _LOG_FIELDS}
        )
        super().initial(request, *args, **kwargs)

    def check_permissions(self, request: Request) -> None:
        """Raises Forbidden, which names the missing scope. A method without an action is 405 whatever the scope, and
        OPTIONS takes the scope of any method of its path."""
        if self.action == "metadata":
            scopes = [self.required_scope(action) for action in self.action_map.values()]
            if not any(scope is None or self.principal.allows(scope) for scope in scopes):
                self.principal.require(cast("str", scopes[0]))
        elif self.action and (scope := self.required_scope(self.action)) is not None:
            self.principal.require(scope)


def idempotent(handler: Handler) -> Handler:
    """Makes an action honour `Idempotency-Key`. Failures are not stored, so that a retry may succeed.

    The action must not have read `request.data` yet, and calls `store_response` within the transaction of its work: a
    response stored after that is lost when the process dies in between.
    """

    @functools.wraps(handler)
    def handle_once(view: GatewayViewSet, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:
        key = request.headers.get("Idempotency-Key")
        if key is None:
            return handler(view, request, *args, **kwargs)
        found = idempotency_begin(
            tenant_id=view.principal.tenant_id,
            key=key,
            # Without the query: a client that repeats a prompt with another `?wait=` does not want it twice.
            route=f"{request.method} {request.path}",
            body=request._request.body,
        )
        if isinstance(found, Replay):
            return _replay_response(found, is_sealed=view.has_secrets)
        view.claim = found
        try:
            response = handler(view, request, *args, **kwargs)
            if response.status_code < 300 and isinstance(response, Response):
                view.store_response(response)
        except BaseException:
            # Does not remove a response that is stored already.
            idempotency_release(claim=found)
            raise
        if not view.response_stored:
            idempotency_release(claim=found)
        return response

    handle_once.idempotent = True  # type: ignore[attr-defined]  # read by the OpenAPI document
    return handle_once


def _replay_response(replay: Replay, *, is_sealed: bool) -> HttpResponse:
    body = unseal(replay.body) if is_sealed else replay.body
    response = HttpResponse(body, status=replay.status, content_type="application/json")
    for name, value in replay.headers.items():
        response.headers[name] = value
    response.headers["Idempotent-Replayed"] = "true"
    return response
