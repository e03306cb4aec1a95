"""Files that arrive: unfinished under a name of their own, complete under the name they are to have."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

__all__ = ["CannotStore", "IncomingFile", "Store"]

UNFINISHED: Final = ".fsp-unfinished-"
KEPT_FREE: Final = 20
"""One in so many free octets of the disk is not filled: senders shall not take the last ones."""


class CannotStore(Exception):
    """Why a file is not stored; fit for the peer's eyes: it says nothing of local paths."""


def _reason(error: OSError) -> CannotStore:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return CannotStore("no room left on the receiver's disk")
    return CannotStore(f"the receiver cannot store it: {error.strerror or type(error).__name__}")


class Store:
    """The directory that takes what arrives."""

    def __init__(self, directory: Path, *, overwrite: bool = False) -> None:
        self.directory = directory
        self.overwrite = overwrite
        self._mask = os.umask(0o077)
        os.umask(self._mask)
        self._promised = 0
        """Octets that files under way may still write."""
        self._lock = threading.Lock()

    def _promise(self, octets: int) -> None:
        """Room for so many octets beside all that was promised; CannotStore if there is not enough."""
        with self._lock:
            free = shutil.disk_usage(self.directory).free
            if free - free // KEPT_FREE - self._promised < octets:
                raise CannotStore("not enough room on the receiver's disk")
            self._promised += octets

    def redeem(self, octets: int) -> None:
        """So many octets of a promise were written, or will not be."""
        with self._lock:
            self._promised -= octets

    def begin(self, name: str, size: int, mode: int) -> IncomingFile:
        """A file to be written; CannotStore if it cannot or must not be."""
        target = self.directory / name
        try:
            if not self.overwrite and os.path.lexists(target):
                raise CannotStore("a file of that name exists")
            self._promise(size)
        except OSError as error:
            raise _reason(error) from None
        try:
            descriptor, path = tempfile.mkstemp(prefix=UNFINISHED, dir=self.directory)
        except OSError as error:
            self.redeem(size)
            raise _reason(error) from None
        # only what the sender's file has and the user of this end would give to a new file
        permissions = (mode & 0o777 | 0o600) & ~self._mask
        file = os.fdopen(descriptor, "wb", buffering=0)
        return IncomingFile(self, file, Path(path), target, size=size, permissions=permissions)


class IncomingFile:
    """A file being written; as a context manager it leaves nothing behind unless `finish` was called."""

    def __init__(self, store: Store, file: BinaryIO, path: Path, target: Path, *, size: int, permissions: int) -> None:
        self._store = store
        self._file = file
        self._path = path
        self._target = target
        self._promised = size
        self._permissions = permissions
        self._hash = hashlib.blake2b(digest_size=32)

    @property
    def digest(self) -> bytes:
        """BLAKE2b-256 of what was written."""
        return self._hash.digest()

    def write(self, data: bytes) -> None:
        """Blocks as long as the disk does; CannotStore if it fails."""
        self._hash.update(data)
        self._redeem(min(len(data), self._promised))
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise _reason(error) from None

    def _redeem(self, octets: int) -> None:
        self._promised -= octets
        self._store.redeem(octets)

    def finish(self) -> None:
        """Give the file its name, in one step; CannotStore if somebody else took the name meanwhile."""
        try:
            os.fchmod(self._file.fileno(), self._permissions)
            self._file.close()
            if self._store.overwrite:
                os.replace(self._path, self._target)
            else:
                self._take_name()
        except FileExistsError:
            raise CannotStore("a file of that name exists") from None
        except OSError as error:
            raise _reason(error) from None

    def _take_name(self) -> None:
        """Not every file system has hard links, so an empty file reserves the name: of two who want it one gets it."""
        os.close(os.open(self._target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            os.replace(self._path, self._target)
        except OSError:
            self._target.unlink()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._redeem(self._promised)
        self._file.close()
        with suppress(FileNotFoundError):
            self._path.unlink()
