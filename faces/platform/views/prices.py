"""Prices that the operator set; they take precedence over the public price list."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from core_app.errors import BadRequest, NotFound
from faces.platform.serializers import PricePutSerializer
from faces.platform.views.base import PlatformViewSet
from faces.platform.wire import price_to_wire
from inference_app.models import Price
from inference_app.operator.services import row_remove, row_save

MAX_MODEL = 200
_OPTIONAL = {"cached": None, "cache_write": None, "cache_write_hour": None}


class PriceViewSet(PlatformViewSet):
    """Prices by provider and model."""

    def list(self, request: Request) -> Response:
        rows = Price.objects.all()
        if provider := request.query_params.get("provider"):
            rows = rows.filter(provider=provider)
        found, cursor = self.page(rows)
        return Response({"prices": [price_to_wire(price) for price in found], "nextCursor": cursor})

    def retrieve(self, request: Request, provider: str, model: str) -> Response:
        return Response(price_to_wire(_price_get(provider, model)))

    def update(self, request: Request, provider: str, model: str) -> Response:
        """Sets the price of a provider's model."""
        data = self.parse_body(PricePutSerializer).validated_data
        if len(model) > MAX_MODEL:
            raise BadRequest(f"A model's name has at most {MAX_MODEL} characters.", field="model")
        price = Price.objects.filter(provider=provider, model=model).first() or Price(provider=provider, model=model)
        is_new = price.pk is None
        for name, value in {**_OPTIONAL, **data}.items():
            setattr(price, name, value)
        row_save(row=price, actor=self.actor)
        return Response(price_to_wire(price), status=201 if is_new else 200)

    def destroy(self, request: Request, provider: str, model: str) -> Response:
        row_remove(row=_price_get(provider, model), actor=self.actor)
        return Response(status=204)


def _price_get(provider: str, model: str) -> Price:
    found = Price.objects.filter(provider=provider, model=model).first()
    if found is None:
        raise NotFound("The operator set no price of that model.")
    return found
