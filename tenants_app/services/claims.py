"""People who sign in with an identity provider, and the roles that their claims give them.

A person is made at the first sign-in that gives a role, and known by issuer and subject from then on. Roles from claims
are replaced at every sign-in. Those that people gave here, and scopes from before there were roles, stay.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import structlog
from django.conf import settings

from core_app.database import write_transaction
from core_app.jsontext import clean_text
from tenants_app.models import Membership, PersonIdentity, Tenant, User
from tenants_app.people import home_of
from tenants_app.roles import ROLES, group_roles, role_reaches
from tenants_app.services.audit import audit_record
from tenants_app.services.membership import role_give, role_take

ACTOR = "oidc"
"""The name in audit entries."""

MAX_GROUPS = 1_000
MAX_SUBJECT = 255
MAX_USERNAME = 120

_NOT_IN_NAMES = re.compile(r"[^\w.@+-]+")

logger = structlog.get_logger("gateway.sign_in")


@dataclass(frozen=True, slots=True)
class ClaimedIdentity:
    """A person as the provider describes it. `roles` are roles by the slugs of tenants that may not exist."""

    issuer: str
    subject: str
    name: str
    email: str
    first_name: str
    last_name: str
    roles: Mapping[str, str]


def claims_read(claims: Mapping[str, Any]) -> ClaimedIdentity:
    """Returns the identity of checked claims (`iss` and `sub` are there), by the settings GATEWAY_OIDC_*."""
    subject = str(claims["sub"])
    name = _text(claim_value(claims, settings.GATEWAY_OIDC_CLAIM_NAME)) or _text(claims.get("email")) or subject
    return ClaimedIdentity(
        issuer=str(claims["iss"])[:500],
        # A subject has at most 255 characters (OpenID Connect Core 1.0, 2); another is kept by its hash.
        subject=subject if len(subject) <= MAX_SUBJECT else hashlib.sha256(subject.encode()).hexdigest(),
        name=name,
        email=_text(claims.get("email"))[:254],
        first_name=_text(claims.get("given_name")),
        last_name=_text(claims.get("family_name")),
        roles=claimed_roles(claims),
    )


def claimed_roles(claims: Mapping[str, Any]) -> dict[str, str]:
    """Returns the roles by tenant that the claims give; of several in one tenant the highest."""
    found: dict[str, str] = {}
    for slug, role in (*_roles_of_groups(claims), *_role_of_claims(claims)):
        if role in ROLES and not role_reaches(found.get(slug), role):
            found[slug] = role
    return found


def claim_value(claims: Mapping[str, Any], name: str) -> Any:
    """Returns the value of a claim; where there is none of the name, a dot leads into an object."""
    if not name:
        return None
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def person_from_claims(identity: ClaimedIdentity) -> User | None:
    """Returns the person, made or with the roles of now; None for a person who has no tenant, and for a disabled one.

    Nobody is made who has no tenant. A person is never found by name or address: those may be somebody else's here.
    """
    with write_transaction():
        roles = _existing(identity.roles)
        known = PersonIdentity.objects.select_related("user__tenant").filter(
            issuer=identity.issuer, subject=identity.subject
        )
        person = known.first()
        if person is None:
            if not roles:
                return None
            user = _person_make(identity)
        else:
            user = person.user
        _roles_replace(user, roles)
        return user if user.is_active and home_of(user) is not None else None


def _roles_of_groups(claims: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    groups = claim_value(claims, settings.GATEWAY_OIDC_CLAIM_GROUPS)
    if isinstance(groups, str):
        groups = [groups]
    if not isinstance(groups, list):
        return
    by_group = group_roles()
    for group in groups[:MAX_GROUPS]:
        if isinstance(group, str):
            yield from by_group.get(group, ())


def _role_of_claims(claims: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    slug = claim_value(claims, settings.GATEWAY_OIDC_CLAIM_TENANT)
    role = claim_value(claims, settings.GATEWAY_OIDC_CLAIM_ROLE)
    if isinstance(slug, str) and isinstance(role, str):
        yield slug, role


def _existing(roles: Mapping[str, str]) -> dict[int, tuple[Tenant, str]]:
    tenants = Tenant.objects.filter(slug__in=list(roles), disabled_at=None)
    found = {tenant.pk: (tenant, roles[tenant.slug]) for tenant in tenants}
    if missing := sorted(set(roles) - {tenant.slug for tenant, _ in found.values()}):
        logger.warning("claims_of_unknown_tenants", tenants=[clean_text(slug)[:63] for slug in missing[:10]])
    return found


def _person_make(identity: ClaimedIdentity) -> User:
    user = User(
        username=_free_name(identity),
        email=identity.email,
        first_name=identity.first_name,
        last_name=identity.last_name,
    )
    user.set_unusable_password()
    user.save()
    PersonIdentity.objects.create(user=user, issuer=identity.issuer, subject=identity.subject)
    audit_record(actor=ACTOR, action="user.create", target=user.username, detail={"issuer": identity.issuer})
    return user


def _free_name(identity: ClaimedIdentity) -> str:
    """Returns the person's name there, with a mark of the account behind it where somebody has the name here."""
    name = _NOT_IN_NAMES.sub("-", identity.name)[:MAX_USERNAME].strip("-") or "person"
    if not User.objects.filter(username__iexact=name).exists():
        return name
    mark = hashlib.sha256(f"{identity.issuer}\n{identity.subject}".encode()).hexdigest()
    return f"{name}.{mark[:12]}"


def _roles_replace(user: User, roles: Mapping[int, tuple[Tenant, str]]) -> None:
    for membership in Membership.objects.select_related("tenant", "user").filter(user=user, from_claims=True):
        if membership.tenant_id not in roles:
            role_take(membership=membership, actor=ACTOR)
    for tenant, role in roles.values():
        role_give(user=user, tenant=tenant, role=role, actor=ACTOR, from_claims=True)


def _text(value: Any) -> str:
    return clean_text(value).strip()[:150] if isinstance(value, str) else ""
