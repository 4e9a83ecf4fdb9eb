"""Signing out: the end of a browser's session, and of what is open with it."""

from __future__ import annotations

from django.contrib.auth import logout
from django.http import HttpRequest

from admin_app.access import user_of
from core_app.database import write_transaction
from tenants_app.services import audit_record
from tenants_app.services.key_cache_invalidate import keys_forget


def sign_out_person(request: HttpRequest, place: str) -> None:
    """Ends the session of the request's person, records it as `<place>.logout`, and tells all processes."""
    user = user_of(request)
    if user is None:
        return
    with write_transaction():
        logout(request)
        audit_record(actor=f"user:{user.get_username()}", action=f"{place}.logout", tenant_id=user.tenant_id)
        keys_forget()
