"""The `mcp` adapter: tools of MCP servers, over stdio in a box or streamable HTTP, pinned by digest (adr/0026)."""

from stanchion.tools.adapters.mcp.adapter import McpAdapter

__all__ = ["McpAdapter"]
