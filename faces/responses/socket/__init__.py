"""The WebSocket of the Responses API: several responses at a time on one socket, each in a lane of its own."""
