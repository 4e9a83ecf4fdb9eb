"""Django's URLs of the console."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from faces.console.language import language_switch
from faces.console.pages.usage import usage_csv
from faces.console.registry import PAGES
from faces.console.rendering import console_view, home, page_view, unknown

_PAGES = [path(page.route, page_view(page), name=page.name) for page in PAGES]

_CONSOLE: list[URLPattern | URLResolver] = [
    path("console", console_view(home), name="home"),
    path("console/", console_view(home)),
    path("console/language", language_switch, name="language"),
    path("console/usage.csv", console_view(usage_csv), name="usage_csv"),
    path("console/", include(_PAGES)),
    path("console/<path:path>", console_view(unknown)),
]

urlpatterns = [path("", include((_CONSOLE, "console")))]
