"""Files that arrive: unfinished under a name of their own, complete under the name they are to have."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

__all__ = ["CannotStore", "IncomingFile", "Store"]

UNFINISHED: Final = ".fsp-unfinished-"


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

    def begin(self, name: str, size: int, mode: int) -> IncomingFile:
        """A file to be written; CannotStore if it cannot or must not be."""
        target = self.directory / name
        try:
            if not self.overwrite and os.path.lexists(target):
                raise CannotStore("a file of that name exists")
            if shutil.disk_usage(self.directory).free < size:
                raise CannotStore("not enough room on the receiver's disk")
            descriptor, path = tempfile.mkstemp(prefix=UNFINISHED, dir=self.directory)
        except OSError as error:
            raise _reason(error) from None
        # only what the sender's file has and the user of this end would give to a new file
        permissions = (mode & 0o777 | 0o600) & ~self._mask
        return IncomingFile(os.fdopen(descriptor, "wb", buffering=0), Path(path), target, self.overwrite, permissions)


class IncomingFile:
    """A file being written; as a context manager it leaves nothing behind unless `finish` was called."""

    def __init__(self, file: BinaryIO, path: Path, target: Path, overwrite: bool, permissions: int) -> None:
        self._file = file
        self._path = path
        self._target = target
        self._overwrite = overwrite
        self._permissions = permissions
        self._hash = hashlib.blake2b(digest_size=32)

    @property
    def digest(self) -> bytes:
        """BLAKE2b-256 of what was written."""
        return self._hash.digest()

    def write(self, data: bytes) -> None:
        """Blocks as long as the disk does; CannotStore if it fails."""
        self._hash.update(data)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise _reason(error) from None

    def finish(self) -> None:
        """Give the file its name, in one step; CannotStore if somebody else took the name meanwhile."""
        try:
            os.fchmod(self._file.fileno(), self._permissions)
            self._file.close()
            if self._overwrite:
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
        self._file.close()
        with suppress(FileNotFoundError):
            self._path.unlink()
