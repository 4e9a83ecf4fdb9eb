"""The sign-in forms of admin and console. Attempts are limited; failed ones are recorded in the audit trail."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import ValidationError

from admin_app.access import may_enter
from admin_app.sign_in_throttle import SIGN_INS, address_of
from tenants_app.models import User
from tenants_app.services import audit_record

NOBODY = "nobody"


def oidc_name() -> str:
    """Returns the words on the provider's button; empty without a provider."""
    return str(settings.GATEWAY_OIDC_NAME) if settings.GATEWAY_OIDC_ISSUER else ""


class ThrottledForm(AuthenticationForm):
    """Django's form with a limit. `wait` is the seconds until the next attempt, 0 when this one was allowed; `place`
    begins the names of its audit entries."""

    wait = 0
    place = "console"

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username") or ""
        if self.request is None:
            return super().clean()
        self.wait = SIGN_INS.attempt(self.request, name)
        if self.wait:
            if SIGN_INS.should_record(self.request):
                self._record("login_refused", name)
            message = (
                f"There were too many attempts to sign in from here or under this name; try again in {self.wait} s."
            )
            raise ValidationError(message, code="throttled")
        try:
            return super().clean()
        except ValidationError:
            self._record("login_failed", name)
            raise

    def _record(self, action: str, name: str) -> None:
        """Records the user name only when the user exists: people type passwords into the wrong field."""
        user = User.objects.filter(username=name).first()
        detail = {"address": address_of(self.request)} if self.request is not None else {}
        audit_record(
            actor=NOBODY,
            action=f"{self.place}.{action}",
            target=user.get_username() if user else "",
            detail=detail,
            tenant_id=user.tenant_id if user else None,
        )


class SignInForm(ThrottledForm, AdminAuthenticationForm):
    """The admin's form."""

    place = "admin"

    def confirm_login_allowed(self, user: Any) -> None:
        """Lets in staff and people with a role."""
        AuthenticationForm.confirm_login_allowed(self, user)
        if not may_enter(user):
            super().confirm_login_allowed(user)
