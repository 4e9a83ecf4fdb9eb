"""Plumbing for bare ASGI: types, bodies, queries, errors, small responses, and clients that go away."""
