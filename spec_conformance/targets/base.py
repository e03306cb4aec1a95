"""What every target offers to the runner."""

from __future__ import annotations

from typing import Protocol

from spec_conformance.link import Link
from spec_conformance.profile import Profile


class Target(Protocol):
    """An implementation under test, for the time of one case or of many."""

    profile: Profile
    role: str
    """Which side of the handshake the target is: "responder" or "initiator"."""
    pace: float
    """How much slower than a machine nearby it answers: a factor on all waiting."""
    client_patience: float
    """Seconds in which a client can be expected."""
    latency: float
    """Seconds of a round trip to it, as far as known."""
    virtual: bool
    """Time passes as the suite wants it to, so that long time-outs cost nothing."""

    async def open_link(self, beside: Link | None = None) -> Link:
        """A fresh address from which a responder can be reached; `beside` another one, of the same host."""
        ...

    async def await_client(self) -> Link:
        """An address to which the client connects; its first packet waits there."""
        ...

    def unix_microseconds(self) -> int:
        """The time that goes into packets."""
        ...
