"""Routes between two ends, and which of the addresses that a peer tells are used (gao-07 4.7, 10.5, 10.6)."""

from __future__ import annotations

import enum
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import NamedTuple, TypeAlias

from fsp_trio.wire.packets import NO_PREFIXES, Prefixes
from fsp_trio.wire.prefixes import NO_PREFIX, address_of, prefix_of

Address: TypeAlias = Hashable
MAXIMUM_ROUTES = 16
"""Routes that a connection tries, or tells the application of."""


class Route(NamedTuple):
    """Where packets leave, None for the system's choice, and where they go."""

    local: Address | None
    remote: Address


class PathState(enum.Enum):
    """What a session makes of a path."""

    ACTIVE = "active"
    """Packets leave on it."""
    TRIED = "tried"
    """Notices leave on it, and nothing has come in on it yet (10.2)."""
    STANDBY = "standby"
    """Known, and not used."""
    FAILED = "failed"
    """Was left because nothing came in on it any more."""


@dataclass(frozen=True, slots=True)
class Path:
    """One way between the two ends of a session."""

    local: Address | None
    """The address at this end; None where the system chooses it, and has not said which."""
    remote: Address
    state: PathState
    rtt: float | None
    """Smoothed round-trip time in seconds; None where none was measured."""


def host_of(address: Address) -> Hashable:
    """The address without its port."""
    return address[0] if isinstance(address, tuple) and address else address


def path_key(remote: Address, local: Address | None = None) -> Hashable:
    """What names a path to the congestion manager: the addresses without their ports (8.7, B18)."""
    return host_of(remote) if local is None else (host_of(local), host_of(remote))


def prefixes_of(addresses: Iterable[Address]) -> Prefixes:
    """Up to four addresses as a Sink Parameter tells them, the last one as the last resort (4.7)."""
    told = [prefix for address in addresses if (prefix := prefix_of(address)) != NO_PREFIX]
    first, second, third, fourth, *_ = (*told, *NO_PREFIXES)
    return first, second, third, fourth


def told_addresses(prefixes: Prefixes, present: Address) -> tuple[Address, ...]:
    """The addresses that the peer tells and that may be used by an end which reaches it at `present` (F54)."""
    told = (address_of(prefix) for prefix in prefixes)
    return tuple(dict.fromkeys(address for address in told if address is not None and _within_reach(address, present)))


def preferred(told: Sequence[Address], source: Address, present: Address, number: int) -> Address:
    """Which of the addresses told is used (4.7, F53): the last one only if it is alone.

    Of the others the one that the packet came from, else the present one, else by a number of the connection, so that
    many connections share them.
    """
    first = told[:-1] or told
    for address in (source, present):
        if address in first:
            return address
    return first[number % len(first)]


def _within_reach(address: tuple[str, int], present: Address) -> bool:
    """A peer must not send us into networks in which it is not itself (F54)."""
    try:
        told, known = IPv4Address(address[0]), IPv4Address(str(host_of(present)))
    except ValueError:
        return False
    if told.is_multicast or told.is_reserved or told.packed[0] == 0:
        return False
    if told.is_loopback or told.is_link_local:
        return (told.is_loopback, told.is_link_local) == (known.is_loopback, known.is_link_local)
    return told.is_global or not known.is_global
