"""The admin toolkit: site, base classes of lists, charts, sign-in; and the admin sections of `tenants_app`.

May import: tenants_app, core_app.
Imported by: inference_app, tools_app, sessions_app, gateway_project; rooms register their own sections.
"""
