"""The event log: streams, their vocabularies, commits, leases, followers, stream tokens and webhooks.

May import `core_app` and `tenants_app`, and of Channels only its layers.
Imported by every room above: `edge_app`, the domain rooms, the faces and `gateway_project`.
"""
