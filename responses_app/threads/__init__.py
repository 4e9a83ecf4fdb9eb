"""Message threads: conversations of Anthropic's Messages API that the gateway keeps between turns, for every provider.

A request creates a thread under its answer's id, or continues one with its new messages alone. A provider gets the
whole conversation and knows nothing of the thread.
"""
