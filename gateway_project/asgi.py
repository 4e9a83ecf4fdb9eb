"""ASGI applications: `application` for uvicorn (`gateway serve`) and daphne (`runserver`), `probes` for workers."""

from __future__ import annotations

import os

from gateway_project.http.django_handler import django_build

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "gateway_project.settings")

# Models may be imported from here on.
django_application = django_build()

from gateway_project.http.routing import application_build, probes_build  # noqa: E402

application = application_build(django_application)
probes = probes_build()
