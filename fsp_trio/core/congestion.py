"""The congestion manager: the shim of gao-07 3.1.3 and 8.7, with CUBIC (RFC 9438) and pacing.

One `Macroflow` per (local interface, remote prefix, traffic class) is shared by all connections of an endpoint
that use that path (B18, RFC 3124).  All sizes are octets of datagrams, headers included.
"""

from __future__ import annotations

import math
from collections.abc import Hashable

SEGMENT = 1056
"""Octets of the usual datagram: 1,024 of payload and 32 of headers."""
INITIAL_WINDOW = 10 * SEGMENT
MINIMUM_WINDOW = 2 * SEGMENT
MAXIMUM_WINDOW = 2**30
CUBIC_C = 0.4
CUBIC_BETA = 0.7
PACING_GAIN = 1.25
SLOW_START_GAIN = 2.0
PACING_QUANTUM = 0.002
"""Seconds of sending that may leave at once: timers are no finer than about a millisecond."""
UNMEASURED_WAIT = 0.1
"""Seconds between looks at a congestion window that others share, while its round trip is unknown."""
MAXIMUM_MACROFLOWS = 1024


class Macroflow:
    """Congestion state of one path and traffic class."""

    __slots__ = (
        "_epoch_start",
        "_k",
        "_w_est",
        "_w_max",
        "acknowledged_at",
        "credit",
        "credit_at",
        "cwnd",
        "in_flight",
        "members",
        "recovery_start",
        "reductions",
        "srtt",
        "ssthresh",
    )

    def __init__(self) -> None:
        self.cwnd = float(INITIAL_WINDOW)
        self.ssthresh = math.inf
        self.in_flight = 0
        self.members = 0
        self.srtt = 0.0
        self.acknowledged_at = -math.inf
        self.recovery_start = -math.inf
        self.reductions = 0
        self.credit = float(INITIAL_WINDOW)
        self.credit_at = -math.inf
        self._w_max = 0.0
        self._w_est = 0.0
        self._k = 0.0
        self._epoch_start = -math.inf

    # sending

    def allowance(self, now: float, size: int = SEGMENT, wanted: float = math.inf) -> int:
        """Octets that may leave now, in datagrams of `size`; asks the pacer for no more than `wanted`."""
        room = self.cwnd - self.in_flight
        if room <= 0:
            return 0
        if self.srtt <= 0.0:
            return int(room)
        if self.credit < wanted and now > self.credit_at:
            rate = self.rate
            depth = max(INITIAL_WINDOW, size, rate * PACING_QUANTUM)
            self.credit = min(depth, self.credit + rate * (now - self.credit_at))
            self.credit_at = now
        return max(int(min(room, self.credit)), 0)  # what left in spite of the pacer is owed

    @property
    def rate(self) -> float:
        """Pacing rate in octets a second."""
        gain = SLOW_START_GAIN if self.cwnd < self.ssthresh else PACING_GAIN
        return gain * self.cwnd / self.srtt

    def wait(self, size: int = SEGMENT) -> float:
        """Seconds until it is worth asking again after `allowance` gave too little for a datagram of `size`."""
        if self.cwnd - self.in_flight < size:
            if self.members <= 1:
                return math.inf  # only the asker's own acknowledgements and time-outs make room
            return max(self.srtt / 2, 0.005) if self.srtt > 0.0 else UNMEASURED_WAIT
        return max((size - self.credit) / self.rate, 0.001)

    def sent(self, octets: int) -> None:
        self.in_flight += octets
        self.credit -= octets

    def forgotten(self, octets: int) -> None:
        """Octets that are in flight no more for another reason than an acknowledgement."""
        self.in_flight -= octets

    # what the connections report (8.7)

    def acknowledged(self, octets: int, srtt: float, now: float) -> None:
        self.acknowledged_at = now
        limited = self.in_flight * 2 >= self.cwnd
        self.in_flight -= octets
        if srtt > 0.0:  # not every connection of the path has measured already
            self.srtt = srtt
        if not limited:  # an application that does not use its window does not earn a larger one
            return
        if self.cwnd < self.ssthresh:
            self.cwnd = min(self.cwnd + octets, MAXIMUM_WINDOW)
            return
        self._cubic(octets, srtt, now)

    def _cubic(self, octets: int, srtt: float, now: float) -> None:
        if self._epoch_start < 0:
            self._epoch_start = now
            self._w_est = self.cwnd
            if self.cwnd < self._w_max:
                self._k = ((self._w_max - self.cwnd) / SEGMENT / CUBIC_C) ** (1 / 3)
            else:
                self._k = 0.0
                self._w_max = self.cwnd
        t = now + srtt - self._epoch_start
        target = self._w_max + CUBIC_C * SEGMENT * (t - self._k) ** 3
        self._w_est += SEGMENT * (3 * (1 - CUBIC_BETA) / (1 + CUBIC_BETA)) * octets / self.cwnd
        target = min(max(target, self._w_est), 1.5 * self.cwnd)
        if target > self.cwnd:
            self.cwnd = min(self.cwnd + (target - self.cwnd) * octets / self.cwnd, MAXIMUM_WINDOW)

    def congested(self, sent_at: float, now: float) -> None:
        """A loss was seen, or ECN-Echo heard, of a packet sent at `sent_at`; once per window counts."""
        if sent_at <= self.recovery_start:
            return
        self.recovery_start = now
        self.reductions += 1
        self._epoch_start = -math.inf
        self._w_max = self.cwnd * (1 + CUBIC_BETA) / 2 if self.cwnd < self._w_max else self.cwnd
        self.cwnd = max(self.cwnd * CUBIC_BETA, MINIMUM_WINDOW)
        self.ssthresh = self.cwnd

    def timed_out(self, sent_at: float, now: float) -> None:
        """A packet sent at `sent_at` timed out, and its connection had heard nothing since: start over slowly.

        Where other connections were heard meanwhile the path is there, and it is the peer that is not: a loss.
        """
        if self.acknowledged_at >= sent_at:
            self.congested(sent_at, now)
            return
        if self.cwnd > MINIMUM_WINDOW:  # else it is the same silence, which lowers the threshold once (RFC 5681, 3.1)
            self.congested(math.inf, now)
        self.cwnd = float(MINIMUM_WINDOW)


class CongestionManager:
    """The macroflows of an endpoint."""

    __slots__ = ("_flows",)

    def __init__(self) -> None:
        self._flows: dict[Hashable, Macroflow] = {}

    def __len__(self) -> int:
        return len(self._flows)

    def join(self, key: Hashable) -> Macroflow:
        """The macroflow of (local interface, remote prefix, traffic class); pair with `leave`."""
        flow = self._flows.get(key)
        if flow is None:
            if len(self._flows) >= MAXIMUM_MACROFLOWS:
                self._forget_unused()
            flow = self._flows[key] = Macroflow()
        flow.members += 1
        return flow

    def round_trip(self, key: Hashable) -> float | None:
        """The smoothed round-trip time of a path; None if none is known."""
        flow = self._flows.get(key)
        return flow.srtt or None if flow is not None else None

    def leave(self, flow: Macroflow) -> None:
        """A connection ended.  The path's state stays for the next one, as long as there is room."""
        flow.members -= 1
        if len(self._flows) > MAXIMUM_MACROFLOWS:
            self._forget_unused()

    def _forget_unused(self) -> None:
        for key in [key for key, flow in self._flows.items() if flow.members == 0]:
            del self._flows[key]
