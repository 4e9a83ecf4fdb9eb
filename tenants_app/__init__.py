"""Tenants, users, API keys, rate limits, the usage ledger, idempotency records and the audit trail.

May import: core_app.
Imported by: every room above; `admin_app` has its admin sections.
"""
