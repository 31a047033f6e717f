"""The MCP server: what a coding agent may ask and do, over stdio and at ``/mcp``.

`stdio.run` is ``voicegw mcp``; `http.mcp_route` and `http.serving_mcp` are for the HTTP server.
Both serve the tools of `tools`, which ask `Reports` and `ProjectAdmin` and so agree with all else.
"""
