"""Octets and packet values: pure functions that know nothing of connections, keys or time."""
