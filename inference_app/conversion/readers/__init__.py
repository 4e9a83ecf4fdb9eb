"""Readers: responses and streams of providers, one module per wire, as steps."""
