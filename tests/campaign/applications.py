"""Two applications with a plan: transactions, key agreements, a shutdown; each at its own speed."""

from __future__ import annotations

import enum
import math
import random
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from fsp_trio.core.connection import Connection
from fsp_trio.core.failure import KeyInstallationRefused


@dataclass(frozen=True, slots=True)
class Key:
    """What both ends install at the same place of their plans."""

    material: bytes
    mode: Literal["aead", "mac"]
    bits: int


class Order(enum.Enum):
    """When an end installs a key, seen from the transaction with which it agrees to it (7.6)."""

    AFTER_COMMIT = "after commit()"
    AFTER_FLUSH = "after the peer has acknowledged it"
    BEFORE_COMMIT = "while it is open"


@dataclass(frozen=True, slots=True)
class Send:
    data: bytes


@dataclass(frozen=True, slots=True)
class Agree:
    """Send `data` as a transaction, read the peer's transactions up to number `heard`, install the key."""

    data: bytes
    key: Key
    heard: int
    order: Order


Step: TypeAlias = Send | Agree


@dataclass(slots=True)
class Plan:
    """What one end will do; `expected` is what its peer sends."""

    steps: list[Step]
    shuts_down: bool
    """It asks for the end by itself; otherwise only after the peer has released."""
    eager: bool
    """It asks for it without waiting for its last acknowledgement."""
    reads_every: float
    """0: as soon as there is something."""
    reads: int
    writes: int
    before_connected: int
    """How many steps may begin while the handshake goes on."""
    expected: list[bytes] = field(default_factory=list)


def transactions(steps: list[Step]) -> list[bytes]:
    return [step.data for step in steps]


class Application:
    """Carries out a plan on one connection, whenever it is asked to go on."""

    def __init__(self, plan: Plan, connection: Connection, rng: random.Random, skipped: bytes = b"") -> None:
        self.plan = plan
        self.connection = connection
        self._rng = rng
        self.received: list[bytes] = []
        self._incoming = bytearray()
        self._position = 0
        self._written = 0
        self._began = False
        self._committed_at = 0
        self._last_ordinal = 0
        self.next_read = -math.inf
        self.shut = False
        if skipped:  # the welcome left with ACK_CONNECT_REQ already
            self._position = 1

    @property
    def everything_sent(self) -> bool:
        return self._position == len(self.plan.steps)

    @property
    def everything_received(self) -> bool:
        return self.received == self.plan.expected

    def check(self) -> None:
        """What was read so far is what the peer sent, in order and undivided."""
        expected = self.plan.expected
        count = len(self.received)
        assert self.received == expected[:count], f"transaction {count} is wrong"
        partial = bytes(self._incoming)
        if partial:
            assert count < len(expected), "octets that nobody sent"
            assert expected[count].startswith(partial), f"octets of transaction {count} are wrong"

    def go_on(self, now: float) -> None:
        self._read(now)
        if not self.connection.is_over:
            while self._write() and not self.connection.is_over:
                pass
            self._end(now)

    def _read(self, now: float) -> None:
        connection, plan = self.connection, self.plan
        if plan.reads_every:
            if now < self.next_read and not connection.is_over:
                return
            self.next_read = now + plan.reads_every * self._rng.uniform(0.5, 1.5)
        budget = plan.reads if plan.reads_every and not connection.is_over else math.inf
        while connection.readable and budget > 0:
            if connection.at_end:
                connection.next_transaction()
                self.received.append(bytes(self._incoming))
                self._incoming.clear()
            else:
                octets = connection.read(self._rng.randint(1, plan.reads))
                assert octets, "readable, and nothing to read"
                budget -= len(octets)
                self._incoming += octets

    def _write(self) -> bool:
        """One thing more; False when the plan has to wait."""
        connection, plan = self.connection, self.plan
        if self.everything_sent or self.shut or connection.peer_released:
            return False
        step = plan.steps[self._position]
        if not connection.is_established and (isinstance(step, Agree) or self._position >= plan.before_connected):
            return False
        if connection.buffered >= connection.settings.send_buffer:
            return False
        if isinstance(step, Agree):
            return self._agree(step)
        return self._send(step.data, commit=True)

    def _send(self, data: bytes, *, commit: bool) -> bool:
        """Some octets of a transaction; at its end commit it and go to the next step."""
        size = self._rng.randint(1, self.plan.writes)
        self.connection.send(data[self._written : self._written + size])
        self._written += size
        if self._written >= len(data) and commit:
            self._commit()
        return True

    def _commit(self) -> None:
        self._last_ordinal = self.connection.commit()
        self._position += 1
        self._written = 0

    def _agree(self, step: Agree) -> bool:
        heard = len(self.received) >= step.heard
        if step.order is Order.BEFORE_COMMIT:
            if not heard:
                return False
            if self._written < len(step.data):
                return self._send(step.data, commit=False)
            if not self._install(step.key):
                return False
            self._commit()
            return True
        if not self._began:
            if self._written < len(step.data):
                return self._send(step.data, commit=False)
            self._last_ordinal = self.connection.commit()
            self._began = True
        if not heard or (step.order is Order.AFTER_FLUSH and self.connection.committed < self._last_ordinal):
            return False
        if not self._install(step.key):
            return False
        self._began = False
        self._position += 1
        self._written = 0
        return True

    def _install(self, key: Key) -> bool:
        """False if the key before has not yet taken effect: a second one may be installed a little later (B13)."""
        try:
            if key.mode == "mac":
                self.connection.install_key(key.material, mode="mac")
            else:
                self.connection.install_key(key.material, key_bits=key.bits)
        except KeyInstallationRefused as refused:
            if "has not yet taken effect" in str(refused):
                return False
            raise
        return True

    def _end(self, now: float) -> None:
        connection, plan = self.connection, self.plan
        if self.shut or not connection.is_established:
            return
        ready = self.everything_sent and self.everything_received
        if not plan.shuts_down:
            ready = connection.peer_released
        elif not plan.eager:
            ready = ready and connection.committed == self._last_ordinal
        if ready or connection.peer_released:
            self.shut = True
            connection.shutdown(now)
