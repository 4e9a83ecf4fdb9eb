"""Tool calls: registration, approvals, questions, execution, and the operator's rules.

May import `events_app`, `admin_app`, `tenants_app` and `core_app`. Imported by `agents_app`, `sessions_app` and faces.
"""
