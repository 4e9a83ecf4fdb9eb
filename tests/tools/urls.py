"""The operator's admin alone."""

from __future__ import annotations

from django.urls import path

from admin_app.site import SITE

urlpatterns = [path("admin/", SITE.urls)]
