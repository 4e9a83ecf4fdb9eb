"""The Agent Client Protocol over HTTP and WebSocket: editors use sessions of the gateway as their agent."""
