"""The model gateway: providers, routing, the relay, conversion between wires, spend, and the operator's settings.

May import `admin_app`, `tenants_app` and `core_app`. Imported by `agents_app`, `sessions_app`, the faces
and `gateway_project`.
"""
