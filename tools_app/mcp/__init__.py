"""MCP servers of operators and tenants: their definitions, connections, tools and results.

`tools_app.executors.mcp` is the door for the other rooms: it keeps the connections of the process.
"""
