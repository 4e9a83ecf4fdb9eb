"""Responses that are stored: the state behind OpenAI's Responses API, for every provider.

A foreground response is relayed and stored when it ends. A background one is a run of the core, with a stream of its
own that is read from any event. May import `sessions_app` and the rooms below it; imported by faces alone. No HTTP.
"""
