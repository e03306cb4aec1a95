"""Why a connection ended otherwise than by a confirmed shutdown, and what an application did wrong."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class FailureKind(enum.Enum):
    RESET_BY_PEER = "reset by the peer"
    RESET_LOCALLY = "reset by this end"
    REFUSED = "refused by the peer"
    HANDSHAKE_TIMEOUT = "no answer to the connection request"
    COMMIT_TIMEOUT = "nothing heard from the peer while committing"
    IDLE_TIMEOUT = "nothing heard from the peer"
    KEY_EXHAUSTED = "the session key reached the end of its life"
    FORGERIES = "too many packets failed their integrity check"
    UNSUPPORTED = "the peer used a feature that this end does not have"


class ResetReason(enum.IntEnum):
    """Reasons of RESET (gao-07 4.9 leaves them open; M35): a small table, any other number is generic."""

    UNSPECIFIED = 0
    APPLICATION = 1
    REJECTED = 2
    NO_RESOURCES = 3
    TIMED_OUT = 4
    KEY_EXHAUSTED = 5
    UNREAD_DATA = 6
    UNSUPPORTED = 7
    MESSAGE_TOO_LONG = 8
    PROTOCOL_ERROR = 9


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


class KeyInstallationRefused(ConnectionMisuse):
    """install_key came at a time, or with numbers, that the draft or safety forbids (7.2, N2b)."""
