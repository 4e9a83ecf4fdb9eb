"""Responses that take more than one request to a provider: tools that the gateway runs itself, and contexts that it
shortens."""
