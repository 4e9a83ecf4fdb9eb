"""The REST endpoints of the AgentMesh protocol."""
