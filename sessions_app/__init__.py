"""Sessions: conversations with agents, their runs and messages, and the runner that executes legs. Knows no HTTP.

May import `agents_app` and every room below it, except `edge_app`.
Imported by faces and `gateway_project`.
"""
