"""The Agentbus protocol: requests, replies and events on one WebSocket, with devices, presence and a small REST API.

May import `edge_app`, `sessions_app` and the rooms below. Imported by nobody; `FACES` in the settings lists it.
docs/protocol-agentbus.md describes the wire.
"""
