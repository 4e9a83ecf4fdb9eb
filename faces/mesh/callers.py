"""The caller of a task, kept for steps that start when no request is there any more."""

from __future__ import annotations

from core_app import jsontext
from core_app.errors import Unauthorized
from tenants_app.authentication import principal_recheck
from tenants_app.models import Tenant
from tenants_app.principal import SESSIONS, TASKS, Principal


def caller_text(principal: Principal) -> str:
    """Returns the principal's identity as JSON, without any secret."""
    identity = {
        "key": principal.key_id,
        "user": principal.user_id,
        "device": principal.device_id,
        "guest": principal.guest,
        "name": principal.key_name,
        "end_user": principal.end_user,
    }
    return jsontext.encode_text(identity)


def caller_principal(tenant_id: int, text: str) -> Principal:
    """Returns the caller as it is now, cut down to tasks. Raises Unauthorized when its key is no longer good."""
    tenant = Tenant.objects.filter(pk=tenant_id).first()
    if tenant is None:
        raise Unauthorized("The tenant does not exist any more.")
    identity = jsontext.decode(text)
    return principal_recheck(
        Principal(
            tenant_id=tenant_id,
            tenant_slug=tenant.slug,
            key_id=identity["key"],
            key_name=identity["name"],
            scopes=frozenset({TASKS, SESSIONS}),
            approvals_in_sessions=False,
            user_id=identity["user"],
            device_id=identity["device"],
            guest=identity["guest"],
            end_user=identity.get("end_user"),
            allow_private=tenant.allow_private,
            default_model=tenant.default_model,
            default_agent=tenant.default_agent,
        )
    )
