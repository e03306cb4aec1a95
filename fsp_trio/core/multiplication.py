"""Ninth layer of a connection: branches of it, made by either end (gao-07 3.5, 5.15, 5.16, 11).

A branch is a connection of its own, with ULTIDs, numbers and a key of its own.  Its first packet, MULTIPLY, is an
out-of-band packet of the parent (11.1), under the parent's key; everything else is under the branch's (M24).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Self

from fsp_trio.core.failure import FailureKind, MultiplicationRefused, ResetReason
from fsp_trio.core.handshake import REPEAT_ACCEPTANCE_AFTER, Handshake, distant_number
from fsp_trio.core.incoming import LIMBO_DATAGRAM
from fsp_trio.core.keyring import LIMBO, Era, Secret
from fsp_trio.core.lineage import MOST_BRANCHES
from fsp_trio.core.link import LAST_SERIAL, MASK
from fsp_trio.core.outgoing import UNMEASURED_SNACK
from fsp_trio.core.paths import Address, Route
from fsp_trio.core.receive_window import ReceiveWindow
from fsp_trio.core.send_window import Block, SendWindow
from fsp_trio.integrity.branch import Branching
from fsp_trio.revisions.states import CONNECTED, Event, State
from fsp_trio.wire.codec import NORMAL_HEADER, ULTID_PAIR
from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.packets import FLAG_EOT, Op, sink_among

MOST_REQUESTS = 256
"""Requests for branches that wait to be looked at."""
MOST_REFUSALS = 64
"""Refusals of a connection that are remembered, to be repeated; the oldest makes room."""
_ANSWERS = frozenset({(Op.NULCOMMIT, True), (Op.PERSIST, False), (Op.PERSIST, True)})
"""What answers MULTIPLY (11.2), with or without EoT."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a branch comes from."""

    branching: Branching
    serial: int
    """Out-of-band serial number of the MULTIPLY, in the parent."""
    secret: Secret
    """What the MULTIPLY was under."""
    index: int
    """Which batch of it."""
    uses: int
    """How often this end has applied that key: the branch inherits its remaining life (11.1)."""


@dataclass(frozen=True, slots=True)
class BranchRequest:
    """A MULTIPLY that the peer has sealed, to be accepted or refused; it was not there before."""

    origin: Origin
    flags: int
    window: int
    payload: bytes
    arrived: float

    @property
    def initiator_ultid(self) -> bytes:
        return self.origin.branching.initiator_ultid


@dataclass(slots=True)
class Family:
    """What a connection knows of the branches that its peer has asked for."""

    requests: list[BranchRequest] = field(default_factory=list)
    live: dict[bytes, Multiplication] = field(default_factory=dict)
    """Branches accepted, by the initiator's ULTID."""
    unheard: list[Multiplication] = field(default_factory=list)
    """Branches whose answer the initiator asks for again."""
    refusals: dict[bytes, bytes] = field(default_factory=dict)
    """RESET packets that ended branches before the initiator has acknowledged anything, by its ULTID (M22)."""

    def refused(self, initiator_ultid: bytes, datagram: bytes) -> None:
        if len(self.refusals) >= MOST_REFUSALS:
            del self.refusals[next(iter(self.refusals))]
        self.refusals[initiator_ultid] = datagram


class Multiplication(Handshake):
    """Makes branches, and takes those that the peer makes."""

    __slots__ = ("_answer_at", "_family", "_origin", "_parents_family")

    def _begin(self, now: float) -> None:
        super()._begin(now)
        self._family: Family | None = None
        """Of branches that the peer has made of this connection."""
        self._parents_family: Family | None = None
        """That in which this connection is a branch which the peer has made."""
        self._origin: Origin | None = None
        self._answer_at = math.inf
        """When a branch that was accepted is answered without data (F28)."""

    # making a branch

    def may_multiply(self) -> bool:
        """Whether a branch can be made now; False while a key takes effect.

        Raises MultiplicationRefused if that does not come of itself.
        """
        if self.state not in CONNECTED:
            raise MultiplicationRefused(f"the connection cannot be multiplied in state {self.state.name}")  # 5.15
        if not self.keyring.keyed:
            raise MultiplicationRefused("a connection without a key cannot be multiplied (M23)")
        newest = self.keyring.sending.newest
        if self._pending_secret is not None or not self._new_key_heard:
            return False
        if not self.keyring.sending.begun(self.sent.next_sn):  # its number would call for the key before (M24)
            if self._announce_key or self.queue:
                return False
            raise MultiplicationRefused("nothing has been sent under the newest key")
        if not self._multiplies(newest.secret):
            raise MultiplicationRefused("a connection under a MAC has no branches in this revision")
        if newest.secret.lineage.full or self._serial >= LAST_SERIAL - 1:
            raise MultiplicationRefused("the key has been multiplied too often")
        return True

    def _multiplies(self, secret: Secret) -> bool:
        return secret.mode == "aead" or (secret.mode == "mac" and self.revision.mac_multiplies)

    @classmethod
    def multiply(cls, parent: Multiplication, local_ultid: bytes, first: bytes, *, ends: bool, now: float) -> Self:
        """API Multiply (5.15): a branch of `parent`, whose `may_multiply` must say yes.

        `first`: octets of the first transaction, ended if `ends`; as many as fit travel in MULTIPLY (11.1).
        MultiplicationRefused if `local_ultid` has served a branch of the same master key before (M23).
        """
        if not parent.may_multiply():
            raise MultiplicationRefused("a key has not yet taken effect")
        era = parent.keyring.sending.newest
        if not era.secret.lineage.draw(local_ultid):
            raise MultiplicationRefused("the ULTID has served a branch before")
        self = cls._descend(parent, local_ultid, parent.remote_ultid, now)
        sn = (parent.sent.next_sn - 1) & MASK  # B11, M21
        serial = parent._next_serial()
        origin = Origin(
            Branching(local_ultid, parent.remote_ultid, sn, serial), serial, era.secret, era.index(sn), era.uses
        )
        self._origin = origin
        self._take_key(serial)
        self._serial = serial  # M24: the serials go on
        self.sent = SendWindow(sn, 1)
        self._begin_receiving(0)  # the acceptor's numbers come with its answer
        self._happen(Event.MULTIPLY)
        self._send_multiply(parent, first, ends, now)
        parent._life_over(sn, 1, now)
        return self

    def _send_multiply(self, parent: Multiplication, first: bytes, ends: bool, now: float) -> None:
        payload, ended = b"", None
        if first:
            self.queue.append(first)
            if ends:
                self._ordinal = 1
                self.queue.end(1)
            if self.queue.ready:
                payload, ended = self.queue.cut(self.payload_limit)
        self._own_open = not ends
        flags = FLAG_EOT if ended is not None or (ends and not first) else 0
        sn, serial = self.sent.next_sn, self._serial
        codec = self.codec
        head = codec.head(codec.op_codes[Op.MULTIPLY], NORMAL_HEADER, flags, self.received.window, sn, serial)
        datagram = parent.keyring.sending.run(sn)[0].seal(self._ids, head, payload, True)
        block = Block(sn, payload, datagram, 0, now)
        block.in_flight = False  # the clock repeats it, not the state of the path (F30)
        self.macroflow.sent(len(datagram))  # the pacer counts it
        self.macroflow.forgotten(len(datagram))
        self.sent.append(block)
        if flags:
            self._end_sent(block, ended.ordinal if ended is not None else 0)
        self._handshake_datagram = datagram
        self._handshake_times = 1
        self._urgent.append(datagram)
        self.statistics.count_sent(Op.MULTIPLY)
        self.statistics.payload_sent += len(payload)

    @classmethod
    def _descend(cls, parent: Multiplication, local_ultid: bytes, remote_ultid: bytes, now: float) -> Self:
        """A connection with what a branch takes from its parent, whichever end makes it."""
        self = cls(
            parent.revision,
            parent.settings,
            local_ultid=local_ultid,
            remote_ultid=remote_ultid,
            remote=parent.remote,
            now=now,
            congestion=parent._congestion,
        )
        self._begin(now)
        self.payload_limit = parent.payload_limit
        self._take_path(parent.remote, parent.local, now)
        self.descend_from(parent)
        if parent.rtt.measured:
            self.rtt.sample(parent.rtt.srtt)  # 8.5.1
        return self

    def _take_key(self, responder_sn: int) -> None:
        """The branch's key, where the acceptor's first number is, or would be, `responder_sn` (11.5, M23, M24)."""
        origin = self._origin
        assert origin is not None
        branching = replace(origin.branching, responder_sn=responder_sn)
        secret = origin.secret.branch(self.revision.integrity, origin.index, branching)
        first = (branching.multiply_sn + 1) & MASK
        if self.local_ultid == branching.initiator_ultid:
            self.keyring = self._new_keyring(secret, first, responder_sn, origin.uses)
            self.keyring.sending.newest.proven = True  # nobody else can answer MULTIPLY
        else:
            self.keyring = self._new_keyring(secret, responder_sn, first, origin.uses)

    def _open_as_branch(self, datagram: bytes, sn: int, now: float) -> bytes | None:
        """What the acceptor says before we know its first number, which `sn` then is; None if it is not the peer's."""
        if self.revision.branch_key_of_numbers:
            self._take_key(sn)
        return self._open(datagram, self.keyring.receiving.newest.batch(0)[0], False, now)

    def _receive_answer_untrusted(self, op: Op, datagram: bytes, source: Address, now: float) -> None:
        """The first packet of the acceptor's (5.15, 11.2, M25); it has a ULTID that is new."""
        drop = self.statistics.drop
        codec = self.codec
        op_code, _, offset, flags_window, sn, expected = codec.unpack_head(datagram, ULTID_PAIR)
        flags, window = flags_window >> 24, flags_window & 0xFFFFFF
        try:
            codec.check_shape(op_code, offset, flags, len(datagram) - ULTID_PAIR - offset)
        except MalformedPacket as malformed:
            return drop(malformed.reason)
        if op is Op.PURE_DATA and len(datagram) <= LIMBO_DATAGRAM and len(self._limbo) < LIMBO:
            self._limbo.append((datagram, source, self._arrived_at, now))
            return None
        if (op, bool(flags & FLAG_EOT)) not in _ANSWERS:
            return drop("state")
        if datagram[:4] == self.local_ultid:
            return drop("source-ultid")
        if expected != self.sent.next_sn:
            return drop("acknowledgement")
        body = self._open_as_branch(datagram, sn, now)
        if body is None:
            return None
        headers = offset - NORMAL_HEADER
        try:
            sink = sink_among(codec.extensions(body[:headers]))
        except MalformedPacket as malformed:
            return drop(malformed.reason)
        secret = self.keyring.receiving.newest.secret
        first = self.sent.next_sn
        if flags & self.revision.unsupported_flags:
            return self._fail(Event.RESET, FailureKind.UNSUPPORTED, ResetReason.UNSUPPORTED, now)  # F5
        if self.keyring.too_near(secret, first, sn, self.received.capacity):  # N2b
            return self._fail(Event.RESET, FailureKind.KEY_EXHAUSTED, ResetReason.KEY_EXHAUSTED, now)
        self._take_key(sn)
        self._serial_era = self.keyring.receiving.newest
        self._set_remote_ultid(datagram[:4])
        self._begin_receiving(sn)
        self._told(sn, self.received.window)
        self.sent.advertise_anew(expected, window)
        self._address_newest = ((sn - 1) & MASK, 0)
        limbo, self._limbo = self._limbo, []
        self._authentic(sn, 0, source, sink, flags, now, follows=True)
        payload = body[headers:]
        if flags & self.revision.minimal_delay_flag:
            self._take_message(op, flags, payload, sn, expected, window, now)
        else:
            self._take_in_order(op, flags, payload, expected, window, now)
        for early, origin, self._arrived_at, arrived in limbo:
            self._receive_one_untrusted(early, origin, arrived)
        return None

    # taking branches

    @property
    def asked(self) -> bool:
        """The peer has multiplied, be it only once: look at `take_branch_requests` and `take_unheard_branches`."""
        return self._family is not None

    def take_branch_requests(self) -> list[BranchRequest]:
        """What the peer has asked for since the last time; each is to be accepted or refused."""
        family = self._family
        if family is None or not family.requests:
            return []
        requests, family.requests = family.requests, []
        return requests

    def take_unheard_branches(self) -> list[Multiplication]:
        """Branches whose answer the peer asks for again: tell each to `answer_again`."""
        family = self._family
        if family is None or not family.unheard:
            return []
        unheard, family.unheard = family.unheard, []
        return unheard

    def _take_multiply(self, datagram: bytes, body: bytes, era: Era, source: Address, now: float) -> None:
        """A request that has not been there before is remembered as long as the parent's key (11.3, M22)."""
        drop = self.statistics.drop
        _, _, offset, flags_window, sn, _ = self.codec.unpack_head(datagram, ULTID_PAIR)
        serial = self.codec.serial(datagram)
        ultid = datagram[:4]
        secret = era.secret
        if secret.accepted is None:
            secret.accepted = {}
        family = self._family = self._family or Family()
        known = secret.accepted.get(ultid)
        if known is not None:
            self.statistics.duplicates += 1
            return self._answer_repeated(ultid, now) if known == serial else drop("branch-ultid")
        if ultid in (self.local_ultid, self.remote_ultid):
            return drop("branch-ultid")
        headers = offset - NORMAL_HEADER
        try:
            sink = sink_among(self.codec.extensions(body[:headers]))
        except MalformedPacket as malformed:
            return drop(malformed.reason)
        if len(secret.accepted) >= MOST_BRANCHES or len(family.requests) >= MOST_REQUESTS:
            return drop("branches")
        secret.accepted[ultid] = serial
        newest = era is self.keyring.receiving.newest
        self._authentic(sn, serial, source, sink, 0, now, follows=newest)
        origin = Origin(
            Branching(ultid, self.local_ultid, sn, serial), serial, secret, era.index(sn), self._uses_of(secret)
        )
        request = BranchRequest(origin, flags_window >> 24, flags_window & 0xFFFFFF, body[headers:], now)
        if request.flags & self.revision.unsupported_flags:
            return self.refuse_branch(request, ResetReason.UNSUPPORTED)
        family.requests.append(request)
        return None

    def _uses_of(self, secret: Secret) -> int:
        """How often this end has applied the key that the peer's MULTIPLY was under."""
        return next((era.uses for era in self.keyring.sending.eras if era.secret is secret), 0)

    def _answer_repeated(self, initiator_ultid: bytes, now: float) -> None:
        """The peer did not get our answer: the same once more (11.3, M22)."""
        family = self._family
        assert family is not None
        refusal = family.refusals.get(initiator_ultid)
        if refusal is not None:
            self._urgent.append(refusal)
            self.statistics.retransmissions += 1
        branch = family.live.get(initiator_ultid)
        if branch is not None and branch._may_answer_again(now) and branch not in family.unheard:
            family.unheard.append(branch)

    def refuse_branch(self, request: BranchRequest, reason: int) -> None:
        """RESET in answer to MULTIPLY (11.2 case 3, M26)."""
        if self.is_over:
            return
        family = self._family = self._family or Family()
        datagram = self._rejection(request.origin, reason)
        family.refused(request.initiator_ultid, datagram)
        self._urgent.append(datagram)
        self.statistics.count_sent(Op.RESET)

    def _rejection(self, origin: Origin, reason: int) -> bytes:
        """From the ULTID that was asked to that which asks, under the key that the branch would have (M26).

        Where the key depends on the acceptor's first number it is the one in the packet (F31).
        """
        branching = replace(origin.branching, responder_sn=origin.serial)
        secret = origin.secret.branch(self.revision.integrity, origin.index, branching)
        head = self.codec.reset_head(reason, self.settings.receive_window, origin.serial, branching.multiply_sn)
        ids = branching.responder_ultid + branching.initiator_ultid
        return secret.batch(0, 0)[0].seal(ids, head, b"")

    @classmethod
    def branch_off(
        cls,
        parent: Multiplication,
        request: BranchRequest,
        local_ultid: bytes,
        *,
        now: float,
        random: Callable[[int], bytes] = os.urandom,
    ) -> Self:
        """Accept a request of `parent`'s peer (5.16): a branch that is established from the beginning.

        It is answered with PERSIST as soon as there are octets to send, else after a round trip with a bare commit.
        """
        origin = request.origin
        sn = origin.branching.multiply_sn
        self = cls._descend(parent, local_ultid, request.initiator_ultid, now)
        first = distant_number(sn, random)
        self._origin = replace(origin, branching=replace(origin.branching, responder_sn=first))
        self._take_key(first)
        self._last_serial = origin.serial
        self._serial_era = self.keyring.receiving.newest
        self.sent = SendWindow(first, request.window)
        self._begin_receiving(sn)
        self._address_newest = (sn, origin.serial)
        self.received.advance(request.arrived)
        ends = self._ends(request.flags)
        self._happen(Event.RCV_MULTIPLY_EOT if ends else Event.RCV_MULTIPLY)
        self._peer_open = not ends
        self._take_first_payload(sn, request.payload, request.flags, ends, now)
        self._told(self.received.expected, self.received.window)
        self.established_at = now
        self._heartbeat_at = now + self.heartbeat_interval
        self._answer_at = now + (self.rtt.srtt if self.rtt.measured else UNMEASURED_SNACK)
        self.queue.holds_ends = not self.revision.ends_with_empty_data
        family = self._parents_family = parent._family or Family()
        family.live[request.initiator_ultid] = self
        return self

    @property
    def _unanswered(self) -> bool:
        """A branch that was accepted, and whose initiator has not been told."""
        return self._parents_family is not None and not self.statistics.in_band_sent

    def _answer(self) -> None:
        """Nothing was given to send in time: the bare commit tells that the branch was accepted (11.2 case 1, F28)."""
        self._answer_at = math.inf
        if self._unanswered:
            self._announce_key = True

    @property
    def _unheard(self) -> bool:
        """A branch that was accepted, whose initiator has acknowledged nothing.

        Whatever comes first to it and might be the answer is taken for that, and its number for our first one.  So a
        bare commit that is not the answer must not overtake it (F33).
        """
        origin = self._origin
        return (
            self._parents_family is not None and origin is not None and self.sent.una == origin.branching.responder_sn
        )

    def _bare_end(self) -> Op:
        return Op.PURE_DATA if self._unheard else super()._bare_end()

    def _lets_end_go(self) -> bool:
        queue = self.queue
        if not queue.holds_ends or self._unheard:
            return False
        queue.holds_ends = False
        return queue.ready

    def _acknowledge_now(self, batch: list[bytes], now: float) -> None:
        if not self._unanswered:
            return super()._acknowledge_now(batch, now)
        self._ack_now = False  # M25: the initiator takes nothing out of band before the answer, which acknowledges too
        self._snack_at = math.inf
        return self._answer()

    def notices_to_send(self, now: float) -> list[tuple[Route, bytes]]:
        if not (self._unanswered and self._notice_at <= now):
            return super().notices_to_send(now)
        self._notice_at = now + self.settings.timers.granularity  # M25: the answer goes first
        self._answer()
        return []

    def _may_answer_again(self, now: float) -> bool:
        """The answer has left, nothing of it is acknowledged, and that is not only just so."""
        origin, blocks = self._origin, self.sent.blocks
        assert origin is not None
        unheard = bool(blocks) and blocks[0].sn == origin.branching.responder_sn
        return unheard and now >= blocks[0].sent_at + REPEAT_ACCEPTANCE_AFTER

    def answer_again(self, now: float) -> None:
        """Repeat the first packet, as soon as its time-out allows, whatever doublings (8.5.4, 11.3)."""
        if self.state in CONNECTED and self._may_answer_again(now):
            head = self.sent.blocks[0]
            self._leaves_path(head)
            self._repeats = [head, *(block for block in self._repeats if block is not head)]

    # ends

    def _receive_reset_untrusted(self, datagram: bytes, sn: int, now: float) -> None:
        if self.state is not State.CLONING:
            return super()._receive_reset_untrusted(datagram, sn, now)
        drop = self.statistics.drop
        origin = self._origin
        assert origin is not None
        try:
            reason = self.codec.reset_reason(datagram)
        except MalformedPacket as malformed:
            return drop(malformed.reason)
        expected = self.codec.unpack_head(datagram, ULTID_PAIR)[5]
        rejected = datagram[:ULTID_PAIR] == self._peer_ids  # else it is from the branch itself, after an answer
        numbers = (origin.serial, origin.branching.multiply_sn) if rejected else (sn, self.sent.next_sn)
        if (sn, expected) != numbers:
            return drop("reset")
        if self._open_as_branch(datagram, sn, now) is None:
            return None
        protection = self.keyring.receiving.newest.batch(0)[0]
        kind = FailureKind.REFUSED if rejected else FailureKind.RESET_BY_PEER
        return self._fail(Event.RCV_RESET, kind, reason & ~(protection.flags << 24), now)  # A50

    @property
    def _forsaken(self) -> bool:
        """A branch of ours that was given up before it was answered: 5.15 sends nothing then."""
        return self._origin is not None and self._parents_family is None and not self.is_established

    @property
    def answers(self) -> bool:
        return super().answers or (self.state is State.NON_EXISTENT and self._forsaken)

    def _tell_of_end_untrusted(self, datagram: bytes, now: float) -> None:
        """The acceptor answers a branch that was given up: it would wait for minutes, so it is reset (F32)."""
        if self._forsaken and not self._reset_datagrams:
            _, _, _, _, sn, expected = self.codec.unpack_head(datagram, ULTID_PAIR)
            if expected != self.sent.next_sn:
                return
            if self._open_as_branch(datagram, sn, now) is None:
                return
            self._take_key(sn)
            self._set_remote_ultid(datagram[:4])
            self.received = ReceiveWindow((sn + 1) & MASK, self.settings.receive_window, self.settings.receive_octets)
            assert self.failure is not None
            self._reset_datagrams = [self._make_reset(self.failure.reason)]
        self._repeat_reset(0, now)

    def _make_resets(self, reason: int) -> list[bytes]:
        family, origin = self._parents_family, self._origin
        if family is None or origin is None:
            return super()._make_resets(reason)
        resets = [self._rejection(origin, reason)] if self._unanswered else super()._make_resets(reason)
        if self._unheard:  # a repeated MULTIPLY draws the same (M22)
            family.refused(origin.branching.initiator_ultid, resets[0])
        return resets

    def _release_resources(self, tombstone_until: float) -> None:
        super()._release_resources(tombstone_until)
        self._answer_at = math.inf
        if self._parents_family is not None and self._origin is not None:
            self._parents_family.live.pop(self._origin.branching.initiator_ultid, None)
        if self._family is not None:
            self._family.requests = []
