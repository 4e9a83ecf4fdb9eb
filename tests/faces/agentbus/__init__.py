"""Tests of the Agentbus face over real sockets."""
