"""The face of OpenAI's Chat, Embeddings and Models APIs, Anthropic's Messages API, and the operators' pages.

May import every room below `faces`; imported by `gateway_project` alone.
"""
