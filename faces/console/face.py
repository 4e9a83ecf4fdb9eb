"""The console as one value: pages in a folder of their own, which need a signed-in person and no key."""

from __future__ import annotations

from edge_app.face import Face
from faces.console.urls import urlpatterns

FACE = Face(
    name="console",
    urls=urlpatterns,
    # The pages ask for a signed-in person themselves.
    open_paths=("/console",),
    page_folders=("console",),
)
