"""The admin sections of `tenants_app`, for Django's discovery. They are here because `admin_app` is above it."""

from __future__ import annotations

from admin_app import identity, records, roles, tenants

__all__ = ["identity", "records", "roles", "tenants"]
