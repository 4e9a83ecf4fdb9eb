"""The address where callbacks post late results: a call's `resultUrl`."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from edge_app.rest.viewsets import GatewayViewSet
from sessions_app.services.decisions import callback_result_accept


class CallbackResultViewSet(GatewayViewSet):
    """Late results of callbacks. The token in the path is the credential: there is no key."""

    authentication_classes = ()

    def create(self, request: Request, token: str) -> Response:
        return Response(callback_result_accept(token=token, body=request.data))
