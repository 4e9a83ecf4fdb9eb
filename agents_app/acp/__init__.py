"""The `acp` engine: programs that speak the Agent Client Protocol on their standard input and output."""
