"""Why a connection ended otherwise than by a confirmed shutdown, and what an application did wrong."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class FailureKind(enum.Enum):
    """Why a connection ended otherwise than by a graceful end; the value is that in words."""

    RESET_BY_PEER = "reset by the peer"
    """RESET arrived (gao-07 4.9, 12.7)."""
    RESET_LOCALLY = "reset by this end"
    """The application called `reset`, or the peer broke one of this end's limits."""
    REFUSED = "refused by the peer"
    """RESET answered the connection request (6.4)."""
    HANDSHAKE_TIMEOUT = "no answer to the connection request"
    """60 seconds without a connection (6.6, 12.1)."""
    COMMIT_TIMEOUT = "nothing heard from the peer while committing"
    """5 minutes without a packet while an acknowledgement was due (12.3, B7)."""
    IDLE_TIMEOUT = "nothing heard from the peer"
    """`Settings.idle_timeout` without an authentic packet (12.5, M42)."""
    KEY_EXHAUSTED = "the session key reached the end of its life"
    """A key was applied 2^30 times (12.6), or the out-of-band serials are used up (N4)."""
    FORGERIES = "too many packets failed their integrity check"
    """`Settings.forgery_budget` was spent (8.1, F7)."""
    PARENT_ENDED = "the session from which it was multiplied has ended"
    """A branch does not outlive the session that it was made from."""
    COMPRESSION = "the peer's compressed octets cannot be decompressed"
    """Octets that are no LZ4, a block of more than 131,072 octets, or one that is cut off (8.8, M44)."""
    UNSUPPORTED = "the peer used a feature that this end does not have"
    """Minimal delay, or compression, where the revision has none or it may not begin (4.6, F5, F60)."""


class ResetReason(enum.IntEnum):
    """Reasons of RESET (gao-07 4.9 leaves them open; M35): a small table, any other number is generic."""

    UNSPECIFIED = 0
    APPLICATION = 1
    """`reset` without another reason, or a block left by an exception."""
    REJECTED = 2
    """`admit` said no, the listener was closed before the session was accepted, or a branch was not wanted."""
    NO_RESOURCES = 3
    """The backlog, of a listener or for branches, was full, or `welcome` failed."""
    TIMED_OUT = 4
    """One of the time-outs of gao-07 section 12."""
    KEY_EXHAUSTED = 5
    """A key, or what makes its nonces, reached the end of its life, or met too many forgeries."""
    UNREAD_DATA = 6
    """Octets came for an application that had closed the session already."""
    UNSUPPORTED = 7
    """The peer used minimal delay where there is none, or where it may not begin (F5, F60)."""
    MESSAGE_TOO_LONG = 8
    """A channel met a value longer than its `max_value_size`."""
    PROTOCOL_ERROR = 9
    """For applications whose peer does not keep to their own protocol; the library does not use it."""
    COMPRESSION = 11
    """A compressed transaction could not be decompressed (M44)."""
    PARENT_ENDED = 10
    """The session of which this one is a branch ended."""


@dataclass(frozen=True, slots=True)
class Failure:
    """The end of a connection: `reason` is the number that was, or would be, on the wire."""

    kind: FailureKind
    reason: int = 0

    def __str__(self) -> str:
        try:
            name = ResetReason(self.reason).name
        except ValueError:
            name = f"reason {self.reason}"
        return self.kind.value if self.reason == 0 else f"{self.kind.value} ({name})"


class ConnectionMisuse(RuntimeError):
    """The application asked for what the connection's state does not allow; nothing has changed."""


class MultiplicationRefused(ConnectionMisuse):
    """The connection cannot have branches: it has no key, or is not connected (11, M23)."""


class KeyInstallationRefused(ConnectionMisuse):
    """install_key came at a time, or with numbers, that the draft or safety forbids (7.2, N2b)."""
