"""Executors, one module per kind: callbacks, built-in tools, MCP servers."""
