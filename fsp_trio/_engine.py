"""What makes a session run: its tasks, its waiting, and the sending that callers do on the spot.

Tasks, in a nursery of the session's own inside the endpoint's nursery:

* the receive pump takes lists of datagrams from the inbox, lets the connection have them, sends what that drew and
  wakes those who wait;
* the send pump waits at its doorbell and takes over when the socket is full or one caller has sent its share;
* the retransmit timer waits for the endpoint's timer wheel to ring;
* the path prober does so too, and sends heartbeats and notices of addresses (gao-07 10.1, 10.2).

Whoever calls a sending method sends on the spot, since a task hop costs more than a packet.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

import trio

from fsp_trio._bell import Bell
from fsp_trio._branches import Branches
from fsp_trio._lot import Lot
from fsp_trio.core.connection import Connection
from fsp_trio.core.failure import ResetReason
from fsp_trio.errors import CommitTimeout, FSPBusyError, FSPClosedError, raise_broken
from fsp_trio.ports import Address, Batch, RovingPort
from fsp_trio.revisions.states import State

if TYPE_CHECKING:
    from fsp_trio._gates import Gate
    from fsp_trio._watch import Watch
    from fsp_trio.endpoint import FSPEndpoint
    from fsp_trio.session import FSPSession

INBOX_BATCHES: Final = 64
"""Lists of datagrams that wait for a session's receive pump; further ones are dropped and counted."""
ON_THE_SPOT: Final = 8
"""Most datagrams that the endpoint's receive loop lets a session take without its receive pump."""
BURST: Final = 122
"""Datagrams after which a caller leaves the rest to the send pump, so that no session holds up the others."""


class SessionEngine:
    """The part of a session that applications do not see; `MultiplyingEngine` and `FSPSession` extend it."""

    __slots__ = (
        "_abandoned",
        "_arrivals",
        "_at",
        "_away",
        "_branches",
        "_breakage_told",
        "_closed",
        "_connection",
        "_dismissed",
        "_doorbell",
        "_doorbell_end",
        "_ended",
        "_endpoint",
        "_gate",
        "_inbox",
        "_inbox_end",
        "_inbox_used",
        "_leads",
        "_leftover",
        "_linger_deadline",
        "_newest_commit",
        "_nursery",
        "_on_event",
        "_parent",
        "_probe_bell",
        "_probe_timer",
        "_pump_busy",
        "_retransmit_bell",
        "_retransmit_timer",
        "_room",
        "_scope",
        "_source",
        "_spoke",
        "_watch",
        "_watchers",
        "inbox_drops",
    )

    def __init__(self, endpoint: FSPEndpoint, connection: Connection) -> None:
        self._endpoint = endpoint
        self._connection = connection
        self._at: Address | None = connection.local
        """The local address of the gate."""
        self._gate = endpoint._roaming.gate(self._at)
        self._watch = self._gate.watch
        self._away = False
        """This host has no address from which the peer could be reached."""
        self._source: tuple[Address | None, Address | None] = (None, None)
        """A peer's address, and from where the system would send there."""
        self._inbox, self._inbox_end = trio.open_memory_channel[Batch](INBOX_BATCHES)
        self._doorbell, self._doorbell_end = trio.open_memory_channel[None](1)
        self._retransmit_bell = Bell()
        self._probe_bell = Bell()
        self._retransmit_timer = endpoint._wheel.add(self._retransmit_bell.ring)
        self._probe_timer = endpoint._wheel.add(self._probe_bell.ring)
        self._scope: trio.CancelScope | None = None
        self._arrivals = Lot()
        self._leads: Watch | None = None
        """Where a reader of this session waits for the port."""
        self._dismissed = False
        """The reader that waits shall look again: what it reads from was closed."""
        self._room = Lot()
        self._watchers = Lot()
        self._leftover: list[bytes] = []
        """Datagrams that the socket did not take: part of one batch at most."""
        self._inbox_used = False
        """Something waits in the inbox."""
        self._spoke = False
        """Something small was sent since the last reading: an answer may be awaited, and shall not take a task hop.

        Who only reads is better served by the loop: while the hop takes its time more datagrams come.
        """
        self._pump_busy = False
        """The send pump is sending; nobody else does."""
        self._closed = False
        """By this end's application."""
        self._abandoned = False
        """Closed while the peer's transaction was open: lingers in the background."""
        self._linger_deadline = math.inf
        self._ended = False
        self._newest_commit = 0
        self._breakage_told = False
        """The application knows from an exception that not all it sent arrived."""
        self._on_event: Callable[[], None] | None = None
        """Called after each event until the listener that accepted the connection knows its fate."""
        self._nursery: trio.Nursery | None = None
        """The session's own, where its branches live, too."""
        self._branches: Branches | None = None
        """None until there are any."""
        self._parent: FSPSession | None = None
        """The session of which this one is a branch."""
        self.inbox_drops = 0
        """Datagrams dropped because the receive pump could not keep up."""

    # what the halves of streams, channels and transactions share

    def _check_unclosed(self) -> None:
        if self._closed:
            raise FSPClosedError("the session was closed by this end")

    def _raise_broken(self) -> NoReturn:
        self._breakage_told = True
        self._after_reading()  # what was read may have broken it
        raise_broken(self._connection.failure)

    def _check_sendable(self) -> None:
        self._check_unclosed()
        if self._connection.peer_released:
            self._raise_broken()

    @property
    def _free_octets(self) -> int:
        connection = self._connection
        return connection.settings.send_buffer - connection.buffered

    async def _wait_room(self, values: int | None = None) -> bool:
        """Wait until something may be queued; whether that took a checkpoint.  Raises if nothing ever may again.

        With `values`, also until fewer transactions than that are unacknowledged.
        """
        waited = False
        self._check_sendable()
        while self._free_octets <= 0 or (
            values is not None and self._newest_commit - self._connection.committed >= values
        ):
            await self._room.park()
            waited = True
            self._check_sendable()
        return waited

    def _wait_arrival(self) -> Coroutine[object, object, None]:
        """To be awaited: until there may be something to read, or it is known that there will not."""
        watch = self._watch
        if not self._spoke or watch.held:
            return self._arrivals.park()
        self._spoke = False
        return watch.receive_for(self)

    def _may_read(self) -> bool:
        connection = self._connection
        return connection.has_unread or connection.peer_released or self._closed or self._dismissed

    def _dismiss_reader(self) -> None:
        self._dismissed = True
        self._wake_reader()

    def _wake_reader(self) -> None:
        if self._leads is not None:
            self._leads.interrupt()
        if self._spoke:
            self._spoke = False
            self._watch.reader_woken = True
        self._arrivals.wake_all()

    def _send(self, data: bytes) -> None:
        """Queue octets of the open transaction and send what can be sent."""
        self._connection.send(data)
        self._after(trio.current_time())

    def _send_alone(self, data: bytes) -> bool:
        """Send octets of the open transaction at once if they make one packet and nothing waits or is under way."""
        connection = self._connection
        now = trio.current_time()
        if self._pump_busy or not (datagram := connection.seal_alone(data, now)):
            return False
        try:
            taken = self._transmit([datagram])
        finally:  # a number serves once
            connection.sealed_alone(data, datagram, now)
        if not taken:
            self._hand_over()
        elif connection.is_over:
            self._after(now)
        else:
            self._spoke = True
            self._arm()  # nothing happened that anybody waits for
        return True

    def _send_message(self, message: bytes) -> None:
        """Queue a message with minimal delay and send what can be sent."""
        self._connection.send_message(message)
        self._spoke = True
        self._after(trio.current_time())

    def _queue_first(self, data: bytes) -> None:
        """A whole transaction before the handshake; the connection sends it with its confirmation (6.5)."""
        self._connection.send(data)
        self._newest_commit = self._connection.commit()

    def _commit(self) -> int:
        """End the open transaction and send what can be sent; its ordinal."""
        self._newest_commit = ordinal = self._connection.commit()
        self._spoke = True
        self._after(trio.current_time())
        return ordinal

    def _compress(self) -> None:
        """What is sent next is a compressed transaction (8.8)."""
        self._check_feature(self._connection.revision.compressed_flag, "compression")
        if self._connection.transaction_open:
            raise FSPBusyError("a transaction is open that was begun without compression")
        self._connection.compress_transaction()

    def _check_feature(self, flag: int, feature: str) -> None:
        """ValueError where the revision has no flag for it."""
        if not flag:
            raise ValueError(f"revision {self._connection.revision.name} has no {feature}")

    def _after_reading(self) -> None:
        """Something was read: announce a window that opened, or tell that it could not be decompressed."""
        if self._connection.has_output:
            self._after(trio.current_time())

    def _delivered(self, ordinal: int, *, octets: bool = False) -> bool:
        """The peer has all transactions up to `ordinal`; with `octets`, also what was sent of an open one."""
        connection = self._connection
        committed = connection.committed >= ordinal
        if not connection.peer_released:
            return committed and not (octets and connection.unacknowledged)
        if connection.failure is not None:
            return committed and not (octets and connection.transaction_open)
        # the peer could release the session only when it had everything that it acknowledges (M40, B16)
        return connection.undelivered == 0 or (committed and not octets)

    async def _wait_delivered(self, ordinal: int, *, octets: bool = False) -> None:
        """Wait for the acknowledgement of a transaction; CommitTimeout after 30 s without any (8.4.4, B7)."""
        connection = self._connection
        called = trio.current_time()
        waited = False
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._delivered(ordinal, octets=octets):
            self._check_sendable()
            limit = max(called, connection.committing_since_ack) + connection.commit_timeout
            if trio.current_time() >= limit:
                raise CommitTimeout(f"nothing was acknowledged for {connection.commit_timeout:g} seconds")
            with trio.move_on_at(limit):
                await self._watchers.park()
            waited = True
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def _until(self, happened: Callable[[], bool]) -> bool:
        """Wait until `happened`, looked at after each event of the connection; whether that took a checkpoint."""
        waited = False
        while not happened():
            await self._watchers.park()
            waited = True
        return waited

    def _mark_closed(self) -> None:
        self._closed = True
        if self._ended:
            self._connection.discard_unread()
        self._wake_reader()
        self._room.wake_all()
        self._watchers.wake_all()
        if self._branches is not None:
            self._branches.refuse_waiting()

    def _break(self, reason: int) -> None:
        """Reset the session because of what the peer did: later operations find it broken, not closed."""
        self._abort(reason)

    def _abort(self, reason: int) -> None:
        now = trio.current_time()
        self._leftover = []
        self._pump_busy = False
        self._connection.reset(reason, now)
        self._after(now)

    # the machinery

    def _deliver(self, batch: Batch, *, alone: bool) -> None:
        """Called by the endpoint's receive loop: into the inbox, or dropped if that is full.

        A few datagrams that come `alone`, when none wait, are taken on the spot, which saves a task hop.
        """
        number = len(batch.datagrams)
        if number > 1:
            self._spoke = False
        if alone and number <= ON_THE_SPOT and not self._inbox_used:
            now = trio.current_time()
            self._connection.receive(batch.datagrams, batch.source, now, batch.congested, batch.local)
            if self._watch.receiver is not self:
                self._after(now)
            return
        try:
            self._inbox.send_nowait(batch)
            self._inbox_used = True
        except trio.WouldBlock:
            self._count_inbox_drop(batch)

    def _count_inbox_drop(self, batch: Batch) -> None:
        self.inbox_drops += len(batch.datagrams)
        self._endpoint._inbox_drops += len(batch.datagrams)

    def _established(self) -> None:
        """The handshake is over: heartbeats begin (10.1)."""
        self._on_event = None
        self._endpoint._roaming.settle_in(self)
        self._announce()
        self._arm_prober()

    def _after(self, now: float) -> None:
        """After each call, or run of calls, that may have changed the connection: send, wake, notice the end."""
        connection = self._connection
        if self._abandoned and connection.has_unread:
            self._refuse_late_data(now)
        if connection.asked or self._branches is not None:
            self._meet_branches(now)
        if not self._pump_busy:  # send on the spot as far as the socket and fairness allow; the pump does the rest
            datagrams = connection.datagrams_to_send(now)
            if datagrams and (not self._transmit(datagrams) or connection.more_to_send):
                self._hand_over()
            else:
                self._arm()
        if (self._arrivals.parked or self._leads is not None) and self._may_read():
            self._wake_reader()
        if self._room.parked and (self._free_octets > 0 or connection.peer_released):
            self._room.wake_all()
        if self._watchers.parked:
            self._watchers.wake_all()
        if self._on_event is not None:
            self._on_event()
        if connection.is_over:
            self._end(now)

    @abstractmethod
    def _meet_branches(self, now: float) -> None:
        """The peer may have asked for branches; `FSPSession` knows them."""

    @abstractmethod
    def _leave_family(self, now: float) -> None:
        """The session is over: what that means for its branches, and for that of which it is one."""

    def _refuse_late_data(self, now: float) -> None:
        """Nobody is left to read: a bare end is stepped over, octets are answered with RESET."""
        connection = self._connection
        while connection.at_end:
            connection.next_transaction()
        if connection.has_unread:
            connection.reset(ResetReason.UNREAD_DATA, now)

    def _transmit(self, datagrams: list[bytes]) -> bool:
        """Give datagrams to the port; False if it did not take all of them, which are kept then."""
        connection = self._connection
        if connection.local is not self._at:
            self._take_gate()
        taken = self._gate.port.send(connection.remote, datagrams, preliminary=connection.preliminary)
        if taken < len(datagrams):
            self._leftover = datagrams[taken:]
            return False
        return True

    def _take_gate(self) -> None:
        """The connection has gone over to another local address."""
        self._at = self._connection.local
        self._gate = self._endpoint._roaming.gate(self._at)
        self._watch = self._gate.watch

    def _leave_gate(self, gate: Gate[RovingPort]) -> None:
        """The gate is about to be closed: until there is another one the system chooses from where to send."""
        if gate.local is not None:
            self._connection.lost(gate.local)
            self._watchers.wake_all()
        if self._gate is gate:
            self._gate = self._endpoint._roaming.primary
            self._watch = self._gate.watch

    def _hand_over(self) -> None:
        self._pump_busy = True
        with suppress(trio.WouldBlock):
            self._doorbell.send_nowait(None)

    @property
    def _lingers_until(self) -> float:
        """While nobody reads; once RELEASE has left its answer has the time of 12.4."""
        if self._connection.state is State.PRE_CLOSED or (self._branches is not None and self._branches.alive):
            return math.inf  # branches have a time of their own
        return self._linger_deadline

    def _arm(self) -> None:
        deadline = min(self._connection.next_deadline(), self._lingers_until)
        self._endpoint._wheel.arm(self._retransmit_timer, deadline)

    def _end(self, now: float) -> None:
        """The connection is over: so are the tasks."""
        if not self._ended:
            self._ended = True
            if self._closed:
                self._connection.discard_unread()  # what is kept for the peer's sake shall be small
            self._endpoint._bury(self._connection, now)
            if self._branches is not None or self._parent is not None:
                self._leave_family(now)
            if self._scope is not None:
                self._scope.cancel()

    # the tasks

    async def _run(self) -> None:
        """The session's nursery, with exactly four tasks; it ends with the connection."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                self._scope = nursery.cancel_scope
                # given names are shared by all sessions, Trio's own would be made for each
                nursery.start_soon(self._send_pump, name="FSP send pump")
                nursery.start_soon(self._receive_pump, name="FSP receive pump")
                nursery.start_soon(self._time_retransmissions, name="FSP retransmission timer")
                nursery.start_soon(self._probe_path, name="FSP path prober")
                if self._ended:
                    nursery.cancel_scope.cancel()
        finally:
            self._nursery = self._scope = None
            if not self._ended:  # cancelled from outside: the endpoint is being left
                self._mark_closed()
                self._abort(ResetReason.APPLICATION)
            wheel = self._endpoint._wheel
            wheel.remove(self._retransmit_timer)
            wheel.remove(self._probe_timer)
            with suppress(trio.WouldBlock):
                while True:
                    self._count_inbox_drop(self._inbox_end.receive_nowait())
            for channel in (self._inbox, self._inbox_end, self._doorbell, self._doorbell_end):
                channel.close()

    async def _receive_pump(self) -> None:
        connection = self._connection
        inbox = self._inbox_end
        while True:
            source, datagrams, congested, local = await inbox.receive()
            now = trio.current_time()
            connection.receive(datagrams, source, now, congested, local)
            with suppress(trio.WouldBlock):
                while True:
                    source, datagrams, congested, local = inbox.receive_nowait()
                    connection.receive(datagrams, source, now, congested, local)
            self._inbox_used = False
            self._after(now)

    async def _send_pump(self) -> None:
        doorbell = self._doorbell_end
        while True:
            await doorbell.receive()
            while self._pump_busy:
                if self._leftover:
                    await self._gate.wait_writable()
                self._pump_batch()
                await trio.lowlevel.checkpoint()

    def _pump_batch(self) -> None:
        """One batch; `_pump_busy` stays true while there may be more."""
        now = trio.current_time()
        datagrams, self._leftover = self._leftover, []
        more = bool(datagrams)
        if not datagrams:
            datagrams = self._connection.datagrams_to_send(now)
            more = self._connection.more_to_send
        if not (self._transmit(datagrams) and not more):
            return
        self._pump_busy = False
        self._after(now)

    async def _time_retransmissions(self) -> None:
        connection = self._connection
        bell = self._retransmit_bell
        while True:
            await bell.wait()
            now = trio.current_time()
            if now >= self._lingers_until:
                connection.reset(ResetReason.TIMED_OUT, now)
            elif now >= connection.next_deadline():
                connection.handle_timer(now)
                self._arm_prober()  # the path may have become suspect
            self._after(now)

    async def _probe_path(self) -> None:
        bell = self._probe_bell
        while True:
            await bell.wait()
            self._probe(trio.current_time())

    def _probe(self, now: float) -> None:
        """Send heartbeats and notices that are due (10.1, 10.2)."""
        connection = self._connection
        connection.handle_heartbeat(now)
        roaming = self._endpoint._roaming
        for route, notice in connection.notices_to_send(now):
            roaming.gate(route.local).port.send(route.remote, [notice])
        self._after(now)
        self._arm_prober()

    def _arm_prober(self) -> None:
        if not self._ended:
            self._endpoint._wheel.arm(self._probe_timer, self._connection.next_heartbeat())

    def _move(self, local: Address | None, now: float) -> None:
        """This end is elsewhere: send from there at once, and say so (10.2, 10.3)."""
        self._connection.moved(local, now)
        self._probe(now)

    def _announce(self) -> None:
        """Tell the peer our addresses, if it shall know them (10.6)."""
        now = trio.current_time()
        if self._connection.announce(now):
            self._probe(now)
