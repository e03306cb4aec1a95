"""Fourth layer of a connection: what the peer acknowledges (gao-07 4.6, 8.4.3, 8.5.1, 8.5.3, 8.7)."""

from __future__ import annotations

import math

from fsp_trio.core.link import CLOSED_TOMBSTONE, NEXT
from fsp_trio.core.outgoing import Outgoing
from fsp_trio.core.send_window import Acknowledgement
from fsp_trio.revisions.states import Event, State
from fsp_trio.wire.packets import Snack
from fsp_trio.wire.serial import sub


class Acknowledged(Outgoing):
    """Acknowledgements move the send window, the round-trip time, the congestion window and the state."""

    __slots__ = ()

    def _take_acknowledgement(self, expected: int, window: int, now: float) -> None:
        """The cumulative acknowledgement and window of an in-band packet (4.6)."""
        sent = self.sent
        if expected != sent.una:
            result = Acknowledgement()
            if sent.acknowledge(expected, result) is None:
                return  # M50: older than known
            self._acknowledged(result, now)
        sent.advertise(expected, window)

    def _take_snack(self, snack: Snack, window: int, now: float) -> None:
        sent = self.sent
        self.rtt.denied()
        result = Acknowledgement()
        if sub(snack.expected_sn, sent.una) >= 0:
            sent.advertise(snack.expected_sn, window)
            sent.acknowledge(snack.expected_sn, result)
            sample = sent.sample
            if sample is not None and sample[0] == snack.delay_sample_sn:  # 8.5.1, M9
                self.rtt.reported(sample[1], snack.delay / 1e6, now)
                sent.sample = None
        if snack.gaps and not sent.acknowledge_selectively(snack, result):
            self.statistics.drop("snack-gaps")
        self._acknowledged(result, now)

    def _acknowledged(self, result: Acknowledgement, now: float) -> None:
        if result.progress:
            if now > self._last_acknowledged_at:
                self._last_acknowledged_at = now
            if now > self.last_heard:
                self.last_heard = now  # news, though it may come with an old packet (F13)
            rtt = self.rtt
            rtt.progress()
            if rtt.takes_all:
                rtt.acknowledged(result.sent_once(), now)
            self.macroflow.acknowledged(result.octets, rtt.srtt, now)
            self._blocked_until = math.inf
        if result.loss_sent_at > -math.inf:
            self.macroflow.congested(result.loss_sent_at, now)
        since = self._srr_since
        if since is not None and since != NEXT:
            una = self.sent.una
            if sub(una, since) > 0 or any(sub(block.sn, since) >= 0 for block in result.arrived):
                self._srr_since = None  # 4.6: a packet with SRR was acknowledged

    def _flushed(self, now: float) -> None:
        if self._unflushed is None:
            return
        releasing = self.state is State.PRE_CLOSED
        if releasing and self.revision.states.find(self.state, Event.RCV_ACK_FLUSH) is None:
            return  # where RELEASE is answered by RELEASE
        self._happen(Event.RCV_ACK_FLUSH)
        self._unflushed = None
        self._last_acknowledged_at = now
        self.rtt.progress()  # its repeats doubled the time-out, although it had arrived (B10)
        if self._committing:
            self.committed = self._committing
            self._committing = 0
        if releasing:
            self.closed_confirmed = True
            self._closed(now)

    def _closed(self, now: float) -> None:
        self._unflushed = None
        self._repeats = []
        self._close_at = math.inf
        self._release_resources(now + CLOSED_TOMBSTONE)
