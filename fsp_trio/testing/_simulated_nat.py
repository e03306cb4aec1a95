"""A network address translator of the simulated network."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from fsp_trio.ports.base import Address

FIRST_PORT: Final = 20_001


@dataclass(slots=True)
class _Mapping:
    inside: Address
    used_at: float
    peers: set[Address] = field(default_factory=set)


class SimulatedNAT:
    """Hosts behind it are seen at its own address, each port of theirs at a port of its own (RFC 3022).

    Made by `SimulatedNetwork.nat`.  A mapping is kept as long as something leaves by it (RFC 4787, 6), and lets in only
    what comes from where something has gone to (5).
    """

    def __init__(self, address: str, lifetime: float) -> None:
        if not lifetime > 0:
            raise ValueError(f"lifetime must be positive, not {lifetime}")
        self.address = address
        self._lifetime = lifetime
        self._mappings: dict[int, _Mapping] = {}
        self._numbers: dict[Address, int] = {}
        self._next = FIRST_PORT

    def seen_address(self, inside: Address) -> tuple[str, int] | None:
        """Where others see an address from behind; None if there is no mapping."""
        number = self._numbers.get(inside)
        return None if number is None else (self.address, number)

    def rebind(self) -> None:
        """Forget all mappings, as after a restart: whoever sends gets another port."""
        self._mappings.clear()
        self._numbers.clear()

    def outward(self, inside: Address, remote: Address, now: float) -> tuple[str, int]:
        """For the network: something leaves; the source that others see."""
        number = self._numbers.get(inside)
        if number is None or self._dead(number, now):
            number = self._numbers[inside] = self._next
            self._next += 1
            self._mappings[number] = _Mapping(inside, now)
        mapping = self._mappings[number]
        mapping.used_at = now
        mapping.peers.add(remote)
        return self.address, number

    def inward(self, number: int, source: Address, now: float) -> Address | None:
        """For the network: where something goes that comes to a port; None if it is not let in."""
        mapping = self._mappings.get(number)
        if mapping is None or self._dead(number, now) or source not in mapping.peers:
            return None
        return mapping.inside

    def inside_of(self, number: int) -> Address | None:
        mapping = self._mappings.get(number)
        return None if mapping is None else mapping.inside

    def _dead(self, number: int, now: float) -> bool:
        return self._lifetime < math.inf and now - self._mappings[number].used_at > self._lifetime
