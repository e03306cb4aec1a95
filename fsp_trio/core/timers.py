"""Round-trip time and retransmission time-out (gao-07 8.5.1, 8.5.4; jason-00 7.4.1, 7.4.4)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from fsp_trio.revisions.base import RoundTripRule

ALPHA = 1 / 8
BETA = 1 / 4
K = 4


def positive(name: str, seconds: float) -> None:
    """ValueError unless it is a positive finite number of seconds."""
    if not 0 < seconds < math.inf:
        raise ValueError(f"{name} must be a positive number of seconds, not {seconds}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timers:
    """The constants of retransmission, all in seconds (decision B9).

    `Timers.draft()` is the letter; `Timers.responsive()` departs from its recommended floor of one second.  ValueError
    if one is not a positive finite number, or `minimum` larger than `maximum`.
    """

    minimum: float
    """Floor of the time-out."""
    maximum: float
    """Ceiling of the time-out, doublings included."""
    initial: float
    """Time-out before the first measurement."""
    granularity: float
    """G, at most 0.1 s; also the interval in which repeats are throttled."""
    handshake_interval: float
    """Between repeats of INIT_CONNECT and of CONNECT_REQUEST (6.6)."""
    acknowledgement_slack: bool
    """Wait one SRTT more than the time-out, since the peer may acknowledge one round trip late (8.5.2)."""

    def __post_init__(self) -> None:
        for name in ("minimum", "maximum", "initial", "granularity", "handshake_interval"):
            positive(name, getattr(self, name))
        if self.minimum > self.maximum:
            raise ValueError(f"minimum, {self.minimum:g} s, is larger than maximum, {self.maximum:g} s")

    @classmethod
    def draft(cls) -> Timers:
        """By the letter: no repeat within a second, 15 seconds between repeats of the handshake."""
        return cls(
            minimum=1.0,
            maximum=60.0,
            initial=1.0,
            granularity=0.01,
            handshake_interval=15.0,
            acknowledgement_slack=False,
        )

    @classmethod
    def responsive(cls, *, maximum: float = 60.0) -> Timers:
        """A floor of 50 ms, and of a second in the handshake; `maximum` is the ceiling in seconds."""
        return cls(
            minimum=0.05,
            maximum=maximum,
            initial=1.0,
            granularity=0.01,
            handshake_interval=1.0,
            acknowledgement_slack=True,
        )


class RoundTrip:
    """SRTT, RTTVAR and the retransmission time-out of one connection, in seconds.

    `rto` is without doublings (8.5.4); `timeout` is how long after its latest transmission a packet may be
    repeated.
    """

    __slots__ = ("_backoff", "_elsewhere", "_timers", "latest", "least", "rto", "rttvar", "srtt", "timeout")

    takes_all: ClassVar[bool] = False
    """`acknowledged` wants to know of every packet."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._backoff = 1
        self._elsewhere = False
        """All that was measured so far was another path's."""
        self.srtt = 0.0
        self.rttvar = 0.0
        self.latest = 0.0
        self.least = math.inf
        """The shortest that was measured on this path."""
        self.rto = timers.initial
        self.timeout = timers.initial

    @property
    def measured(self) -> bool:
        return self.latest > 0.0

    @property
    def _counts(self) -> bool:
        """What was measured before belongs to what is measured now."""
        return self.measured and not self._elsewhere

    def leave_path(self) -> None:
        """What was measured is another path's: the best guess there is, until there is a measurement (F57)."""
        self._elsewhere = True

    @property
    def backoff(self) -> int:
        """By how much the time-out is multiplied now: a power of two."""
        return self._backoff

    def sample(self, rtt: float) -> None:
        """Take one measurement; one that is not positive is a clock's artefact and counts as a microsecond."""
        rtt = max(rtt, 1e-6)
        if self._counts:  # gao-07 8.5.1: RTTVAR first, with the old SRTT
            self.rttvar = (1 - BETA) * self.rttvar + BETA * abs(self.srtt - rtt)
            self.srtt = (1 - ALPHA) * self.srtt + ALPHA * rtt
        else:
            self.srtt = rtt
            self.rttvar = rtt / 2
            self.least = rtt
        self._elsewhere = False
        self.latest = rtt
        self.least = min(self.least, rtt)
        timers = self._timers
        rto = self.srtt + max(timers.granularity, K * self.rttvar)
        self.rto = min(max(rto, timers.minimum), timers.maximum)
        self._set_timeout()

    def challenged(self, rtt: float) -> None:
        """The responder's first measurement: from ACK_INIT_CONNECT to CONNECT_REQUEST (8.5.1, M14)."""
        if rtt < self._timers.initial:  # a longer one may be of a repeated step
            self.sample(rtt)

    def reported(self, sent_at: float, delay: float, now: float) -> None:
        """A SNACK told how long the peer kept back its acknowledgement of a packet sent at `sent_at` (8.5.1, M9)."""
        self.sample(now - sent_at - delay)

    def acknowledged(self, sent_at: Sequence[float], now: float) -> None:
        """Packets sent once, at these moments, were acknowledged: says nothing of the peer's delay."""

    def denied(self) -> None:
        """A SNACK came, whether it tells of anything new or not."""

    def back_off(self) -> None:
        if self.rto * self._backoff < self._timers.maximum:
            self._backoff *= 2
            self._set_timeout()

    def progress(self) -> None:
        """Something new was acknowledged: doublings end."""
        if self._backoff != 1:
            self._backoff = 1
            self._set_timeout()

    def _set_timeout(self) -> None:
        slack = min(self.srtt, self.rto) if self._timers.acknowledgement_slack else 0.0
        self.timeout = min(self.rto * self._backoff, self._timers.maximum) + slack


class HalvedRoundTrip(RoundTrip):
    """The rule of jason-00 7.4: plain means, and a packet is repeated after four round trips (A30).

    There is no variance; the floor is the granularity, and the doublings are those of the later drafts, since the
    draft would repeat for ever at the same rate.  What this measures has lost acknowledgements in it, so it is allowed
    three doublings at least: else a peer would be asked only three or four times before it counts as gone (11.3).
    """

    __slots__ = ()

    doublings: ClassVar[int] = 3

    takes_all: ClassVar[bool] = True

    def sample(self, rtt: float) -> None:
        rtt = max(rtt, 1e-6)
        self.srtt = (self.srtt + rtt) / 2 if self._counts else rtt
        self._elsewhere = False
        self.latest = rtt
        timers = self._timers
        self.rto = min(max(K * self.srtt, timers.granularity), timers.maximum / 2**self.doublings)
        self._set_timeout()

    def challenged(self, rtt: float) -> None:
        """The responder measures from ACK_CONNECT_REQ to the first PERSIST (7.4.1)."""

    def reported(self, sent_at: float, delay: float, now: float) -> None:
        """SNACKs of this revision tell no delay."""

    def acknowledged(self, sent_at: Sequence[float], now: float) -> None:
        if sent_at:
            self.sample(now - sum(sent_at) / len(sent_at))

    def denied(self) -> None:
        """What it denies is repeated at once if it was sent four round trips ago: doublings are for silence (7.4.4)."""
        self.progress()


ROUND_TRIPS: dict[RoundTripRule, type[RoundTrip]] = {
    RoundTripRule.SMOOTHED: RoundTrip,
    RoundTripRule.HALVED: HalvedRoundTrip,
}
