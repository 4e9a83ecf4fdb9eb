"""Services that give people roles in tenants, and take them.

`by` is the person who acts: nobody gives a role that may do more than they, or changes one that does. Without `by` the
gateway or its command line acts, under the name `actor`.
"""

from __future__ import annotations

from core_app.database import write_transaction
from core_app.errors import Forbidden, NotFound
from tenants_app.models import Membership, Tenant, User
from tenants_app.principal import Principal
from tenants_app.roles import ROLES, role_check
from tenants_app.services.audit import SYSTEM, audit_record
from tenants_app.services.key_cache_invalidate import keys_forget


def role_give(
    *,
    user: User,
    tenant: Tenant,
    role: str,
    actor: str = SYSTEM,
    by: Principal | None = None,
    from_claims: bool = False,
) -> Membership:
    """Gives a person a role in a tenant, in place of the one from the same source. Raises BadRequest for an unknown
    role, Forbidden for one that `by` may not give."""
    role_check(role)
    _grant_check(by, tenant, role)
    with write_transaction():
        found = Membership.objects.select_for_update().filter(user=user, tenant=tenant, from_claims=from_claims)
        membership = found.first()
        if membership is not None and membership.role == role:
            return membership
        if membership is None:
            membership = Membership(user=user, tenant=tenant, from_claims=from_claims)
        else:
            _grant_check(by, tenant, membership.role)
        membership.role = role
        membership.save()
        _audit(membership, "role.give", _name_of(by, actor))
        keys_forget()
    return membership


def role_take(*, membership: Membership, actor: str = SYSTEM, by: Principal | None = None) -> None:
    """Takes a role; what the person has open in the tenant ends. Raises Forbidden for one above `by`, NotFound for one
    that was taken meanwhile."""
    _grant_check(by, membership.tenant, membership.role)
    with write_transaction():
        if not Membership.objects.filter(pk=membership.pk).delete()[0]:
            raise NotFound("The person has no such role any more.")
        _audit(membership, "role.take", _name_of(by, actor))
        keys_forget()


def _grant_check(by: Principal | None, tenant: Tenant, role: str) -> None:
    if by is None:
        return
    if by.tenant_id != tenant.pk or not ROLES.get(role, frozenset()) <= by.held:
        raise Forbidden(f"You may do less than the role '{role}', so you cannot give or take it.", field="role")


def _name_of(by: Principal | None, actor: str) -> str:
    return actor if by is None else by.actor


def _audit(membership: Membership, action: str, actor: str) -> None:
    audit_record(
        actor=actor,
        action=action,
        target=membership.user.username,
        detail={"role": membership.role, "fromClaims": membership.from_claims},
        tenant_id=membership.tenant_id,
    )
