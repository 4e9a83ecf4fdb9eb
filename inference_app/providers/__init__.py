"""Providers at run time: connections, clients, circuits, retry policy, health, quotas and statistics."""
