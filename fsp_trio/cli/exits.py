"""Exit codes, and which error leads to which: every error becomes one line and a number, never a traceback."""

from __future__ import annotations

import enum
import os
import socket
from collections.abc import Iterator
from typing import Final

import click
import trio

from fsp_trio.core.failure import FailureKind, ResetReason
from fsp_trio.errors import FSPBrokenError, FSPConnectError, FSPError
from fsp_trio.keying import KEY_AGREEMENT_FAILED, KeyAgreementError, KeyAgreementTimeout

__all__ = ["ALREADY_TOLD", "EXIT_CODES", "CommandError", "Exit", "Interrupted", "explain"]


class Exit(enum.IntEnum):
    OK = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    KEY = 4
    INTERRUPTED = 130


EXIT_CODES: Final = """\
\b
Exit codes:
  0    everything was done
  1    a file was refused or is damaged, the session broke, a capture is broken, or the port cannot be opened
  2    wrong usage
  3    the peer cannot be reached, or did not answer in time
  4    no usable key, or the peer has another one, or one that is not trusted
  130  interrupted
"""


ALREADY_TOLD: Final = ""
"""Message of a CommandError whose particulars the user has seen."""


class CommandError(Exception):
    """What went wrong, in one line for the user, and the exit code."""

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.code = code


class Interrupted(BaseException):
    """The user, or the system, asked to end; not an Exception, so that no session takes it for one of its own."""


_SILENT_PEER: Final = frozenset(
    {
        FailureKind.HANDSHAKE_TIMEOUT,
        FailureKind.REFUSED,
        FailureKind.COMMIT_TIMEOUT,
        FailureKind.IDLE_TIMEOUT,
    }
)


def explain(error: BaseException) -> tuple[str, Exit]:
    """One line for the user and the exit code."""
    error = _single(error)
    match error:
        case CommandError():
            return str(error), error.code
        case Interrupted() | KeyboardInterrupt() | click.Abort():
            return "interrupted", Exit.INTERRUPTED
        case SystemExit():  # click's own way out when nobody reads stdout any more
            return ALREADY_TOLD, Exit.FAILED
        case click.ClickException():
            return _one_line(error.format_message()), Exit.USAGE
        case KeyAgreementTimeout():
            return str(error), Exit.UNREACHABLE
        case KeyAgreementError():
            return str(error), Exit.KEY
        case FSPConnectError() | FSPBrokenError():
            return _explain_failure(error)
        case trio.TooSlowError():
            return str(error) or "the peer did not answer in time", Exit.UNREACHABLE
        case FSPError():
            return str(error), Exit.FAILED
        case socket.gaierror():
            return f"cannot find the host: {error.strerror}", Exit.UNREACHABLE
        case OSError():
            return _system_error(error), Exit.FAILED
        case _:
            return _one_line(f"unexpected {type(error).__name__}: {error}"), Exit.FAILED


def _explain_failure(error: FSPConnectError | FSPBrokenError) -> tuple[str, Exit]:
    if error.kind is FailureKind.RESET_BY_PEER and error.reason == KEY_AGREEMENT_FAILED:
        return "the peer expects a key, or has another one", Exit.KEY
    if error.kind is FailureKind.REFUSED and error.reason == ResetReason.NO_RESOURCES:
        return "the peer is busy", Exit.UNREACHABLE
    return str(error), Exit.UNREACHABLE if error.kind in _SILENT_PEER else Exit.FAILED


def _system_error(error: OSError) -> str:
    reason = error.strerror or str(error) or type(error).__name__
    return f"{os.fsdecode(error.filename)}: {reason}" if isinstance(error.filename, str | bytes) else reason


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _single(error: BaseException) -> BaseException:
    """Of a group the one that matters: an interruption if there is one, otherwise the first."""
    leaves = list(_leaves(error))
    return next((leaf for leaf in leaves if isinstance(leaf, Interrupted | KeyboardInterrupt)), leaves[0])


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
