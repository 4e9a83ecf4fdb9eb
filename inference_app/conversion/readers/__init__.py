"""Readers: one per provider wire, from a response to steps."""
