"""What has to be known of a master key as long as it lives: which branches were made under it (gao-07 11, M22, M23)."""

from __future__ import annotations

MOST_BRANCHES = 2**17
"""Branches made under one master key by one end, or accepted from the peer by one connection under one key."""


class Lineage:
    """The connections whose keys have one master key: the one that installed it, and what descends from that.

    The key of a branch is made of the initiator's new ULTID and the acceptor's old one, so no ULTID may serve twice.
    """

    __slots__ = ("_drawn",)

    def __init__(self) -> None:
        self._drawn: set[bytes] | None = None

    def draw(self, ultid: bytes) -> bool:
        """Take a new ULTID for a branch of this end's; False if it has served already."""
        if self._drawn is None:
            self._drawn = set()
        if ultid in self._drawn:
            return False
        self._drawn.add(ultid)
        return True

    @property
    def full(self) -> bool:
        return self._drawn is not None and len(self._drawn) >= MOST_BRANCHES
