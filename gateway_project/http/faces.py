"""The faces of this process: the gateway's own pages, and those that `FACES` in the settings lists."""

from __future__ import annotations

import functools
from collections.abc import Sequence

from django.conf import settings
from django.utils.module_loading import import_string

from edge_app.face import Face

OWN_PAGES = "gateway_project.http.own_pages.OWN_PAGES"
"""Named, because it imports the parts of the process, which ask for the faces' own parts."""


@functools.cache
def faces() -> Sequence[Face]:
    """Returns the faces in their order, the gateway's own pages first."""
    return tuple(import_string(name) for name in (OWN_PAGES, *(f"{package}.face.FACE" for package in settings.FACES)))
