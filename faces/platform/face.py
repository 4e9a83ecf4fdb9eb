"""The platform face as one value."""

from __future__ import annotations

from edge_app.face import Face, Route
from faces.platform.provider_test import ProviderTestEndpoint
from faces.platform.urls import urlpatterns

FACE = Face(
    name="platform",
    consumers=(Route(path="v1/platform/providers/<str:provider>/test", application=ProviderTestEndpoint()),),
    urls=urlpatterns,
    openapi="faces.platform.openapi.document.DOCUMENT",
)
