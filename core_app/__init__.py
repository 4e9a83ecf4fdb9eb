"""The shared kernel: errors, ids, clock, JSON, database access, time-outs, tracing, the guarded HTTP client. No models.

Imports no other room. Imported by every room.
"""
