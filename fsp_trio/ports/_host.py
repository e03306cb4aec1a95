"""The IPv4 addresses of this host, and word of their changes."""

from __future__ import annotations

import socket
import sys
from typing import Final

import psutil
import trio

RTMGRP_LINK: Final = 0x1
RTMGRP_IPV4_IFADDR: Final = 0x10
RTMGRP_IPV4_ROUTE: Final = 0x40

POLLING_INTERVAL: Final = 2.0
"""Seconds between looks at the addresses where the system does not tell of changes."""

_MESSAGES: Final = 65_536
_DRAINED_AT_ONCE: Final = 64


def addresses_up() -> dict[str, str]:
    """The IPv4 addresses of interfaces that are up and connected, with the names of these.

    On Linux an address may have a label of its own, of which the name of the interface is the part before the colon.
    """
    states = psutil.net_if_stats()
    labels = sys.platform == "linux"
    return {
        address.address: name
        for label, addresses in psutil.net_if_addrs().items()
        for name in (label.partition(":")[0] if labels else label,)
        if name in states and states[name].isup
        for address in addresses
        if address.family == socket.AF_INET
    }


def source_of_route(host: str, port: int) -> str | None:
    """The address from which the system would send there now; None if it knows no way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((host, port))  # sends nothing
        except OSError:
            return None
        return str(probe.getsockname()[0])


class HostWatch:
    """Waits for changes of addresses, links and routes: on Linux the kernel rings, elsewhere it looks now and then.

    What the kernel says is not read: the addresses themselves are looked at afterwards.
    """

    def __init__(self) -> None:
        self._socket = _open_bell()
        self._last = addresses_up() if self._socket is None else {}

    async def changed(self) -> None:
        """Wait until something may have changed; `trio.ClosedResourceError` once closed."""
        if self._socket is None:
            return await self._poll()
        await trio.lowlevel.wait_readable(self._socket)
        for _ in range(_DRAINED_AT_ONCE):
            try:
                self._socket.recv(_MESSAGES)
            except BlockingIOError:
                break
            except OSError:  # it overflowed: there was a change indeed
                continue
        return None

    async def _poll(self) -> None:
        last = self._last
        while True:
            await trio.sleep(POLLING_INTERVAL)
            self._last = addresses_up()
            if self._last != last:
                return

    def close(self) -> None:
        """Idempotent, from within trio."""
        if self._socket is not None and self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()


def _open_bell() -> socket.socket | None:
    """A netlink socket that becomes readable with each change; None where there is none, or we may not have it."""
    if sys.platform != "linux":
        return None
    try:
        bell = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
    except OSError:
        return None
    try:
        bell.bind((0, RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV4_ROUTE))
    except OSError:
        bell.close()
        return None
    return bell
