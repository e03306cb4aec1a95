"""The pre-shared key: a file that both ends have."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

from fsp_trio.cli.exits import CommandError, Exit
from fsp_trio.keying import MINIMUM_SECRET

__all__ = ["choose_key", "read_psk"]

LARGEST: Final = 65_536


def read_psk(path: Path, warn: Callable[[str], None]) -> bytes:
    """The octets of the file but for line ends at its end, which editors add and remove.

    CommandError if it cannot be read, or has too few octets or far too many.
    """
    try:
        with path.open("rb") as file:
            if _readable_by_all(file.fileno()):
                warn(f"everybody on this machine can read {path}")
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise CommandError(f"cannot read the key file {path}: {error.strerror}", Exit.KEY) from None
    if len(content) > LARGEST:
        raise CommandError(f"the key file {path} has more than {LARGEST} octets", Exit.KEY)
    key = content.rstrip(b"\r\n")
    if len(key) < MINIMUM_SECRET:
        raise CommandError(
            f"the key in {path} has {len(key)} octets, fewer than {MINIMUM_SECRET}; make one with:"
            " head -c 32 /dev/urandom | base64",
            Exit.KEY,
        )
    return key


def _readable_by_all(descriptor: int) -> bool:
    status = os.fstat(descriptor)
    return stat.S_ISREG(status.st_mode) and bool(status.st_mode & stat.S_IROTH)


def choose_key(psk: Path | None, insecure: bool, warn: Callable[[str], None]) -> bytes | None:
    """The key, or None if the user wants none; CommandError if the user said neither or both."""
    if psk is not None and insecure:
        raise CommandError("--psk and --insecure exclude each other", Exit.USAGE)
    if psk is not None:
        return read_psk(psk, warn)
    if insecure:
        warn("without a key everybody on the way can read and change what is sent")
        return None
    raise CommandError("a key is needed: --psk FILE, or --insecure to go without encryption", Exit.KEY)
