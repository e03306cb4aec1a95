from __future__ import annotations

import socket

import click
import pytest
import trio

from fsp_trio import CommitTimeout, FailureKind, FSPBrokenError, FSPConnectError, KeyInstallationError, ResetReason
from fsp_trio.cli.exits import CommandError, Exit, Interrupted, explain
from fsp_trio.keying import KEY_AGREEMENT_FAILED, KeyAgreementError, KeyAgreementTimeout


@pytest.mark.parametrize(
    ("error", "words", "code"),
    [
        (CommandError("so it is", Exit.KEY), "so it is", Exit.KEY),
        (SystemExit(1), "", Exit.FAILED),
        (Interrupted(), "interrupted", Exit.INTERRUPTED),
        (KeyboardInterrupt(), "interrupted", Exit.INTERRUPTED),
        (click.UsageError("two\nlines"), "two lines", Exit.USAGE),
        (KeyAgreementError("another key"), "another key", Exit.KEY),
        (KeyAgreementTimeout("silent"), "silent", Exit.UNREACHABLE),
        (KeyInstallationError("too early"), "too early", Exit.FAILED),
        (FSPConnectError("nobody", kind=FailureKind.HANDSHAKE_TIMEOUT), "nobody", Exit.UNREACHABLE),
        (FSPConnectError("refused", kind=FailureKind.REFUSED), "refused", Exit.UNREACHABLE),
        (
            FSPConnectError("x", kind=FailureKind.REFUSED, reason=ResetReason.NO_RESOURCES),
            "the peer is busy",
            Exit.UNREACHABLE,
        ),
        (FSPBrokenError("gone", kind=FailureKind.IDLE_TIMEOUT), "gone", Exit.UNREACHABLE),
        (FSPBrokenError("reset", kind=FailureKind.RESET_BY_PEER, reason=1), "reset", Exit.FAILED),
        (
            FSPBrokenError("reset", kind=FailureKind.RESET_BY_PEER, reason=KEY_AGREEMENT_FAILED),
            "the peer expects a key, or has another one",
            Exit.KEY,
        ),
        (CommitTimeout("nothing acknowledged"), "nothing acknowledged", Exit.UNREACHABLE),
        (trio.TooSlowError(), "the peer did not answer in time", Exit.UNREACHABLE),
        (socket.gaierror(-2, "unknown name"), "cannot find the host: unknown name", Exit.UNREACHABLE),
        (FileNotFoundError(2, "No such file", "x.txt"), "x.txt: No such file", Exit.FAILED),
        (OSError(98, "Address in use"), "Address in use", Exit.FAILED),
        (RuntimeError("a\nb"), "unexpected RuntimeError: a b", Exit.FAILED),
        (BaseExceptionGroup("g", [OSError(1, "no"), Interrupted()]), "interrupted", Exit.INTERRUPTED),
        (ExceptionGroup("g", [ExceptionGroup("h", [CommandError("inner", Exit.KEY)])]), "inner", Exit.KEY),
    ],
)
def test_every_error_is_one_line_and_a_code(error: BaseException, words: str, code: Exit) -> None:
    assert explain(error) == (words, code)
