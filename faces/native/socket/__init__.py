"""The native WebSocket: frames, actions, and the consumer of one session."""
