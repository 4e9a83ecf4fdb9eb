"""Tokens of embedded chats: a tenant's server asks for one per end user, and hands it to its page.

A token travels into a browser, so it is good for an hour at most, for one end user and one agent or model, on the
paths of the embedded chat alone. Only its hash is stored. Servers renew it by asking for another one: what a token may
use is found by its end user and agent, not by the token.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from urllib.parse import urlsplit

from django.conf import settings

from core_app import clock
from core_app.database import write_transaction
from core_app.errors import BadRequest, Forbidden, Unauthorized
from core_app.ids import new_id, new_secret
from tenants_app.authentication import principal_for_embed
from tenants_app.models import EmbedToken
from tenants_app.principal import APPROVALS, Principal
from tenants_app.secret import is_well_formed, secret_hash
from tenants_app.services.audit import audit_record

SECONDS = range(60, 3601)
DEFAULT_SECONDS = 900
MAX_ORIGINS = 10
MAX_ORIGIN = 200

PURGED = 100
"""Expired tokens that are removed with each new one: more than are issued, so they never pile up."""

_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?\Z")
_SESSION = re.compile(r"emb_([a-z0-9]{16})_([0-9a-f]{40})\Z")


@dataclass(frozen=True, slots=True)
class EmbedBinding:
    """The end user of a tenant that a token is for, and the agent or else the model."""

    tenant_id: int
    end_user: str
    agent: str | None
    model: str | None


@dataclass(frozen=True, slots=True)
class EmbedCaller:
    """The holder of a good token."""

    principal: Principal
    binding: EmbedBinding
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IssuedEmbedToken:
    """A new token, which is not shown again: its public id, a dot, and the secret."""

    token: str
    expires_at: datetime


def embed_token_issue(
    *,
    principal: Principal,
    end_user: str,
    agent: str | None,
    model: str | None,
    origins: Iterable[str],
    seconds: int = DEFAULT_SECONDS,
    approvals: bool = False,
) -> IssuedEmbedToken:
    """Creates a token. Raises Forbidden for a caller without an API key, because only the tenant's server vouches for
    its end users, and for approvals that the key may not decide; BadRequest for an origin that is none."""
    if principal.key_id is None:
        raise Forbidden("A server asks for these tokens with its API key.")
    if approvals:
        principal.require(APPROVALS)
    if (agent is None) == (model is None):
        raise BadRequest("A chat has an 'agent' or a 'model', and not both.", field="agent")
    allowed = origins_check(origins)
    secret, public_id, moment = new_secret("age"), new_id("emt"), clock.now()
    with write_transaction():
        expired = EmbedToken.objects.filter(expires_at__lt=moment).values_list("pk", flat=True)[:PURGED]
        EmbedToken.objects.filter(pk__in=list(expired)).delete()
        token = EmbedToken.objects.create(
            public_id=public_id,
            secret_hash=secret_hash(secret),
            tenant_id=principal.tenant_id,
            api_key_id=principal.key_id,
            end_user=end_user,
            agent=agent or "",
            model=model or "",
            origins=allowed,
            approvals=approvals,
            expires_at=moment + timedelta(seconds=seconds),
        )
        audit_record(
            actor=principal.actor,
            action="embed_token.issue",
            target=public_id,
            detail={"endUser": end_user, "agent": agent, "model": model, "origins": allowed, "seconds": seconds},
            tenant_id=principal.tenant_id,
        )
    return IssuedEmbedToken(f"{public_id}.{secret}", token.expires_at)


def embed_token_use(shown: str) -> EmbedCaller:
    """Returns the holder of a token; raises Unauthorized when it, its key or its tenant is no longer good."""
    token = None
    public_id, _, secret = shown.partition(".")
    if is_well_formed(shown) and secret:
        found = EmbedToken.objects.select_related("api_key__tenant").filter(
            secret_hash=secret_hash(secret), public_id=public_id
        )
        token = found.first()
    principal = None if token is None else principal_for_embed(token)
    if token is None or principal is None:
        raise Unauthorized("The chat's token is not known, or no longer good.")
    binding = EmbedBinding(token.tenant_id, token.end_user, token.agent or None, token.model or None)
    return EmbedCaller(principal, binding, tuple(token.origins))


def embed_origins(public_id: str) -> tuple[str, ...]:
    """Returns the origins whose pages may show the chat of a token; none for one that is unknown or has expired."""
    token = EmbedToken.objects.filter(public_id=public_id[:40], expires_at__gt=clock.now()).first()
    return () if token is None else tuple(token.origins)


def embed_session_new(binding: EmbedBinding) -> str:
    """Returns the id of a new session of the binding. Its end is a mark of the binding, by which any process knows
    whose session it is without a table."""
    conversation = sha256(new_secret("agx").encode()).hexdigest()[:16]
    return f"emb_{conversation}_{_mark(binding, conversation, settings.SECRET_KEY)}"


def embed_session_is_of(session_id: str, binding: EmbedBinding) -> bool:
    """True for a session that was made for the binding: this tenant, end user, and agent or model."""
    found = _SESSION.match(session_id)
    if found is None:
        return False
    keys: Sequence[str] = (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS)
    return any(hmac.compare_digest(found[2], _mark(binding, found[1], key)) for key in keys)


def origins_check(origins: Iterable[str]) -> list[str]:
    """Returns the origins as browsers write them; raises BadRequest for one with a path, a wildcard or plain http
    (but for this machine)."""
    given = list(origins)
    if not 0 < len(given) <= MAX_ORIGINS:
        raise BadRequest(f"'origins' has 1 to {MAX_ORIGINS} entries.", field="origins")
    allowed = []
    for origin in given:
        text = origin.strip().lower().rstrip("/")
        if len(text) > MAX_ORIGIN or not _ORIGIN.match(text):
            raise BadRequest("An origin is like https://www.example.com: no path and no wildcard.", field="origins")
        parts = urlsplit(text)
        if parts.scheme == "http" and parts.hostname not in ("localhost", "127.0.0.1"):
            raise BadRequest("An origin begins with https://; http:// is for this machine only.", field="origins")
        allowed.append(text)
    return allowed


def _mark(binding: EmbedBinding, conversation: str, key: str) -> str:
    # Each part with its length, so that no two bindings are one text.
    parts = (str(binding.tenant_id), binding.end_user, binding.agent or "", binding.model or "", conversation)
    text = "".join(f"{len(part)}:{part}" for part in ("embed session", *parts))
    return hmac.new(key.encode(), text.encode(), sha256).hexdigest()[:40]
