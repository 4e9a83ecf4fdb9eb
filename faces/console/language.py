"""The language of a page: the visitor's choice in a cookie, else what the browser prefers, else English.

It is set for one page at a time. The admin and the API stay in English, whatever a browser asks for.
"""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation.trans_real import parse_accept_lang_header

LANGUAGES = {"en": "English", "zh-hans": "简体中文"}
"""Codes with the languages' own names. docs/console.md says how to add one."""

YEAR_SECONDS = 365 * 24 * 3600


def language_of(request: HttpRequest) -> str:
    """Returns the code of one of LANGUAGES."""
    chosen = request.COOKIES.get(settings.LANGUAGE_COOKIE_NAME, "")
    if chosen in LANGUAGES:
        return chosen
    for code, _ in parse_accept_lang_header(request.headers.get("Accept-Language", "")):
        if code in LANGUAGES:
            return code
        if code.split("-")[0] == "zh":
            return "zh-hans"
        if code.split("-")[0] == "en":
            return "en"
    return "en"


def language_switch(request: HttpRequest) -> HttpResponse:
    """POST /console/language: keeps the visitor's choice and returns to the page that it was made on."""
    target = request.POST.get("next", "")
    if not url_has_allowed_host_and_scheme(target, allowed_hosts=None) or not target.startswith("/console"):
        target = reverse("console:home")
    response = HttpResponseRedirect(target)
    code = request.POST.get("language", "")
    if request.method == "POST" and code in LANGUAGES:
        response.set_cookie(
            settings.LANGUAGE_COOKIE_NAME, code, max_age=YEAR_SECONDS, path="/console", samesite="Lax", httponly=True
        )
    return response
