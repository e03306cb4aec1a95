"""One direction between two addresses of the simulated network: what befalls the datagrams on their way."""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from random import Random

from fsp_trio.ports.base import Address


@dataclass(frozen=True, slots=True, kw_only=True)
class Impairment:
    """What a link does to datagrams. Probabilities are per datagram from 0 to 1, times in seconds, sizes in octets.

    The order of events is: MTU, loss, queue, duplication, corruption, delay.  ValueError if a value is out of its
    range.
    """

    loss: float = 0.0
    """The datagram does not arrive."""
    duplicate: float = 0.0
    """The copy arrives after the original, with a jitter of its own."""
    corrupt: float = 0.0
    """One to three bits are flipped."""
    reorder: float = 0.0
    """The datagram is held back for up to `reorder_span`, and those behind it overtake."""
    reorder_span: float = 0.01
    delay: float = 0.0
    """One way."""
    jitter: float = 0.0
    """Up to that much is added to the delay; the order is kept, which is what `reorder` is for."""
    bandwidth: float | None = None
    """Octets per second."""
    queue: int | None = None
    """Octets that may wait for a link with a bandwidth; what comes on top is dropped."""
    mtu: int | None = None
    """Larger datagrams are dropped."""
    congestion: float = 0.0
    """Probability of the mark ECN CE."""
    congestion_queue: int | None = None
    """Octets waiting from which on every datagram is marked ECN CE."""

    def __post_init__(self) -> None:
        for name in ("loss", "duplicate", "corrupt", "reorder", "congestion"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a probability: {getattr(self, name)!r}")
        for name in ("reorder_span", "delay", "jitter"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is a time: {getattr(self, name)!r}")
        if self.bandwidth is not None and not 0.0 < self.bandwidth < math.inf:
            raise ValueError(f"bandwidth is positive: {self.bandwidth!r}")

    @property
    def random(self) -> bool:
        """Whether chance has a part in it."""
        return bool(self.loss or self.duplicate or self.corrupt or self.reorder or self.jitter or self.congestion)


@dataclass(frozen=True, slots=True)
class Transit:
    """One copy of a datagram that will arrive, unless something happens at the far end."""

    due: float
    datagram: bytes
    congested: bool
    corrupted: bool
    copy: bool


class Link:
    """The state of one direction."""

    __slots__ = ("_busy_until", "_chance", "_last_due", "_seed", "impairment", "newest", "number", "ordinal")

    def __init__(self, seed: int, source: Address, destination: Address, impairment: Impairment) -> None:
        self.impairment = impairment
        # Names and not hashes: Python's hash of a string differs from run to run.
        digest = blake2b(f"{seed}|{source!r}|{destination!r}".encode(), digest_size=24).digest()
        self.ordinal = digest[:8]
        self._seed = digest[8:]
        self._chance: tuple[Random, Random] | None = None  # made when needed: they are large
        self._busy_until = -math.inf
        self._last_due = -math.inf
        self.number = 0  # of the newest datagram; for the order among those due at one instant
        self.newest = 0  # the greatest number that has arrived

    def carry(self, datagram: bytes, now: float) -> list[Transit] | str:
        """The copies that will arrive, or the cause for which it was dropped."""
        impairment = self.impairment
        if impairment.random:
            # Six draws for every datagram, wanted or not: the fate of one does not depend on what
            # the settings did to those before it. What needs more draws takes them elsewhere.
            draw = self._generators()[0].random
            lost = draw() < impairment.loss
            twice = draw() < impairment.duplicate
            corrupted = draw() < impairment.corrupt and datagram != b""
            held = draw() < impairment.reorder
            jitter = draw() * impairment.jitter
            congested = draw() < impairment.congestion
        else:
            lost = twice = corrupted = held = congested = False
            jitter = 0.0
        if impairment.mtu is not None and len(datagram) > impairment.mtu:
            return "mtu"
        if lost:
            return "loss"
        departure = now
        if impairment.bandwidth is not None:
            start = max(now, self._busy_until)
            backlog = (start - now) * impairment.bandwidth  # rounded: half an octet makes no difference
            if impairment.queue is not None and backlog > 0.5 and backlog + len(datagram) > impairment.queue + 0.5:
                return "queue"
            if impairment.congestion_queue is not None and backlog >= impairment.congestion_queue:
                congested = True
            departure = self._busy_until = start + len(datagram) / impairment.bandwidth
        due = departure + impairment.delay + jitter
        if held:
            due += self._generators()[1].random() * impairment.reorder_span
        else:
            due = self._last_due = max(due, self._last_due)
        arriving = self._corrupt(datagram) if corrupted else datagram
        transits = [Transit(due, arriving, congested, corrupted, copy=False)]
        if twice:
            later = due + self._generators()[1].random() * impairment.jitter
            transits.append(Transit(later, arriving, congested, corrupted, copy=True))
        return transits

    def _generators(self) -> tuple[Random, Random]:
        if self._chance is None:
            # Repeatable on purpose.
            self._chance = Random(self._seed[:8]), Random(self._seed[8:])  # noqa: S311
        return self._chance

    def _corrupt(self, datagram: bytes) -> bytes:
        bits = len(datagram) * 8
        altered = bytearray(datagram)
        details = self._generators()[1]
        for position in details.sample(range(bits), details.randint(1, 3)):
            altered[position >> 3] ^= 1 << (position & 7)
        return bytes(altered)
