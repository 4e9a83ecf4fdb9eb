"""`/openapi.json`, and `/docs`: Swagger UI from this server's own files, with a policy that allows no others."""

from __future__ import annotations

import functools
import hashlib

from django.http import HttpRequest, HttpResponse
from django.templatetags.static import static
from django.utils.module_loading import import_string
from django.views.decorators.http import condition, require_safe

from core_app.jsontext import encode

_DOCUMENT = "gateway_project.openapi.document"
"""A name, because importing it takes a start 0.1 s, and few processes are ever asked for the document."""

FILES = "drf_spectacular_sidecar/swagger-ui-dist"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Agent Gateway API</title>
<link rel="icon" href="{files}/favicon-32x32.png">
<link rel="stylesheet" href="{files}/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="{files}/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""
# Without `validatorUrl` the page would send the document's address to a validator on the web.
START = """SwaggerUIBundle({
  url: "/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  persistAuthorization: false,
});
"""


@functools.cache
def _encoded_document() -> bytes:
    return encode(import_string(_DOCUMENT)())


@functools.cache
def _etag() -> str:
    return f'"{hashlib.sha256(_encoded_document()).hexdigest()[:32]}"'


@require_safe
@condition(etag_func=lambda request: _etag())
def openapi_json(request: HttpRequest) -> HttpResponse:
    """Serves the document."""
    return HttpResponse(_encoded_document(), content_type="application/json")


@require_safe
def docs(request: HttpRequest) -> HttpResponse:
    """Serves the page that shows the document."""
    files = static(FILES)
    return HttpResponse(PAGE.format(files=files), headers={"Content-Security-Policy": POLICY})


@require_safe
def docs_start(request: HttpRequest) -> HttpResponse:
    """Serves the script that starts the page, in a file of its own, because the policy allows no inline script."""
    return HttpResponse(START, content_type="text/javascript; charset=utf-8")
