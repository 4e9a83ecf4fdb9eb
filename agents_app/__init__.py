"""Agents: the interface of engines, the registry of engines and configured agents, and the agent loop.

May import `tools_app`, `inference_app` and the rooms below them, except `edge_app`.
Imported by `sessions_app`, faces and `gateway_project`.
"""
