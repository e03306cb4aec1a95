"""The server's side of SOCKS 5 (RFC 1928): no authentication, CONNECT only.

Sans input and output: a reader gives the octets.  No library that is still kept has this side of it.
"""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Awaitable, Callable
from typing import Final

__all__ = ["Reply", "SocksError", "greeting_answer", "read_target", "reply"]

VERSION: Final = 5
NO_AUTHENTICATION: Final = 0
NONE_ACCEPTABLE: Final = 0xFF
CONNECT: Final = 1
IPV4, NAME, IPV6 = 1, 3, 4

Read = Callable[[int], Awaitable[bytes]]
"""Gives exactly so many octets."""


class Reply(enum.IntEnum):
    SUCCEEDED = 0
    FAILED = 1
    NOT_ALLOWED = 2
    NETWORK_UNREACHABLE = 3
    HOST_UNREACHABLE = 4
    REFUSED = 5
    COMMAND = 7
    ADDRESS_TYPE = 8


class SocksError(Exception):
    """What the client asks for cannot be; `answer` is to be sent before the connection is closed."""

    def __init__(self, message: str, answer: bytes = b"") -> None:
        super().__init__(message)
        self.answer = answer


async def greeting_answer(read: Read) -> bytes:
    """The client's first message, and what to say to it."""
    version, methods = await read(2)
    if version != VERSION:
        raise SocksError("the client does not speak SOCKS 5")
    if NO_AUTHENTICATION not in await read(methods):
        raise SocksError("the client wants to authenticate", bytes([VERSION, NONE_ACCEPTABLE]))
    return bytes([VERSION, NO_AUTHENTICATION])


async def read_target(read: Read) -> tuple[str, int]:
    """The client's request: the host, by name or address, and the port."""
    version, command, _, kind = await read(4)
    if version != VERSION:
        raise SocksError("the client does not speak SOCKS 5")
    if kind == IPV4:
        host = str(ipaddress.IPv4Address(await read(4)))
    elif kind == IPV6:
        host = str(ipaddress.IPv6Address(await read(16)))
    elif kind == NAME:
        (length,) = await read(1)
        try:
            host = (await read(length)).decode("ascii")
        except UnicodeDecodeError:
            raise SocksError("the client names a host that is none", reply(Reply.FAILED)) from None
    else:
        raise SocksError("the client uses another kind of address", reply(Reply.ADDRESS_TYPE))
    port = int.from_bytes(await read(2), "big")
    if command != CONNECT:
        raise SocksError("the client wants more than to connect", reply(Reply.COMMAND))
    if not host or not port or any(character <= " " for character in host):
        raise SocksError("the client names a host that is none", reply(Reply.FAILED))
    return host, port


def reply(kind: Reply) -> bytes:
    """The answer to the request; the address that it names is unspecified."""
    return bytes([VERSION, kind, 0, IPV4]) + bytes(6)
