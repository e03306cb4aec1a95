"""The one error of decoding."""

from __future__ import annotations


class MalformedPacket(ValueError):
    """Octets that are no packet, or a packet value that no octets can stand for.

    `reason` is a short slug; packets that are dropped are counted under it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
