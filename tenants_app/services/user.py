"""Services for people who sign in to the admin and the console."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.validators import UnicodeUsernameValidator
from django.core.exceptions import ValidationError
from django.db import IntegrityError

from core_app.database import write_transaction
from core_app.errors import BadRequest, Conflict
from tenants_app.models import Tenant, User
from tenants_app.services.api_key import scopes_check
from tenants_app.services.audit import SYSTEM, audit_record
from tenants_app.services.key_cache_invalidate import keys_forget

MAX_NAME = 150


def user_create(
    *,
    username: str,
    password: str,
    tenant: Tenant | None,
    scopes: Iterable[str] = (),
    superuser: bool = False,
    staff: bool = False,
    actor: str = SYSTEM,
) -> User:
    """Creates a person. Superusers run the gateway; staff sign in to the admin and see their tenant. Raises BadRequest
    for a name or password that cannot be used, and for staff without a tenant; Conflict when the name is taken."""
    granted = scopes_check(scopes)
    _name_check(username)
    if staff and not superuser and tenant is None:
        raise BadRequest("Staff who are not superusers need a tenant.", field="tenant")
    user = User(
        username=username,
        tenant=tenant,
        scopes=granted,
        is_superuser=superuser,
        is_staff=superuser or staff,
    )
    _password_set(user, password)
    try:
        with write_transaction():
            user.save()
            _audit(user, "user.create", actor, _role(user))
            keys_forget()
    except IntegrityError:
        raise Conflict(f"There is a user '{username}' already.", field="username") from None
    return user


def user_password_set(*, user: User, password: str, actor: str = SYSTEM) -> User:
    """Replaces a person's password; session tokens that it gave end. Raises BadRequest for one that is too weak."""
    _password_set(user, password)
    with write_transaction():
        user.save(update_fields=["password"])
        _audit(user, "user.password", actor, {"usable": True})
        keys_forget()
    return user


def user_enable(*, user: User, enabled: bool, actor: str = SYSTEM) -> User:
    """Lets a person sign in, or not any more: what they have open ends with its next check."""
    with write_transaction():
        user.is_active = enabled
        user.save(update_fields=["is_active"])
        _audit(user, "user.update", actor, _role(user))
        keys_forget()
    return user


def _password_set(user: User, password: str) -> None:
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise BadRequest(" ".join(error.messages), field="password") from None
    user.set_password(password)


def _name_check(username: str) -> None:
    try:
        UnicodeUsernameValidator()(username)
    except ValidationError:
        raise BadRequest("A user's name has letters, digits and @ . + - _ only.", field="username") from None
    if not 0 < len(username) <= MAX_NAME:
        raise BadRequest(f"A user's name has 1 to {MAX_NAME} characters.", field="username")


def _role(user: User) -> dict[str, Any]:
    return {
        "superuser": user.is_superuser,
        "staff": user.is_staff,
        "active": user.is_active,
        "scopes": list(user.scopes),
    }


def _audit(user: User, action: str, actor: str, detail: dict[str, Any]) -> None:
    audit_record(actor=actor, action=action, target=user.username, tenant_id=user.tenant_id, detail=detail)
