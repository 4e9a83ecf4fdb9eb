"""The face of OpenAI's Responses API.

May import every room below `faces`; imported by `gateway_project` alone.
"""
