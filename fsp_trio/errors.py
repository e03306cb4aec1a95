"""Exceptions of the session layer.

Each is an `FSPError` and, where Trio has a name for the situation, also Trio's exception, so that code written for
any Trio stream needs no change.  `reason` is the number that travelled, or would have travelled, in RESET
(gao-07 4.9, M35); `kind` says which end or which time-out gave up.
"""

from __future__ import annotations

from typing import NoReturn

import trio

from fsp_trio.core.failure import Failure, FailureKind

__all__ = [
    "CommitTimeout",
    "FSPBrokenError",
    "FSPBusyError",
    "FSPClosedError",
    "FSPConnectError",
    "FSPError",
    "KeyInstallationError",
    "MultiplicationError",
]


class FSPError(Exception):
    """Base of everything that fsp_trio raises on purpose, ValueError and TypeError for bad arguments aside."""


class FSPBrokenError(FSPError, trio.BrokenResourceError):
    """The session ended otherwise than by this end's own close, and the operation cannot be carried out.

    Raised by sending, receiving, committing and closing when the peer reset the session (RESET), when a time-out
    of gao-07 section 12 ended it, when the peer released it while this end still had something to send, or when
    this end had to reset it because the peer broke a limit.  Octets that had arrived in order before are read
    first.  Once raised it is raised again by every later operation in the same direction.
    """

    def __init__(self, message: str, *, kind: FailureKind | None = None, reason: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        """Why, or None when the peer released the session in order and so takes no more data (9.2)."""
        self.reason = reason
        """The reason number of RESET; 0 if there was none or none was given."""


class FSPClosedError(FSPError, trio.ClosedResourceError):
    """This end closed or reset the object before, or while, it was used."""


class FSPBusyError(FSPError, trio.BusyResourceError):
    """Another task is doing the same thing with the same object, or the session is in use in another way."""


class FSPConnectError(FSPError, OSError):
    """No session came about: refused by the peer (RESET), or no answer within 60 seconds (gao-07 6.6, 12.1)."""

    def __init__(self, message: str, *, kind: FailureKind | None = None, reason: int = 0) -> None:
        super().__init__(message)
        self.kind = kind
        """REFUSED, HANDSHAKE_TIMEOUT or, if the peer gave up meanwhile, RESET_BY_PEER."""
        self.reason = reason
        """The reason number of RESET; 0 if there was none or none was given."""


class KeyInstallationError(FSPError):
    """`install_key` came when the draft or the safety of nonces forbids it (gao-07 7.2, B13); nothing changed."""


class MultiplicationError(FSPError):
    """The session cannot have branches: it has no key, or that has served too many (gao-07 11, M23)."""


class CommitTimeout(FSPError, trio.TooSlowError):
    """Nothing was acknowledged for 30 seconds while `commit()` waited (gao-07 8.4.4, B7).

    The session lives on and goes on trying; wait again with `wait_acknowledged()`, or give up with `reset()`.
    """


RELEASED = "the peer released the session and takes no more data"


def raise_broken(failure: Failure | None) -> NoReturn:
    """Raise FSPBrokenError for a failure, or for an orderly end by the peer if there was none."""
    if failure is None:
        raise FSPBrokenError(RELEASED)
    raise FSPBrokenError(f"session broken: {failure}", kind=failure.kind, reason=failure.reason)
