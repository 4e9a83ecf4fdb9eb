"""The AgentMesh protocol: tasks that agents execute, the spaces they share, and live events of a tenant
(docs/protocol-agentmesh.md)."""
