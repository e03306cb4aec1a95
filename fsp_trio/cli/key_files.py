"""Files with keys: a private one for oneself, public ones of others."""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from nacl.signing import SigningKey

from fsp_trio.cli.exits import CommandError, Exit
from fsp_trio.keying import MINIMUM_SECRET

__all__ = ["configuration", "public_line", "read_identity", "read_psk", "read_public_keys", "write_identity"]

LARGEST: Final = 65_536
PRIVATE: Final = "fsp-trio-private-ed25519"
PUBLIC: Final = "ed25519"
KEY_SIZE: Final = 32


def configuration() -> Path:
    """Where keys and known hosts are unless told otherwise: fsp-trio below XDG_CONFIG_HOME."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "fsp-trio"


def read_psk(path: Path, warn: Callable[[str], None]) -> bytes:
    """The octets of the file but for line ends at its end, which editors add and remove.

    CommandError if it cannot be read, or has too few octets or far too many.
    """
    key = _read(path, warn).rstrip(b"\r\n")
    if len(key) < MINIMUM_SECRET:
        raise CommandError(
            f"the key in {path} has {len(key)} octets, fewer than {MINIMUM_SECRET}; make one with:"
            " head -c 32 /dev/urandom | base64",
            Exit.KEY,
        )
    return key


def read_identity(path: Path, warn: Callable[[str], None]) -> SigningKey:
    """The private key that `write_identity` has written; CommandError if it cannot be read, or is none."""
    words = _read(path, warn).split()
    seed = _octets(words[1]) if len(words) == 2 and words[0] == PRIVATE.encode() else None
    if seed is None:
        raise CommandError(f"{path} is no private key; make one with: fsp-trio keygen {path}", Exit.KEY)
    return SigningKey(seed)


def write_identity(path: Path, *, force: bool) -> SigningKey:
    """Make a private key, in a file that nobody else can read.

    CommandError if it cannot be written, or is there and `force` does not replace it.
    """
    identity = SigningKey.generate()
    line = f"{PRIVATE} {base64.b64encode(bytes(identity)).decode()}\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if force:
            path.unlink(missing_ok=True)  # so that its mode is ours
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(line)
    except FileExistsError:
        raise CommandError(f"{path} exists; --force replaces it, and nobody will know the new key", Exit.KEY) from None
    except OSError as error:
        raise CommandError(f"cannot write the key file {path}: {error.strerror}", Exit.KEY) from None
    return identity


def public_line(public_key: bytes) -> str:
    """How a public key stands in files, and is told to others."""
    return f"{PUBLIC} {base64.b64encode(public_key).decode()}"


def lines_with_keys(path: Path, text: str, at: int, complaint: str) -> Iterator[tuple[int, list[str], bytes]]:
    """The number, the words and the public key, 32 octets, of each line; "ed25519" is the word at index `at`.

    Blank lines, and those that begin with #, are skipped; CommandError, with the complaint, at one without a key.
    """
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        key = _octets(words[at + 1].encode()) if len(words) > at + 1 and words[at] == PUBLIC else None
        if key is None:
            raise CommandError(f"{path}, line {number}: {complaint}", Exit.KEY)
        yield number, words, key


def read_public_keys(path: Path) -> list[bytes]:
    """The keys of a file: one in each line, "ed25519", the key in base64, and whatever else helps people.

    CommandError if it cannot be read, or has a line that is none, blank ones and those with # aside.
    """
    text = _read(path, lambda _: None).decode(errors="replace")
    return [key for _, _, key in lines_with_keys(path, text, 0, "no public key")]


def _octets(text: bytes) -> bytes | None:
    try:
        octets = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return octets if len(octets) == KEY_SIZE else None


def _read(path: Path, warn: Callable[[str], None]) -> bytes:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_IROTH:
                warn(f"everybody on this machine can read {path}")
            content = file.read(LARGEST + 1)
    except OSError as error:
        raise CommandError(f"cannot read the key file {path}: {error.strerror}", Exit.KEY) from None
    if len(content) > LARGEST:
        raise CommandError(f"the key file {path} has more than {LARGEST} octets", Exit.KEY)
    return content
