"""Django's URLs: the admin and each room's own.

Long answers and sockets do not come this far: gateway_project.routing takes them before Django.
"""

from __future__ import annotations

from django.urls import include, path
from django.views.generic import RedirectView

from gateway_project.openapi_pages import docs, docs_start, openapi_json
from tenants_app.admin_site import site

urlpatterns = [
    path("admin", RedirectView.as_view(url="/admin/")),
    path("admin/", site.urls),
    path("openapi.json", openapi_json),
    path("docs", docs),
    path("docs/start.js", docs_start),
    path("", include("sessions_app.urls")),
]

handler400 = "gateway_project.refusals.bad_request"
handler403 = "gateway_project.refusals.forbidden"
handler404 = "gateway_project.refusals.not_found"
handler500 = "gateway_project.refusals.failed"
