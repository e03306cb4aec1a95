"""Trust on first use: whose key was seen at which host, one line for each.

    HOST:PORT ed25519 BASE64

Blank lines, and those that begin with #, mean nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from fsp_trio.cli.exits import CommandError, Exit
from fsp_trio.cli.key_files import lines_with_keys, public_line

__all__ = ["KnownHosts"]


class KnownHosts:
    """The file, read anew at each look: several programs may write to it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, name: str) -> tuple[bytes, int] | None:
        """The key of a host, and the line in which it stands; CommandError if the file cannot be read."""
        try:
            text = self.path.read_text(errors="replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CommandError(f"cannot read {self.path}: {error.strerror}", Exit.KEY) from None
        for number, words, key in lines_with_keys(self.path, text, 1, "no host with a key"):
            if words[0] == name:
                return key, number
        return None

    def add(self, name: str, public_key: bytes) -> None:
        """Remember a host; CommandError if the file cannot be written."""
        line = f"{name} {public_line(public_key)}\n"
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            raise CommandError(f"cannot write {self.path}: {error.strerror}", Exit.KEY) from None
