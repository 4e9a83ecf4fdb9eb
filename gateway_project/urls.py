"""Django's URLs: the admin and each room's own.

Long answers and sockets do not come this far: gateway_project.http.routing takes them before Django.
"""

from __future__ import annotations

from django.urls import include, path
from django.views.generic import RedirectView

from admin_app.site import SITE
from gateway_project.http.openapi_pages import docs, docs_start, openapi_json

urlpatterns = [
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", SITE.urls),
    path("openapi.json", openapi_json),
    path("docs", docs),
    path("docs/start.js", docs_start),
    path("", include("faces.native.urls")),
]

handler400 = "gateway_project.http.error_pages.bad_request"
handler403 = "gateway_project.http.error_pages.forbidden"
handler404 = "gateway_project.http.error_pages.not_found"
handler500 = "gateway_project.http.error_pages.failed"
