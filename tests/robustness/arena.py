"""A live endpoint under attack: sessions in every situation, and the books of what became of each datagram."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Literal

import trio

from fsp_trio import (
    FSPBrokenError,
    FSPClosedError,
    FSPConnectError,
    FSPEndpoint,
    FSPSession,
    Settings,
    State,
    Timers,
    open_fsp_endpoint,
)
from fsp_trio.integrity import Crc64Protection
from fsp_trio.ports import Address, open_udp_port
from fsp_trio.wire.packets import AckInitConnect, InitConnect, Op, SinkParameter

from .datagrams import CODEC, Attacker
from .flood_port import FloodPort
from .parties import LISTENER, NO_PREFIXES, SERVICE, Books, Initiator, Target, seal_of, source, taken

SETTINGS = Settings(receive_window=256, receive_octets=2**18, send_buffer=2**16, timers=Timers.responsive())
MAX_TOMBSTONES = 256
VICTIM_LIFE = 3000
"""Datagrams that a victim gets before it is replaced: after one extreme serial it is deaf."""


class Arena:
    def __init__(
        self,
        endpoint: FSPEndpoint,
        peers: FSPEndpoint,
        port: FloodPort,
        peers_port: FloodPort,
        nursery: trio.Nursery,
        seed: int,
    ) -> None:
        self.endpoint = endpoint
        self.peers = peers
        """Where all honest sessions come from, and the hostile ones that are sealed."""
        self.port = port
        self.peers_port = peers_port
        self.nursery = nursery
        self.attacker = Attacker(seed)
        self.books = Books(endpoint)
        self.listener = endpoint.listen(SERVICE)
        self.targets: dict[str, Target] = {}
        self.healthy_octets = 0
        self.replaced = 0
        self.kinds: Counter[str] = Counter()
        self._numbers = 0
        self._socket_before = 0

    # the healthy session

    async def pair(self) -> tuple[FSPSession, FSPSession]:
        """A session of the honest peers with the endpoint: the endpoint's end, and theirs."""
        peer = await self.peers.open_session_to(self.port.local_address, service=SERVICE)
        while True:
            session = await self.listener.accept_session()
            if session.remote_ultid == peer.local_ultid:
                return session, peer
            session.reset()

    async def keyed_pair(self, mode: Literal["aead", "mac"] = "aead") -> tuple[FSPSession, FSPSession]:
        session, peer = await self.pair()
        ikm = self.attacker.random.randbytes(32)
        for end in (session, peer):
            end.install_key(ikm, mode=mode)
        with trio.fail_after(10):
            for sender, receiver in ((session, peer), (peer, session)):
                async with sender.send_transaction() as transaction:
                    await transaction.send_all(b"under the key")
                async for _ in await receiver.receive_transaction():
                    pass
        return session, peer

    async def start_healthy(self) -> None:
        """A keyed session that goes on, whatever happens, until the arena is left."""
        session, peer = await self.keyed_pair()
        self.targets["aead, healthy"] = Target("aead, healthy", session._connection, peer._connection._ids)
        self.nursery.start_soon(self._exchange, session, peer)

    async def _exchange(self, session: FSPSession, peer: FSPSession) -> None:
        """Send octets there and back for ever, and look at each."""
        there, back = peer.stream(), session.stream()
        sent, received = hashlib.sha256(), hashlib.sha256()

        async def echo() -> None:
            while data := await back.receive_some():
                await back.send_all(data)

        self.nursery.start_soon(echo)
        for number in range(1_000_000):
            data = number.to_bytes(4, "big") * (1 + number * 37 % 5000)
            await there.send_all(data)
            sent.update(data)
            left = len(data)
            while left:
                piece = await there.receive_some(left)
                assert piece
                received.update(piece)
                left -= len(piece)
            assert sent.digest() == received.digest()
            self.healthy_octets += len(data)
            await trio.sleep(0.002)

    # the others

    async def settle(self) -> None:
        """Everybody who is attacked, alive and in place."""
        makers: dict[str, Callable[[str], Awaitable[Target]]] = {
            "aead": self._make_hostile,
            "aead, read": self._make_hostile,
            "crc64": self._make_hostile,
            "mac": self._make_hostile,
            "crc64, bystander": self._make_bystander,
            "mac, bystander": self._make_bystander,
            "aead, bystander": self._make_bystander,
            "challenging": self._make_challenging,
            "challenging, bystander": self._make_challenging,
            "bootstrap": self._make_connecting,
            "affirming": self._make_connecting,
            "closed": self._make_closed,
            "reset": self._make_reset,
        }
        for name, make in makers.items():
            target = self.targets.get(name)
            if target is not None and not self._worn_out(target):
                continue
            if target is not None:
                self.replaced += 1
                for end in (target.session, target.peer):
                    if end is not None:
                        end.reset()
                if target.session is None:
                    target.connection.reset(1, trio.current_time())
            with trio.fail_after(10):
                self.targets[name] = await make(name)

    def _worn_out(self, target: Target) -> bool:
        if target.name in ("closed", "reset"):
            return target.ids[4:] not in self.endpoint._tombstones
        if "bystander" in target.name:
            assert not target.connection.is_over, (target.name, target.connection.failure)
            return False
        early = target.connection.is_over or target.received > VICTIM_LIFE
        wrong = target.name == "challenging" and target.connection.state is not State.CHALLENGING
        return early or wrong or (target.name == "bootstrap" and target.connection.has_windows)

    async def _pair_for(self, name: str) -> tuple[FSPSession, FSPSession]:
        if name.startswith("crc64"):
            return await self.pair()
        return await self.keyed_pair("mac" if name.startswith("mac") else "aead")

    async def _make_hostile(self, name: str) -> Target:
        session, peer = await self._pair_for(name)
        target = Target(
            name, session._connection, peer._connection._ids, seal_of(peer._connection), session=session, peer=peer
        )
        self.nursery.start_soon(self._serve_hostile, session, name == "aead, read")
        return target

    async def _serve_hostile(self, session: FSPSession, reads: bool) -> None:
        """Have something outstanding, and read or do not."""
        stream = session.stream()

        async def read() -> None:
            with suppress(FSPBrokenError, FSPClosedError):
                while await stream.receive_some():
                    pass

        if reads:
            self.nursery.start_soon(read)
        with suppress(FSPBrokenError, FSPClosedError):
            while True:
                await stream.send_all(bytes(20_000))
                await trio.sleep(0.01)

    async def _make_bystander(self, name: str) -> Target:
        """Nobody can seal for these: whatever comes is refused."""
        session, peer = await self._pair_for(name)
        await session.wait_acknowledged()
        await peer.wait_acknowledged()
        target = Target(name, session._connection, peer._connection._ids, session=session, peer=peer)
        target.accounted_before = taken(session._connection.statistics)
        return target

    async def _make_challenging(self, name: str) -> Target:
        while True:
            self._numbers += 1
            initiator = Initiator(self._numbers)
            if await initiator.shake_hands(self.port):
                break
            await trio.sleep(0.05)
        connection = initiator.connection
        session = self.endpoint._sessions[connection.remote_ultid]
        if "bystander" not in name:
            self.attacker.captured.append(initiator.request)
        seal = None if "bystander" in name else seal_of(connection)
        return Target(name, session._connection, connection._ids, seal, session=session)

    async def _make_connecting(self, name: str) -> Target:
        """The endpoint itself connects, to a place where only an attacker listens."""
        before = set(self.endpoint._sessions)

        async def connect() -> None:
            with suppress(FSPConnectError, FSPClosedError):
                session = await self.endpoint.open_session_to(source(0), service=9)
                session.reset()

        self.nursery.start_soon(connect)
        while not (new := set(self.endpoint._sessions) - before):
            await trio.lowlevel.checkpoint()
        (ultid,) = new
        session = self.endpoint._sessions[ultid]
        connection = session._connection
        if name == "bootstrap":
            return Target(name, connection, bytes(3) + b"\x09" + ultid, session=session)
        init = CODEC.decode(connection._handshake_datagram[8:])
        assert isinstance(init, InitConnect)
        offered = self.attacker.random.randbytes(4)
        sink = SinkParameter(bytes(3) + b"\x09", NO_PREFIXES)
        answer = AckInitConnect(bytes(4), bytes(8), init.init_check_code, sink)
        self.port.inject(source(0), [offered + ultid + CODEC.encode(answer)])
        await self.port.emptied()
        protection = Crc64Protection(
            offered, ultid, init.init_check_code, bytes(8), init.salt, bytes(4), init.timestamp
        )

        def seal(sn: int, head: bytes, body: bytes, out_of_band: bool) -> bytes:
            return protection.seal(offered + ultid, head, body, out_of_band)

        return Target(name, connection, offered + ultid, seal, session=session)

    async def _make_closed(self, name: str) -> Target:
        session, peer = await self.pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.aclose)
            nursery.start_soon(peer.aclose)
        await self._until(lambda: session.local_ultid in self.endpoint._tombstones)
        return Target(name, session._connection, peer._connection._ids, seal_of(peer._connection))

    async def _make_reset(self, name: str) -> Target:
        session, peer = await self.pair()
        session.reset(5)
        return Target(name, session._connection, peer._connection._ids, seal_of(peer._connection))

    async def _until(self, happened: Callable[[], bool]) -> None:
        with trio.fail_after(10):
            while not happened():
                await trio.sleep(0.005)

    # the attack

    async def flood(self, datagrams: int) -> None:
        """So many datagrams through the port, in batches of all sizes."""
        chance = self.attacker.random
        while datagrams > 0:
            await self.settle()
            self.attacker.captured = [*self.peers_port.captured, *self.attacker.captured[-20:]]
            for _ in range(80):
                batch = self._batch()
                self.port.inject(self._source(), batch, congested=chance.random() < 0.1)
                datagrams -= len(batch)
            await self.port.emptied()

    async def flood_through_socket(self, datagrams: int) -> int:
        """As `flood`, from a socket of the attacker's own, so that ports and system calls take part."""
        sent = 0
        self._socket_before = self.port.statistics.datagrams_received - self.peers.statistics().port.datagrams_sent
        there = self.port.local_address
        assert isinstance(there, tuple)
        with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as attacking:
            await attacking.bind(("127.0.0.1", 0))
            while sent < datagrams:
                await self.settle()
                self.attacker.captured = [*self.peers_port.captured, *self.attacker.captured[-20:]]
                for datagram in self._batch():
                    await attacking.sendto(datagram, there)
                    sent += 1
        await trio.sleep(0.2)
        return sent

    def from_socket(self) -> int:
        """Datagrams that the port has received from the attacker's socket."""
        peers = self.peers.statistics().port.datagrams_sent
        return self.port.statistics.datagrams_received - peers - self._socket_before

    def _source(self) -> Address:
        chance = self.attacker.random
        return self.peers.local_address if chance.random() < 0.3 else source(chance.randrange(10_000))

    def _batch(self) -> list[bytes]:
        chance = self.attacker.random
        size = chance.choice((1, 1, 4, 16, 32))
        kind = chance.randrange(10)
        attacker = self.attacker
        if kind == 0:
            self.kinds["noise"] += size
            return [attacker.noise() for _ in range(size)]
        if kind == 1:
            self.kinds["altered or replayed"] += size
            return [attacker.replayed() if chance.random() < 0.1 else attacker.altered() for _ in range(size)]
        if kind == 2:
            self.kinds["to listeners and to nobody"] += size
            return [
                attacker.packet(chance.randbytes(4) + chance.choice((LISTENER, b"\0\0\0\x08", chance.randbytes(4))))
                for _ in range(size)
            ]
        target = chance.choice(list(self.targets.values()))
        target.received += size
        if target.seal is not None and kind < 9:
            self.kinds[f"sealed nonsense, {target.name}"] += size
            return [self._sealed(target) for _ in range(size)]
        self.kinds[f"noise and packets, {target.name}"] += size
        make = (attacker.noise, attacker.packet)
        return [chance.choice(make)(target.ids) for _ in range(size)]

    def _sealed(self, target: Target) -> bytes:
        assert target.seal is not None
        connection = target.connection
        if not connection.has_windows:
            return self._acceptance(target)
        return self.attacker.sealed(target.numbers, target.seal)

    def _acceptance(self, target: Target) -> bytes:
        """An ACK_CONNECT_REQ that is nearly right."""
        chance = self.attacker.random
        assert target.seal is not None
        right = target.connection._initial_sn
        expected = right if chance.random() < 0.5 else chance.getrandbits(32)
        body = chance.choice((b"", chance.randbytes(8), chance.randbytes(1000)))
        offset = chance.choice((24, 32, 64, 25, 0xFFF8))
        sn = chance.getrandbits(32)
        op_code = CODEC.op_codes[Op.ACK_CONNECT_REQ]
        head = CODEC.head(op_code, offset, self.attacker.flags(), self.attacker.window(), sn, expected)
        return target.seal(sn, head, body, False)

    # the books

    def check(self) -> None:
        """Every datagram that arrived is accounted for."""
        books, endpoint = self.books, self.endpoint
        listener = self.listener.statistics()
        requests = listener.accepted + listener.waiting + listener.challenging + listener.unconfirmed + listener.refused
        to_nobody = self.port.arrived - books.to_sessions - books.to_tombstones
        drops = sum(endpoint._drops.values()) - books.tombstone_drops.total()
        assert to_nobody == drops + endpoint._challenges + requests
        asleep = endpoint._drops.get("closed-ultid", 0)
        received = sum(statistics.packets_received for statistics in books.statistics)
        assert received + endpoint._inbox_drops == books.to_sessions + books.to_tombstones - asleep
        assert all(taken(statistics) >= 0 for statistics in books.statistics)
        accepted = sum(taken(statistics) + statistics.duplicates for statistics in books.statistics)
        assert self.port.arrived == self.drops().total() + accepted + endpoint._challenges + requests
        for name in ("crc64", "mac", "aead"):
            assert self.targets[f"{name}, bystander"].unaccounted == 0

    def drops(self) -> Counter[str]:
        """All that was refused, by kind, each datagram once."""
        total = Counter(self.endpoint._drops)
        total.subtract({reason: n for reason, n in self.books.tombstone_drops.items() if reason != "closed-ultid"})
        total["(inbox full)"] = self.endpoint._inbox_drops
        for statistics in self.books.statistics:
            total.update(statistics.drops)
        return total


@asynccontextmanager
async def open_arena(seed: int) -> AsyncGenerator[Arena, None]:
    ports = [FloodPort(await open_udp_port("127.0.0.1", 0)) for _ in range(2)]
    first, second = (
        open_fsp_endpoint(transport=port, settings=SETTINGS, max_tombstones=MAX_TOMBSTONES) for port in ports
    )
    async with first as endpoint, second as peers, trio.open_nursery() as nursery:
        yield Arena(endpoint, peers, ports[0], ports[1], nursery, seed)
        nursery.cancel_scope.cancel()
