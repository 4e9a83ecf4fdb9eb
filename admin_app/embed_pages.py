"""The script and the frame of the chat to embed. The chat's requests go to the native API, below /v1/embed/.

The frame is shown by pages of the origins that its token names (`frame-ancestors`), and holds no credential: the page
around it hands the token over.
"""

from __future__ import annotations

import json

from django.contrib.staticfiles import finders
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import path
from django.views.decorators.cache import never_cache
from django.views.decorators.clickjacking import xframe_options_exempt
from django.views.decorators.http import require_safe

from tenants_app.services.embed_token import embed_origins

POLICY_HEADER = "Content-Security-Policy"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; form-action 'none';"
    " base-uri 'none'; frame-ancestors "
)
SCRIPT = "admin_app/embed/embed.js"
SCRIPT_SECONDS = 300


@require_safe
def embed_script(request: HttpRequest) -> HttpResponse:
    """GET /console/embed.js: the script that a site includes. It is the same for everybody."""
    found = finders.find(SCRIPT)
    if found is None:
        raise Http404
    with open(found, "rb") as file:  # the finder returns text
        content = file.read()
    headers = {
        "Cache-Control": f"public, max-age={SCRIPT_SECONDS}",
        # Sites that isolate themselves (COEP) may include it.
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    return HttpResponse(content, content_type="text/javascript; charset=utf-8", headers=headers)


@require_safe
@never_cache
@xframe_options_exempt
def embed_frame(request: HttpRequest, public_id: str) -> HttpResponseBase:
    """GET /console/embed/frame/:id: the chat. 404 for a token that is unknown or has expired."""
    origins = embed_origins(public_id)
    if not origins:
        raise Http404
    response = render(request, "admin_app/embed/frame.html", {"origins": json.dumps(origins)})
    response[POLICY_HEADER] = POLICY + " ".join(origins)
    response["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


urlpatterns = [
    path("console/embed.js", embed_script, name="console-embed-script"),
    path("console/embed/frame/<str:public_id>", embed_frame, name="console-embed-frame"),
]
