"""Everything that several faces need and that belongs to no domain: the gate, HTTP, REST, SSE and socket plumbing.

May import: events_app, admin_app, tenants_app, core_app.
Imported by: faces, gateway_project.
"""
