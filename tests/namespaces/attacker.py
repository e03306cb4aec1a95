"""The attacker as a program in the router: the kernel forwards nothing there, so all packets pass through here.

It says when it is ready; `attack` and `stop` on its input begin and end the attack, `report` asks what was done.
"""

from __future__ import annotations

import heapq
import itertools
import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass

from fsp_trio import revisions

from .attacks import Attacker, Seen
from .world import CLIENT, FIRST, SERVER, SERVING, UDP_PORT

ETH_P_IP = 0x0800
UDP_HEADER = struct.Struct(">HHHH")
IP_HEADER = struct.Struct(">BBHHHBBH4s4s")


@dataclass(frozen=True)
class Orders:
    revision: str
    seed: str


def parse(octets: bytes) -> Seen | None:
    """A UDP datagram in an IPv4 packet; None for anything else."""
    if len(octets) < 28 or octets[0] >> 4 != 4 or octets[9] != socket.IPPROTO_UDP:
        return None
    start = (octets[0] & 0xF) * 4
    source_port, target_port, length, _ = UDP_HEADER.unpack_from(octets, start)
    source, target = socket.inet_ntoa(octets[12:16]), socket.inet_ntoa(octets[16:20])
    datagram = octets[start + 8 : start + length]
    return Seen((source, source_port), (target, target_port), datagram, octets[1])


def packet_of(seen: Seen) -> bytes:
    """The IPv4 packet, without the checksum of UDP; the kernel fills in that of the header."""
    source, target = socket.inet_aton(seen.source[0]), socket.inet_aton(seen.target[0])
    length = 8 + len(seen.datagram)
    head = IP_HEADER.pack(0x45, seen.mark, 20 + length, 0, 0, 60, socket.IPPROTO_UDP, 0, source, target)
    return head + UDP_HEADER.pack(seen.source[1], seen.target[1], length, 0) + seen.datagram


class Middle:
    """Forwards, and attacks while it shall."""

    def __init__(self, orders: Orders) -> None:
        self._ends = {(CLIENT, UDP_PORT), (SERVER, UDP_PORT)}
        self._attacker = Attacker(
            revisions.get(orders.revision), random.Random(orders.seed), (CLIENT, UDP_PORT), (SERVER, UDP_PORT)
        )
        self._attacking = False
        self._waiting: list[tuple[float, int, Seen]] = []
        self._numbers = itertools.count()
        self._ears = []
        for link in (FIRST, SERVING):
            ear = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
            ear.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
            ear.bind((link, ETH_P_IP))
            ear.setblocking(False)
            self._ears.append(ear)
        self._mouth = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        self._mouth.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        self.passed = self.octets = 0
        self.drawn: Counter[str] = Counter()
        """Octets that came to addresses where nobody is."""

    def run(self) -> None:
        poll = select.poll()
        for readable in (sys.stdin.fileno(), *self._ears):
            poll.register(readable, select.POLLIN)
        while True:
            wait = self._waiting[0][0] - time.monotonic() if self._waiting else 1.0
            ready = {descriptor for descriptor, _ in poll.poll(max(wait, 0) * 1000)}
            if sys.stdin.fileno() in ready and not self._obey(os.read(sys.stdin.fileno(), 4096)):
                return
            for ear in self._ears:
                if ear.fileno() in ready:
                    self._hear(ear)
            while self._waiting and self._waiting[0][0] <= time.monotonic():
                self._send(heapq.heappop(self._waiting)[2])

    def _obey(self, said: bytes) -> bool:
        for command in said.decode().split():
            if command == "report":
                say("reported", done=self._attacker.done, passed=self.passed, octets=self.octets, drawn=self.drawn)
            else:
                self._attacking = command == "attack"
        return bool(said)

    def _hear(self, ear: socket.socket) -> None:
        for _ in range(64):
            try:
                octets, (_, _, kind, *_) = ear.recvfrom(65_536)
            except BlockingIOError:
                return
            if kind == socket.PACKET_OUTGOING or (seen := parse(octets)) is None:
                continue
            if seen.source in self._ends and seen.target in self._ends:
                self._pass_on(seen)
            elif seen.source in self._ends:
                self.drawn[f"{seen.source[0]} to {seen.target[0]}"] += len(seen.datagram)

    def _pass_on(self, seen: Seen) -> None:
        self.passed += self._attacking
        self.octets += len(seen.datagram) * self._attacking
        self._attacker.look(seen)
        now = time.monotonic()
        for delay, packet in self._attacker.attack(seen) if self._attacking else [(0.0, seen)]:
            if delay:
                heapq.heappush(self._waiting, (now + delay, next(self._numbers), packet))
            else:
                self._send(packet)

    def _send(self, seen: Seen) -> None:
        self._mouth.sendto(packet_of(seen), (seen.target[0], 0))


def say(event: str, **about: object) -> None:
    print(json.dumps({"event": event, **about}), flush=True)


def main(orders: Orders) -> None:
    middle = Middle(orders)
    say("ready", orders=asdict(orders))
    middle.run()


if __name__ == "__main__":
    main(Orders(**json.loads(sys.argv[1])))
