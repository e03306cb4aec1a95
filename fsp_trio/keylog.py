"""The key log: what a decoder of captures needs to read sessions that have a key.

Whoever has the file can read everything.  It is written only where the environment variable FSPKEYLOGFILE names it,
one line for each key that is installed::

    FSP_KEY revision ultid_a ultid_b first_sn_a first_sn_b mode bits ikm

* `revision`: name of the revision
* `ultid_a`, `ultid_b`: the two ends, 8 hexadecimal digits each; from our own log `ultid_a` is our own
* `first_sn_a`, `first_sn_b`: decimal, the first sequence number under the key in the direction from that end
* `mode`: gcm or mac
* `bits`: of the AES key; for mac 8 times the length of the key material, which a reader ignores
* `ikm`: the key material as it was installed, hexadecimal

Re-keying and the keys of branches follow from these.  Empty lines and those that begin with # mean nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["FSPKEYLOGFILE", "KeyLogEntry", "KeyLogError", "log_key", "parse_key_log"]

FSPKEYLOGFILE: Final = "FSPKEYLOGFILE"
"""The environment variable that names the file to which keys are appended.  It is read once per process."""
LONGEST_LINE: Final = 65_536
"""Characters of a line; more are no line of a key log."""

_LABEL: Final = "FSP_KEY"
_FIELDS: Final = 8
_KEY_BITS: Final = frozenset({128, 192, 256})
_MODES: Final[dict[str, Literal["gcm", "mac"]]] = {"gcm": "gcm", "aead": "gcm", "mac": "mac"}
"""What the integrity suites call aead is gcm here."""
_logger: Final = logging.getLogger(__name__)


class KeyLogError(ValueError):
    """A line that is no line of a key log; the message begins with its number."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(f"line {line}: {why}")
        self.line = line


@dataclass(frozen=True, slots=True)
class KeyLogEntry:
    """One installed key."""

    revision: str
    ultid_a: bytes
    ultid_b: bytes
    first_sn_a: int
    """The first sequence number under the key in the direction from `ultid_a`."""
    first_sn_b: int
    mode: Literal["gcm", "mac"]
    bits: int
    ikm: bytes

    def line(self) -> str:
        """As it stands in the file, without line end."""
        ultids = f"{self.ultid_a.hex()} {self.ultid_b.hex()}"
        numbers = f"{self.first_sn_a} {self.first_sn_b}"
        return f"{_LABEL} {self.revision} {ultids} {numbers} {self.mode} {self.bits} {self.ikm.hex()}"


# writing


class _Writer:
    """Appends to one file, and complains once if it cannot."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._complained = False

    def append(self, line: str) -> None:
        try:
            # Opened for each line: keys are rare, and the file may be taken away meanwhile.  One write with
            # O_APPEND keeps the lines of several processes apart.
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except (OSError, ValueError) as error:
            self.complain(error)

    def complain(self, error: Exception) -> None:
        if not self._complained:
            self._complained = True
            reason = getattr(error, "strerror", None) or str(error)
            with contextlib.suppress(Exception):  # a handler of the application's may fail
                _logger.warning("cannot write the key log %s: %s", self._path, reason)


_lock: Final = threading.Lock()
_writers: Final[list[_Writer | None]] = []
"""Empty until the first key; then the writer, or None if the variable is not set."""


def _writer() -> _Writer | None:
    with _lock:
        if not _writers:
            path = os.environ.get(FSPKEYLOGFILE)
            _writers.append(_Writer(path) if path else None)
        return _writers[0]


def log_key(
    revision_name: str,
    local_ultid: bytes,
    remote_ultid: bytes,
    first_sent_sn: int,
    first_received_sn: int,
    mode: str,
    bits: int,
    ikm: bytes,
) -> None:
    """Append a line for a key that was installed, if the environment asks for it.

    `mode` is "gcm", which may also be called "aead", or "mac", for which `bits` is ignored.  Never raises: a
    failure is reported once, through logging.
    """
    writer = _writer()
    if writer is None:
        return
    try:
        kind = _MODES[mode]
        size = len(ikm) * 8 if kind == "mac" else bits
        entry = KeyLogEntry(revision_name, local_ultid, remote_ultid, first_sent_sn, first_received_sn, kind, size, ikm)
        line = entry.line() + "\n"
    except Exception as error:  # a session must not fail for its log
        writer.complain(error)
        return
    writer.append(line)


# reading


def parse_key_log(lines: Iterable[str]) -> Iterator[KeyLogEntry]:
    """The entries of a key log in their order.  Raises KeyLogError at the first line that is none."""
    for number, line in enumerate(lines, 1):
        if len(line) > LONGEST_LINE:
            raise KeyLogError(number, "too long")
        fields = line.split()
        if fields and not fields[0].startswith("#"):
            yield _parse(number, fields)


def _parse(number: int, fields: list[str]) -> KeyLogEntry:
    if fields[0] != _LABEL:
        raise KeyLogError(number, f"does not begin with {_LABEL}")
    if len(fields) != _FIELDS + 1:
        raise KeyLogError(number, f"{len(fields) - 1} fields after {_LABEL} instead of {_FIELDS}")
    _, revision, ultid_a, ultid_b, first_a, first_b, mode, bits, ikm = fields
    if mode not in ("gcm", "mac"):
        raise KeyLogError(number, "the mode is neither gcm nor mac")
    key_bits = _decimal(number, "bits", bits, 2**32 - 1)
    if mode == "gcm" and key_bits not in _KEY_BITS:
        raise KeyLogError(number, "a key has 128, 192 or 256 bits")
    return KeyLogEntry(
        revision,
        _octets(number, "ultid_a", ultid_a, 4),
        _octets(number, "ultid_b", ultid_b, 4),
        _decimal(number, "first_sn_a", first_a, 2**32 - 1),
        _decimal(number, "first_sn_b", first_b, 2**32 - 1),
        _MODES[mode],
        key_bits,
        _octets(number, "ikm", ikm),
    )


def _decimal(number: int, name: str, text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(most)) and int(text) <= most):
        raise KeyLogError(number, f"{name} is not a decimal number up to {most}")
    return int(text)


def _octets(number: int, name: str, text: str, size: int = 0) -> bytes:
    try:
        octets = bytes.fromhex(text)
    except ValueError:
        octets = b""
    if not octets or (size and len(octets) != size):
        wanted = f"{size} octets" if size else "octets"
        raise KeyLogError(number, f"{name} is not {wanted} in hexadecimal")
    return octets
