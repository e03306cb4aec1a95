"""What is told of a packet."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from fsp_trio.wire.packets import Extension, SinkParameter, Snack, UnknownExtension

__all__ = ["DecodedPacket", "extension_as_dict"]


@dataclass(slots=True)
class DecodedPacket:
    """A packet of a capture, as far as it can be read."""

    n: int
    """Number of the frame in the capture; packets that an offloading host sent in one piece share it."""
    time: int
    """Nanoseconds since 1970."""
    source: str
    destination: str
    src_ultid: bytes
    dst_ultid: bytes
    opcode: str | None = None
    """None if it has no name."""
    flags: tuple[str, ...] = ()
    window: int | None = None
    sn: int | None = None
    expected_sn: int | None = None
    oob_serial: int | None = None
    out_of_band: bool = False
    extensions: tuple[Extension, ...] = ()
    icc_ok: bool | None = None
    """None where it cannot be known: there is no code, or no key to check it with."""
    mode: str | None = None
    """none, crc64, mac or gcm; None if not even that is known."""
    payload: bytes | None = None
    """In plaintext; None if it cannot be read."""
    revision: str = ""
    key: str = ""
    """Which key fitted."""
    fields: dict[str, str] = field(default_factory=dict)
    """Fields of packets without the normal header."""
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The object of `--json`."""
        number = ("oob_serial", self.oob_serial) if self.out_of_band else ("expected_sn", self.expected_sn)
        return {
            "n": self.n,
            "time": self.time / 1e9,
            "src": self.source,
            "dst": self.destination,
            "src_ultid": self.src_ultid.hex(),
            "dst_ultid": self.dst_ultid.hex(),
            "opcode": self.opcode,
            "flags": list(self.flags),
            "window": self.window,
            "sn": self.sn,
            number[0]: number[1],
            "extensions": [extension_as_dict(extension) for extension in self.extensions],
            "icc_ok": self.icc_ok,
            "mode": self.mode,
            "payload": None if self.payload is None else self.payload.hex(),
        }


_ABSENT_IF_ZERO = frozenset({"block_size", "listener", "serial", "window"})
"""Fields of a single revision."""
_ZEROS = (0, bytes(4))
_NAMES = {SinkParameter: "PEER_SUBNETS", Snack: "SELECTIVE_NACK", UnknownExtension: "UNKNOWN"}


def extension_as_dict(extension: Extension) -> dict[str, Any]:
    """Its name, and its fields but for those that this revision does not have."""
    described: dict[str, Any] = {"type": _NAMES[type(extension)]}
    for item in dataclasses.fields(extension):
        value = getattr(extension, item.name)
        if value is not None and (value not in _ZEROS or item.name not in _ABSENT_IF_ZERO):
            described[item.name] = _plain(value)
    return described


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return value
