"""The admin's sign-in form. Attempts are limited, and failed ones are recorded in the audit trail."""

from __future__ import annotations

from typing import Any

from django.contrib.admin.forms import AdminAuthenticationForm
from django.core.exceptions import ValidationError

from admin_app.sign_in_throttle import SIGN_INS, address_of
from tenants_app.models import User
from tenants_app.services import audit_record

NOBODY = "nobody"


class SignInForm(AdminAuthenticationForm):
    """Django's form with a limit. `wait` is the seconds until the next attempt, 0 when this one was allowed."""

    wait = 0

    def clean(self) -> dict[str, Any]:
        name = self.cleaned_data.get("username") or ""
        if self.request is None:
            return super().clean()
        self.wait = SIGN_INS.attempt(self.request, name)
        if self.wait:
            if SIGN_INS.should_record(self.request):
                self._record("admin.login_refused", name)
            message = (
                f"There were too many attempts to sign in from here or under this name; try again in {self.wait} s."
            )
            raise ValidationError(message, code="throttled")
        try:
            return super().clean()
        except ValidationError:
            self._record("admin.login_failed", name)
            raise

    def _record(self, action: str, name: str) -> None:
        """Records the user name only when the user exists: people type passwords into the wrong field."""
        user = User.objects.filter(username=name).first()
        detail = {"address": address_of(self.request)} if self.request is not None else {}
        audit_record(
            actor=NOBODY,
            action=action,
            target=user.get_username() if user else "",
            detail=detail,
            tenant_id=user.tenant_id if user else None,
        )
