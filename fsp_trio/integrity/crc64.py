"""CRC64 against accidents, from ACK_CONNECT_REQ until a key is installed (gao-07 8.1.1, G9)."""

from __future__ import annotations

from fastcrc.crc64 import ecma_182


class Crc64Protection:
    """CRC64 of the whole packet, started from the fields of the handshake (8.1).

    It proves nothing against an attacker who saw the handshake: all that goes into it was on the wire.  The
    ULTIDs of a datagram are not summed up, they only have a part in the start values.
    """

    __slots__ = ("_received", "_sent")

    mode = "crc64"
    flags = 0

    def __init__(
        self,
        local_ultid: bytes,
        remote_ultid: bytes,
        init_check_code: bytes,
        cookie: bytes,
        salt: bytes,
        time_delta: bytes,
        timestamp: bytes,
    ) -> None:
        fields = init_check_code + cookie + salt + time_delta + timestamp
        self._sent = _start_value(local_ultid + remote_ultid, fields)
        self._received = _start_value(remote_ultid + local_ultid, fields)

    def seal(self, ids: bytes, head: bytes, body: bytes, out_of_band: bool = False) -> bytes:
        icc = ecma_182(head + self._sent + body).to_bytes(8, "big")
        return ids + head + icc + body

    def open(self, datagram: bytes, out_of_band: bool = False) -> bytes | None:
        body = datagram[32:]
        if ecma_182(datagram[8:24] + self._received + body) != int.from_bytes(datagram[24:32], "big"):
            return None
        return body


def _start_value(ids: bytes, fields: bytes) -> bytes:
    return ecma_182(fields, int.from_bytes(ids, "big")).to_bytes(8, "big")
