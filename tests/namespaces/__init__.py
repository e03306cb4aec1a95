"""Mobility in real network namespaces: a client with two uplinks, a router, and a server."""
