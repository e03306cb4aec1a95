"""What the tests of the simulated network have in common."""

from __future__ import annotations

import trio

from fsp_trio.ports import Port


def numbered(count: int, size: int = 100) -> list[bytes]:
    return [index.to_bytes(4, "big") + bytes(size - 4) for index in range(count)]


def number(datagram: bytes) -> int:
    return int.from_bytes(datagram[:4], "big")


async def everything(port: Port, quiet: float = 10.0) -> list[bytes]:
    """All that arrives until nothing has arrived for a while."""
    found: list[bytes] = []
    while True:
        with trio.move_on_after(quiet) as scope:
            await port.wait_readable()
        if scope.cancelled_caught:
            return found
        found += [datagram for batch in port.receive() for datagram in batch.datagrams]
