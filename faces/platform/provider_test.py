"""POST /v1/platform/providers/:provider/test: asks a provider for a few tokens.

Bare ASGI, because a provider may take a minute, and a request thread held that long would be missing for others. Tests
count as open streams of the caller's tenant, which bounds their number.
"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from core_app.errors import MethodNotAllowed, NotFound
from edge_app.followers import FOLLOWERS
from edge_app.http.asgi import ClientGone, Receive, Scope, Send
from edge_app.http.body import read_json
from edge_app.http.response import send_error, send_json
from edge_app.rest.errors import as_gateway_error
from edge_app.rest.fields import StrictString
from inference_app.catalogue.config import models_config
from inference_app.operator.provider_test import provider_test
from tenants_app.principal import PLATFORM, Principal


class ProviderTestSerializer(serializers.Serializer[Any]):
    """The model that is asked."""

    model = StrictString(
        required=False, allow_null=True, max_length=200, help_text="By default the provider's default or first model."
    )


class ProviderTestEndpoint:
    """The ASGI application. The gate has put the principal into the scope and counts the body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            result = await _test(scope, receive)
        except ClientGone:
            raise
        except Exception as error:  # every failure becomes an error response
            await send_error(send, as_gateway_error(error))
        else:
            await send_json(send, 200, result)


async def _test(scope: Scope, receive: Receive) -> dict[str, Any]:
    principal: Principal = scope["gateway.principal"]
    principal.require(PLATFORM)
    if scope["method"] != "POST":
        raise MethodNotAllowed("A provider is tested with POST.", allow="POST")
    name = scope["url_route"]["kwargs"]["provider"]
    if name not in models_config().providers:
        raise NotFound("There is no provider of that name.")
    serializer = ProviderTestSerializer(data=await read_json(scope, receive))
    serializer.is_valid(raise_exception=True)
    with FOLLOWERS.track(principal):
        result = await provider_test(name, model=serializer.validated_data.get("model"))
    return {"ok": result.ok, "message": result.text}
