"""The roles that people have in tenants, and their accounts at identity providers."""

from __future__ import annotations

from django.db import models

from core_app import clock
from tenants_app.models.account import Tenant, User


class Membership(models.Model):
    """A person's role in a tenant (`tenants_app.roles`). People may have one in each of several tenants.

    A role that comes from an identity provider's claims is replaced at every sign-in; others are given by people.
    """

    user = models.ForeignKey(User, models.CASCADE, related_name="memberships")
    tenant = models.ForeignKey(Tenant, models.PROTECT, related_name="memberships")
    role = models.CharField(max_length=20)
    from_claims = models.BooleanField(default=False, db_default=False, editable=False)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        ordering = ("tenant_id", "id")
        verbose_name = "role"
        constraints = (
            models.UniqueConstraint(fields=("user", "tenant", "from_claims"), name="membership_once_per_source"),
        )

    def __str__(self) -> str:
        return f"{self.user} is {self.role} in {self.tenant}"


class PersonIdentity(models.Model):
    """The account at an identity provider with which a person signs in. A person is known by it alone, never by a name
    or an e-mail address, which others may have had."""

    user = models.ForeignKey(User, models.CASCADE, related_name="identities")
    issuer = models.CharField(max_length=500)
    subject = models.CharField(max_length=255)
    created_at = models.DateTimeField(default=clock.now, editable=False)

    class Meta:
        verbose_name_plural = "person identities"
        constraints = (models.UniqueConstraint(fields=("issuer", "subject"), name="person_identity_once"),)

    def __str__(self) -> str:
        return f"{self.user} at {self.issuer}"
