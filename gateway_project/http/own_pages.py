"""The gateway's own paths, in the form of a face: the start page, probes, metrics, the API's document and the admin."""

from __future__ import annotations

from django.urls import path
from django.views.generic import RedirectView

from admin_app import console_sign_in, embed_pages
from admin_app.site import SITE
from edge_app.face import Face, Route
from gateway_project.http.health import (
    COUNTS,
    Healthz,
    MigrationsProbe,
    Readyz,
    WorkersProbe,
    channel_layer_probe,
    database_probe,
    threads_probe,
)
from gateway_project.http.openapi_pages import docs, docs_start, openapi_json
from gateway_project.http.start_page import StartPage
from gateway_project.observability.metrics import Metrics
from gateway_project.process.lifecycle import GATEWAY

READYZ = Readyz(
    {
        "database": database_probe,
        "channel layer": channel_layer_probe,
        "threads": threads_probe,
        "workers": WorkersProbe(GATEWAY),
        "migrations": MigrationsProbe(),
    }
)

PROBES = (
    Route(path="healthz", application=Healthz(COUNTS), key="none", probe=True, traced=False),
    Route(path="readyz", application=READYZ, key="none", probe=True, traced=False),
    Route(path="metrics", application=Metrics(), traced=False),
)
"""A worker has these too."""

START = Route(path="", application=StartPage(READYZ), key="none", traced=False)

OWN_PAGES = Face(
    name="gateway",
    consumers=(*PROBES, START),
    urls=(
        path("admin", RedirectView.as_view(url="/admin/")),
        path("admin/", SITE.urls),
        *console_sign_in.urlpatterns,
        *embed_pages.urlpatterns,
        path("openapi.json", openapi_json),
        path("docs", docs),
        path("docs/start.js", docs_start),
    ),
    # Admin and console have sign-ins of their own. `/health` and `/status` are reserved: 404, with or without a key.
    open_paths=("/openapi.json", "/docs", "/static", "/admin", "/console"),
    optional_key_paths=("/health", "/status"),
    page_folders=("admin", "static", "console"),
    openapi="gateway_project.openapi.probes.DOCUMENT",
)
