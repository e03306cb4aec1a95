"""Where the sessions of an endpoint are: its local addresses, the gates there, and moves between them (gao-07 10)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Final, cast

import trio

from fsp_trio._gates import Gate
from fsp_trio.core.paths import host_of
from fsp_trio.ports import Address, Batch, Port, PortStatistics, RovingPort

if TYPE_CHECKING:
    from fsp_trio._engine import SessionEngine
    from fsp_trio.core.connection import Connection
    from fsp_trio.core.settings import Settings
    from fsp_trio.session import FSPSession

MAXIMUM_GATES: Final = 16
"""Local addresses with a port of their own, at the most."""
SETTLING: Final = 0.01
"""Seconds between looks at the host's addresses, at least: changes come in swarms."""
SESSIONS_AT_ONCE: Final = 64
"""Sessions that are looked after before other tasks have their turn."""
SOURCES_REMEMBERED: Final = 1024
"""Peers for which the system's choice of a source is remembered."""


class Roaming:
    """The gates of an endpoint, and the task that watches the host's addresses."""

    def __init__(
        self, port: Port, settings: Settings, nursery: trio.Nursery, sort: Callable[[list[Batch]], None]
    ) -> None:
        self.primary = Gate(port, sort)
        self._port = port if isinstance(port, RovingPort) else None
        self._settings = settings
        self._nursery = nursery
        self._sort = sort
        self._gates: dict[Address, Gate[RovingPort]] = {}
        self._up: tuple[Address, ...] | None = None
        """The host's addresses, as far as anybody has had to know them."""
        self._bound = None if self._port is None else self._port.bound_address
        self._external: tuple[Address, ...] = ()
        self._sources: dict[Hashable, Address | None] = {}
        self._past = PortStatistics()
        """What the ports of retired gates have counted."""
        if settings.multihoming:
            if self._port is None or self._bound is not None:
                raise ValueError("an endpoint that is bound to one address cannot use all of the host's")
            self._up = self._port.addresses()
            self._open_all(self._up)

    # gates

    @property
    def gates(self) -> list[Gate[RovingPort]]:
        """Those of addresses of their own."""
        return list(self._gates.values())

    def gate(self, local: Address | None) -> Gate[Port]:
        """The gate of an address; the primary one if it has none of its own."""
        return self._gates.get(local, self.primary) if local is not None else self.primary

    def gate_at(self, local: Address) -> Gate[Port]:
        """As `gate`, opened if need be; OSError if that cannot be."""
        if local in (self._bound, host_of(self._bound)):
            return self.primary
        for gate in self._gates.values():
            if local in (gate.local, host_of(gate.local)):
                return gate
        if self._port is None or len(self._gates) >= MAXIMUM_GATES:
            raise OSError("no further local address can be used")
        port = self._port.sibling(local)
        gate = self._gates[port.local_address] = Gate(port, self._sort, port.local_address)
        self._nursery.start_soon(gate.run, name="FSP receive loop")
        return gate

    def _open_all(self, up: Sequence[Address]) -> None:
        """Multihoming: a gate for each address by which others can come."""
        for local in _usable(up)[:MAXIMUM_GATES]:
            try:
                self.gate_at(local)
            except OSError:  # it has gone again, or is not for us
                continue

    def _retire_absent(self, hosts: set[Hashable], sessions: Iterable[SessionEngine]) -> None:
        for local in [local for local in self._gates if host_of(local) not in hosts]:
            gate = self._gates.pop(local)
            for session in sessions:
                session._leave_gate(gate)
            gate.retire()
            self._past.add(gate.port.statistics)

    def close(self) -> None:
        """Close all ports but the primary one."""
        while self._gates:
            gate = self._gates.popitem()[1]
            gate.retire()
            self._past.add(gate.port.statistics)

    def statistics(self) -> PortStatistics:
        """Of all ports together; buffers and offload are the primary one's."""
        total = self.primary.port.statistics.copy()
        for statistics in (self._past, *(gate.port.statistics for gate in self._gates.values())):
            total.add(statistics)
        return total

    # what connections know

    def introduce(self, connection: Connection) -> bool:
        """Tell a connection of the addresses that it may use, and of those that it shall tell its peer (10.6).

        Whether there is news for the peer.
        """
        own = tuple(self._gates) if self._settings.multihoming else ()
        return connection.know_addresses(own, own if self._settings.advertise else self._external)

    def advertise(self, addresses: Sequence[Address], sessions: Iterable[FSPSession]) -> None:
        self._external = tuple(addresses)
        if self._port is not None and self._up is None:
            self._up = self._port.addresses()
        for session in sessions:
            if self.introduce(session._connection):
                session._announce()

    def settle_in(self, session: SessionEngine) -> None:
        """A session is established: note from where the system sends to its peer, to see when that changes."""
        if self._port is not None:
            session._source = (session._connection.remote, self._source_towards(session._connection.remote))

    def _source_towards(self, remote: Address) -> Address | None:
        assert self._port is not None
        host = host_of(remote)
        if host not in self._sources:
            if len(self._sources) >= SOURCES_REMEMBERED:
                self._sources.clear()
            self._sources[host] = self._port.source_towards(remote)
        return self._sources[host]

    # changes

    async def watch(self, sessions: Callable[[], list[FSPSession]]) -> None:
        """Look after the sessions whenever the host's addresses or routes have changed."""
        port = self._port
        while port is not None:
            await port.wait_addresses()
            await self.look(sessions)
            await trio.sleep(SETTLING)

    async def look(self, sessions: Callable[[], list[FSPSession]]) -> None:
        """The host's addresses or routes may have changed."""
        port = cast("RovingPort", self._port)
        before, up = self._up, port.addresses()
        self._up = up
        self._sources.clear()
        hosts = {host_of(local) for local in up}
        changed = before is None or set(before) != set(up)
        if changed:
            self._external = ()  # what a NAT made of the former addresses
            self._retire_absent(hosts, sessions())
            if self._settings.multihoming:
                self._open_all(up)
        for gate in self._gates.values():
            with suppress(OSError):  # F82; then there will be another look
                gate.port.choose_interface()
        for number, session in enumerate(sessions()):
            if number % SESSIONS_AT_ONCE == SESSIONS_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
            news = changed and self.introduce(session._connection)
            if session._connection.is_established and not session._ended:
                self._place(session, up, hosts, trio.current_time())
                if news:
                    session._announce()

    def _place(self, session: SessionEngine, up: Sequence[Address], hosts: set[Hashable], now: float) -> None:
        """Let a session send from where it should now (10.3)."""
        connection = session._connection
        source = self._source_towards(connection.remote)
        if source is not None and host_of(source) not in {*hosts, host_of(connection.remote)}:
            source = _best(up, connection.remote)  # F80: the system would send by a link without carrier
        peer, known = session._source
        if peer != connection.remote and host_of(known) in hosts:
            known = None  # the peer is elsewhere, so that another choice of the system's is no news
        if source is not None:
            session._source = (connection.remote, source)
        here = connection.local or self._bound
        if here is None:
            wanted = source
        elif host_of(here) not in hosts:
            wanted = source or _best(up, connection.remote)
        elif connection.chosen or here == self._bound or known is None or source in (known, None):
            wanted = here
        else:
            wanted = source  # the system prefers another one now
        away, session._away = session._away, wanted is None
        if wanted is not None:
            if host_of(wanted) != host_of(here or known or wanted):
                session._move(self._local_at(wanted), now)
            elif away:  # it is back
                session._move(None if connection.local is None else self._local_at(wanted), now)

    def _local_at(self, wanted: Address) -> Address | None:
        """The address from which a session sends then; None, the system's choice, where no port can be had there."""
        try:
            return self.gate_at(wanted).local
        except OSError:
            return None


def _usable(addresses: Sequence[Address]) -> list[Address]:
    """Those by which other hosts can come, or all if there are none such."""
    others = [each for each in addresses if not _is_loopback(each)]
    return others or list(addresses)


def _best(up: Sequence[Address], remote: Address) -> Address | None:
    """The address to be at when the system knows none: nobody else can be reached from the loopback (F81)."""
    return next((each for each in up if _is_loopback(each) == _is_loopback(remote)), None)


def _is_loopback(address: Address) -> bool:
    return str(host_of(address)).startswith("127.")
