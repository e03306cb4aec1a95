"""Following the connections of a capture: from the handshake on, over keys, re-keying, branches and moves.

A decoder sees what both ends see, and neither what they know nor what they do with it: packets are taken as they
come, whether or not an end would have accepted them, and only a good integrity check code changes what is known.
Nothing raises, whatever the capture contains, and what is remembered is bounded.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, TypeAlias

from fsp_trio.capture.connections import Branch, Connection, Handshake
from fsp_trio.capture.dialects import Dialect
from fsp_trio.capture.frames import Datagram
from fsp_trio.capture.keys import Candidate
from fsp_trio.capture.packets import DecodedPacket
from fsp_trio.keylog import KeyLogEntry
from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.packets import AckInitConnect, ConnectRequest, InitConnect, Op, Packet, Reset
from fsp_trio.wire.serial import sub

__all__ = ["DEFAULT_REKEY_THRESHOLD", "Evidence", "Follower"]

DEFAULT_REKEY_THRESHOLD: Final = 2**29
MOST_CONNECTIONS: Final = 16_384
"""Connections, branches and handshakes remembered; the ones silent for longest are forgotten first."""
MOST_SHARING: Final = 16
"""Connections with the same ULTID at one end, which a MULTIPLY to it may belong to."""
SMALLEST: Final = 32
"""Octets of ULTIDs and fixed header."""
WELL_KNOWN_PORT: Final = 18003

_PRELIMINARY = (InitConnect, AckInitConnect, ConnectRequest)
_AFTER_HANDSHAKE: Final = frozenset(Op) - {Op.INIT_CONNECT, Op.ACK_INIT_CONNECT, Op.CONNECT_REQUEST}
_OUT_OF_BAND: Final = frozenset({Op.KEEP_ALIVE, Op.ACK_FLUSH, Op.MULTIPLY})

Evidence: TypeAlias = Mapping[tuple[bytes, bytes], int]
"""By source and destination ULTID: the newest number that was good under CRC64.  No earlier one was under a key."""


class Follower:
    """Takes the datagrams of a capture in their order and tells what they are.

    `dialects` are the revisions to be expected, the likeliest first; with more than one each connection is taken
    for that whose handshake it has.  `survey` gives, if a whole reading of the capture is possible in advance, the
    `evidence` of a Follower that has taken all of it: with it a damaged packet under CRC64 can be told from one
    under a key that is not in the key log.
    """

    def __init__(
        self,
        dialects: Sequence[Dialect],
        key_log: Iterable[KeyLogEntry] = (),
        *,
        rekey_threshold: int = DEFAULT_REKEY_THRESHOLD,
        survey: Callable[[], Evidence] | None = None,
    ) -> None:
        self._dialects = tuple(dialects)
        self._rekey_threshold = rekey_threshold
        self._survey = survey
        self._surveyed: Evidence | None = None
        self._evidence: dict[tuple[bytes, bytes], int] = {}
        self._connections: OrderedDict[bytes, Connection] = OrderedDict()
        """By both ULTIDs, the smaller first."""
        self._by_ultid: dict[bytes, list[Connection]] = {}
        self._invitations: OrderedDict[bytes, InitConnect] = OrderedDict()
        """INIT_CONNECT by the initiator's ULTID."""
        self._branches: OrderedDict[bytes, Branch] = OrderedDict()
        """Branches whose responder has not spoken, by the initiator's ULTID."""
        self._latest = self._dialects[0]
        self._entries: dict[bytes, list[KeyLogEntry]] = {}
        self.unusable: list[KeyLogEntry] = []
        """Entries of the key log that no revision at hand can use."""
        self.revisions: dict[str, int] = {}
        """How many handshakes of each revision were recognized."""
        self.ignored = 0
        """Datagrams that are not of this protocol."""
        names = {dialect.name for dialect in self._dialects}
        for entry in key_log:
            if entry.revision in names:
                self._entries.setdefault(_pair(entry.ultid_a, entry.ultid_b), []).append(entry)
            else:
                self.unusable.append(entry)

    @property
    def likeliest(self) -> str:
        """The revision that packets of no known connection are taken for."""
        return self._latest.name

    @property
    def evidence(self) -> Evidence:
        """What a Follower that reads the capture once more can use."""
        return self._evidence

    def take(self, datagram: Datagram) -> list[DecodedPacket]:
        """The packets in a datagram: none if it is not of this protocol, several if a host left cutting to others."""
        packet = self._take(datagram, datagram.payload)
        if packet is None or (packet.icc_ok is not True and packet.mode != "none"):
            packets = [self._take(datagram, segment) for segment in segments(datagram.payload)]
            if packets and None not in packets:
                return [packet for packet in packets if packet is not None]
        if packet is None:
            self.ignored += 1
            return []
        return [packet]

    def _take(self, datagram: Datagram, payload: bytes) -> DecodedPacket | None:
        told = DecodedPacket(
            datagram.n, datagram.time, datagram.source, datagram.destination, payload[:4], payload[4:8]
        )
        if len(payload) < SMALLEST:
            if WELL_KNOWN_PORT not in datagram.ports:
                return None
            told.notes.append("shorter than any packet")
            return told
        if datagram.cut:
            told.notes.append("cut short in the capture")
        connection = self._connection(told.src_ultid, told.dst_ultid)
        dialect = connection.dialect if connection is not None else self._latest
        if connection is None or self._op(dialect, payload) not in _AFTER_HANDSHAKE:
            preliminary = self._preliminary(payload)
            if preliminary is not None:
                dialect, packet = preliminary
                self._tell_preliminary(told, dialect, packet)
                return told
        if connection is None:
            dialect = next((d for d in (self._latest, *self._dialects) if _plausible(d, payload)), dialect)
            if not _plausible(dialect, payload) and WELL_KNOWN_PORT not in datagram.ports:
                return None
        self._tell_normal(told, dialect, connection, payload, datagram.cut)
        return told

    @staticmethod
    def _op(dialect: Dialect, payload: bytes) -> Op | None:
        return dialect.codec.ops.get(dialect.codec.unpack_head(payload, 8)[0])

    # connections

    def _connection(self, source: bytes, destination: bytes) -> Connection | None:
        pair = _pair(source, destination)
        connection = self._connections.get(pair)
        if connection is not None:
            self._connections.move_to_end(pair)
            return connection
        if source in self._branches or destination in self._branches:
            return None  # a key of the branch's own does not tell what its first packets are under
        return self._logged(source, destination)

    def _logged(self, source: bytes, destination: bytes) -> Connection | None:
        """A connection that only the key log knows: its handshake is not in the capture."""
        entries = self._entries.get(_pair(source, destination))
        if entries is None:
            return None
        dialect = next(d for d in self._dialects if d.name == entries[0].revision)
        return self._remember(Connection(dialect, source, destination))

    def _remember(self, connection: Connection) -> Connection:
        pair = _pair(*connection.ultids)
        self._connections[pair] = connection
        for ultid in connection.ultids:
            sharing = self._by_ultid.setdefault(ultid, [])
            sharing.append(connection)
            del sharing[:-MOST_SHARING]
        for entry in self._entries.get(pair, ()):
            try:
                if entry.revision == connection.dialect.name:
                    connection.install(entry, self._rekey_threshold)
                    continue
            except ValueError:
                pass
            if entry not in self.unusable:
                self.unusable.append(entry)
        if len(self._connections) > MOST_CONNECTIONS:
            self._forget(self._connections.popitem(last=False)[1])
        return connection

    def _forget(self, connection: Connection) -> None:
        for ultid in connection.ultids:
            sharing = self._by_ultid.get(ultid, [])
            if connection in sharing:
                sharing.remove(connection)
            if not sharing:
                self._by_ultid.pop(ultid, None)

    # the handshake

    def _preliminary(self, payload: bytes) -> tuple[Dialect, Packet] | None:
        """The packet, if it is one of the first three, and the revision that it belongs to.

        INIT_CONNECT of gao-07 and that of reference-2020 are the same; then the latest revision seen is as good
        as the other.  The next two packets tell.
        """
        for dialect in (self._latest, *(d for d in self._dialects if d is not self._latest)):
            if self._op(dialect, payload) not in _AFTER_HANDSHAKE:
                try:
                    packet = dialect.codec.decode(payload[8:])
                except MalformedPacket:
                    continue
                if isinstance(packet, _PRELIMINARY):
                    return dialect, packet
        return None

    def _tell_preliminary(self, told: DecodedPacket, dialect: Dialect, packet: Packet) -> None:
        source, destination = told.src_ultid, told.dst_ultid
        told.revision, told.mode, told.payload = dialect.name, "none", b""
        if isinstance(packet, InitConnect):
            told.opcode = Op.INIT_CONNECT.label
            told.payload = packet.host_name
            self._invitations[source] = packet
            self._invitations.move_to_end(source)
            if len(self._invitations) > MOST_CONNECTIONS:
                self._invitations.popitem(last=False)
        elif isinstance(packet, AckInitConnect):
            told.opcode = Op.ACK_INIT_CONNECT.label
            self._meet(dialect)
            told.extensions = (packet.sink,) if packet.sink is not None else ()
            init = self._invitations.get(destination)
            if init is not None and init.init_check_code == packet.init_check_code:
                handshake = Handshake(
                    packet.init_check_code, packet.cookie, init.salt, packet.time_delta, init.timestamp
                )
                self._shake_hands(dialect, destination, source, handshake)
        elif isinstance(packet, ConnectRequest):
            told.opcode = Op.CONNECT_REQUEST.label
            self._meet(dialect)
            told.extensions = (packet.sink,)
            told.payload = packet.host_name
            handshake = Handshake(
                packet.init_check_code, packet.cookie, packet.salt, packet.time_delta, packet.timestamp
            )
            self._shake_hands(dialect, source, destination, handshake)
        for name in ("salt", "timestamp", "init_check_code", "time_delta", "cookie", "initial_sn"):
            value = getattr(packet, name, None)
            if value is not None:
                told.fields[name] = value.hex() if isinstance(value, bytes) else str(value)

    def _meet(self, dialect: Dialect) -> None:
        self._latest = dialect
        self.revisions[dialect.name] = self.revisions.get(dialect.name, 0) + 1

    def _shake_hands(self, dialect: Dialect, initiator: bytes, responder: bytes, handshake: Handshake) -> None:
        connection = self._connection(initiator, responder)
        if connection is None:
            connection = self._remember(Connection(dialect, initiator, responder))
        if connection.dialect is dialect:
            connection.shake_hands(handshake)

    # all other packets

    def _tell_normal(
        self, told: DecodedPacket, dialect: Dialect, connection: Connection | None, payload: bytes, cut: bool
    ) -> None:
        codec = dialect.codec
        told.revision = dialect.name
        op_code, major, offset, flags_window, sn, expected = codec.unpack_head(payload, 8)
        op = codec.ops.get(op_code)
        if op is None:
            told.notes.append(f"unknown operation code {op_code}")
            return
        told.opcode = op.label
        if major:
            told.notes.append(f"major version {major}")
        if op not in _AFTER_HANDSHAKE:
            told.mode = "none"
            told.notes.append("malformed")
            return
        told.sn = sn
        if op is Op.RESET and dialect.reset_has_reason:
            told.fields["reason"] = str(flags_window)
        else:
            told.flags = dialect.flag_names(flags_window >> 24)
            told.window = flags_window & 0xFFFFFF
        told.out_of_band = op in _OUT_OF_BAND
        if told.out_of_band:
            try:
                told.oob_serial = codec.serial(payload)
            except MalformedPacket:
                told.notes.append("no serial number")
        else:
            told.expected_sn = expected
        if op is Op.RESET and self._tell_early_reset(told, dialect, connection, payload):
            return
        if op is Op.ACK_CONNECT_REQ and not dialect.revision.acceptance_is_sealed:
            told.mode = "none"
            self._tell_body(told, dialect, op_code, offset, payload[SMALLEST:])
            return
        if op is Op.MULTIPLY:
            found, body, tried = self._open_multiply(told, payload)
        elif connection is not None:
            found, body, tried = self._open(self._candidates(connection, told, op), payload, told.out_of_band)
        else:
            found, body, tried = self._open_branch(told, payload)
            if found is None and (connection := self._logged(told.src_ultid, told.dst_ultid)) is not None:
                found, body, tried = self._open(self._candidates(connection, told, op), payload, told.out_of_band)
        if found is not None:
            told.icc_ok, told.mode, told.key = True, found.mode, found.name
            found.proved(sn)
            if found.mode == "crc64":
                self._note_crc64(told)
            self._tell_body(told, dialect, op_code, offset, body)
            return
        if not tried:
            told.notes.append("of no connection that is known")
            return
        likeliest = tried[0]
        if likeliest.protection is None:
            told.notes.append("no key for it")
        told.mode = likeliest.mode
        told.icc_ok = self._judge(told, op, connection, likeliest, cut)
        if told.icc_ok is None and likeliest.mode == "crc64" and not cut:
            told.mode = None
        elif likeliest.mode != "gcm":
            self._tell_body(told, dialect, op_code, offset, payload[SMALLEST:])

    @staticmethod
    def _candidates(connection: Connection, told: DecodedPacket, op: Op) -> Iterator[Candidate]:
        direction = connection.directions[told.src_ultid]
        assert told.sn is not None
        if op is Op.ACK_CONNECT_REQ:
            return direction.acceptance()
        # a RESET may be numbered beyond everything that was sent, or repeat what is old
        return connection.candidates(told.src_ultid, told.sn, told.out_of_band or op is Op.RESET)

    @staticmethod
    def _open(
        candidates: Iterable[Candidate], payload: bytes, out_of_band: bool
    ) -> tuple[Candidate | None, bytes, list[Candidate]]:
        """The candidate that fits and the body in plaintext; and all that were tried."""
        tried = []
        for candidate in candidates:
            tried.append(candidate)
            if candidate.protection is not None:
                try:
                    body = candidate.protection.open(payload, out_of_band)
                except MalformedPacket:
                    continue  # its protection cannot be told from what else is in it
                if body is not None:
                    return candidate, body, tried
        return None, b"", tried

    def _judge(
        self, told: DecodedPacket, op: Op, connection: Connection | None, likeliest: Candidate, cut: bool
    ) -> bool | None:
        """False if the packet is damaged, None if it may as well be good under a key that is not known."""
        if cut or likeliest.protection is None:
            return None
        if likeliest.mode != "crc64" or op is Op.ACK_CONNECT_REQ:
            return False
        if connection is not None and connection.directions[told.src_ultid].eras:
            return False  # numbered before the first key
        key = (told.src_ultid, told.dst_ultid)
        assert told.sn is not None
        for evidence in (self._evidence, self._whole()):
            newest = evidence.get(key)
            if newest is not None and sub(told.sn, newest) <= 0:
                return False
        return None

    def _whole(self) -> Evidence:
        if self._surveyed is None:
            self._surveyed = self._survey() if self._survey is not None else {}
        return self._surveyed

    def _note_crc64(self, told: DecodedPacket) -> None:
        key = (told.src_ultid, told.dst_ultid)
        newest = self._evidence.get(key)
        assert told.sn is not None
        if newest is None or sub(told.sn, newest) > 0:
            self._evidence[key] = told.sn
            if len(self._evidence) > 2 * MOST_CONNECTIONS:
                del self._evidence[next(iter(self._evidence))]

    @staticmethod
    def _tell_body(told: DecodedPacket, dialect: Dialect, op_code: int, offset: int, body: bytes) -> None:
        headers = offset + 8 - SMALLEST
        if not 0 <= headers <= len(body):
            told.notes.append("malformed: offset")
            told.payload = body
            return
        told.payload = body[headers:]
        try:
            told.extensions = dialect.codec.extensions(body[:headers])
            dialect.codec.check_shape(op_code, offset, 0x80, len(told.payload))
            dialect.codec.check_extensions(op_code, told.extensions)
        except MalformedPacket as malformed:
            told.notes.append(f"malformed: {malformed.reason}")

    def _tell_early_reset(
        self, told: DecodedPacket, dialect: Dialect, connection: Connection | None, payload: bytes
    ) -> bool:
        """A RESET that answers a packet of the handshake repeats two fields of it, and has no other proof."""
        try:
            packet = dialect.codec.decode(payload[8:])
        except MalformedPacket as malformed:
            told.notes.append(f"malformed: {malformed.reason}")
            return False
        if not isinstance(packet, Reset):
            return False
        echo = (packet.first, packet.proof)
        init = self._invitations.get(told.dst_ultid)
        proofs = [(h.timestamp, h.cookie) for h in connection.handshakes] if connection is not None else []
        if init is not None:
            proofs.append((init.timestamp, init.init_check_code))
        if echo not in proofs:
            return False
        told.sn = told.expected_sn = told.window = None
        told.flags, told.mode, told.payload = (), "none", b""
        told.fields["reason"] = str(packet.reason)
        told.notes.append("refuses the connection")
        return True

    # branches

    def _open_multiply(self, told: DecodedPacket, payload: bytes) -> tuple[Candidate | None, bytes, list[Candidate]]:
        """MULTIPLY comes from a ULTID that is new, under a key of the parent."""
        sn = told.sn
        assert sn is not None
        tried = []
        for parent in reversed(self._by_ultid.get(told.dst_ultid, ())):
            initiator = parent.peer_of(told.dst_ultid)
            found, body, more = self._open(parent.candidates(initiator, sn, True), payload, True)
            if found is None:
                tried += more
                continue
            known = self._branches.get(told.src_ultid)
            if known is None or known.parent is not parent:
                branch = Branch(parent, told.src_ultid, told.dst_ultid, sn)
                if found.era is not None:
                    branch.secret, branch.batch = found.era.secret, found.batch
                self._branches[told.src_ultid] = branch
                if len(self._branches) > MOST_CONNECTIONS:
                    self._branches.popitem(last=False)
            return found, body, tried
        return None, b"", tried

    def _open_branch(self, told: DecodedPacket, payload: bytes) -> tuple[Candidate | None, bytes, list[Candidate]]:
        """A packet between unknown ends may be the first one of a branch: the responder's new ULTID is learnt."""
        sn = told.sn
        assert sn is not None
        branch = self._branches.get(told.dst_ultid)
        first = sn
        if branch is None:
            branch = self._branches.get(told.src_ultid)
            if branch is None:
                return None, b"", []
            first = ((told.expected_sn or 0) - 1) & 0xFFFFFFFF
        peer = told.src_ultid if branch.initiator_ultid == told.dst_ultid else told.dst_ultid
        tried: list[Candidate] = []
        for responder_sn in (first, first + 1 & 0xFFFFFFFF):
            try:
                connection = branch.begin(peer, branch.key(responder_sn), responder_sn)
            except ValueError:
                continue
            candidates = connection.candidates(told.src_ultid, sn, told.out_of_band or told.opcode == "RESET")
            found, body, more = self._open(candidates, payload, told.out_of_band)
            if found is not None:
                if told.opcode != "RESET":  # else it rejects the branch (11.2), and comes from the parent's ULTID
                    self._remember(connection)
                return found, body, []
            tried += more
        return None, b"", tried


def segments(payload: bytes) -> list[bytes]:
    """Packets of equal length, but for a shorter last one, that an offloading host handed over in one piece.

    What tells them is that each begins with the same ULTIDs.  Empty if it is not so.
    """
    ids = payload[:8]
    size = payload.find(ids, SMALLEST)
    while size > 0:
        starts = range(0, len(payload), size)
        if all(payload.startswith(ids, start) for start in starts) and len(payload) - starts[-1] >= SMALLEST:
            return [payload[start : start + size] for start in starts]
        size = payload.find(ids, size + 1)
    return []


def _pair(one: bytes, other: bytes) -> bytes:
    return one + other if one <= other else other + one


def _plausible(dialect: Dialect, payload: bytes) -> bool:
    """The fixed header is that of a packet."""
    codec = dialect.codec
    op_code, major, offset, flags_window, _, _ = codec.unpack_head(payload, 8)
    if major or offset > len(payload) - 8:
        return False
    try:
        codec.check_shape(op_code, offset, flags_window >> 24, len(payload) - 8 - offset)
    except MalformedPacket:
        return False
    return True
