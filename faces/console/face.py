"""The console as one value: pages in a folder of their own, which need a signed-in person and no key."""

from __future__ import annotations

from edge_app.face import Face
from faces.console.urls import urlpatterns

FACE = Face(name="console", urls=urlpatterns, page_folders=("console",))
"""The gate lets everybody through to the folder, because the gateway's own pages for signing in are there, too."""
