"""A client with two uplinks, a router, and a server: three network namespaces, and witnesses in the two outer ones.

The witnesses are counters of the kernel: they know which packets arrived, from where, and to where, whatever the
programs say.
"""

from __future__ import annotations

import itertools
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from tests.netns import inside, ip, left_behind, make, nft, nft_list, run, take_away, wire

PREFIX: Final = "fspns"
UDP_PORT: Final = 18003

FIRST, SECOND, SERVING = "first", "second", "serving"
"""The client's uplinks and the server's link; the router's ends have the same names."""

CLIENT: Final = "10.81.0.2"
NEIGHBOUR: Final = "10.81.0.77"
"""Another address of the network in which the client is."""
ELSEWHERE: Final = "10.84.0.2"
"""One of another network, by the same link."""
CLIENT_SECOND: Final = "10.82.0.2"
SERVER: Final = "10.83.0.2"
SERVER_ELSEWHERE: Final = "10.85.0.2"
OUTSIDE: Final = "10.83.0.1"
OUTSIDE_AFTERWARDS: Final = "10.83.0.200"
"""The router's addresses on the server's side: what a NAT makes of the client's."""

TOOLS: Final = ("ip", "tc", "nft", "conntrack", "sysctl")
SHAPE: Final = ("tbf", "rate", "50mbit", "burst", "64k", "latency", "50ms")
"""What tc makes of each link: its rate, and a queue of 50 ms."""
ROUTER: Final = {
    FIRST: ("10.81.0.1", "10.84.0.1"),
    SECOND: ("10.82.0.1",),
    SERVING: (OUTSIDE, "10.85.0.1", OUTSIDE_AFTERWARDS),
}

WITNESS: Final = """
table ip witness {
    set seen {
        type ipv4_addr . inet_service . ipv4_addr . inet_service
        size 1024
        flags dynamic
        counter
    }
    chain arriving {
        type filter hook prerouting priority -300
        ip frag-off & 0x1fff == 0 udp dport != 0 update @seen { ip saddr . udp sport . ip daddr . udp dport counter }
    }
}
"""

_numbers = itertools.count(1)


class Way(NamedTuple):
    """Where packets came from, and where they came to."""

    source: str
    source_port: int
    target: str
    target_port: int


Seen = dict[Way, int]
"""Packets that have arrived, by their way; what the kernel has joined counts as one."""


@dataclass(frozen=True)
class World:
    """The names of the three namespaces, and what can be done there."""

    client: str
    router: str
    server: str

    def seen(self, name: str) -> Seen:
        (found,) = (each["set"] for each in nft_list(name, "set", "ip", "witness", "seen") if "set" in each)
        return {
            Way(*each["elem"]["val"]["concat"]): each["elem"]["counter"]["packets"] for each in found.get("elem", [])
        }

    def seen_at_server(self) -> Seen:
        return self.seen(self.server)

    def seen_at_client(self) -> Seen:
        return self.seen(self.client)

    def link(self, name: str) -> None:
        """One of the client's uplinks, with the router's addresses."""
        connect(self.client, self.router, name)

    def unlink(self, name: str) -> None:
        ip(self.client, f"link del dev {name}")

    def dropped(self) -> list[int]:
        """What the rules of the table "trouble" at the router have counted, in their order."""
        return counted(self.router, "trouble")


def counted(name: str, table: str) -> list[int]:
    """The counters of the rules of a table, in packets."""
    rules = (each["rule"] for each in nft_list(name, "table", "ip", table) if "rule" in each)
    return [part["counter"]["packets"] for rule in rules for part in rule["expr"] if "counter" in part]


def missing() -> str:
    """What is missing here for network namespaces; empty if nothing is."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need root on Linux"
    for tool in TOOLS:
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    name = f"{PREFIX}-{os.getpid()}-0-trial"
    try:
        make(name)
        nft(name, WITNESS)
        ip(name, "link add name left type veth peer name right", "link set dev left gso_max_segs 1")
        run("tc", "-n", name, "qdisc", "add", "dev", "left", "root", *SHAPE)
    except RuntimeError as refusal:
        return f"no network namespaces here: {refusal}"
    finally:
        take_away(name)
    return ""


def sweep() -> None:
    """Take away what a run left behind that was killed."""
    take_away(*left_behind(PREFIX))


@contextmanager
def world(*, uplinks: int = 1, forwarding: bool = True) -> Iterator[World]:
    """Three fresh namespaces; whatever happens, nothing of them is left.

    Where the router's kernel is not `forwarding` a program has to do it, and sees each datagram by itself.
    """
    stem = f"{PREFIX}-{os.getpid()}-{next(_numbers)}"
    made = World(*(f"{stem}-{name}" for name in ("client", "router", "server")))
    names = (made.client, made.router, made.server)
    try:
        make(*names)
        furnish(made, uplinks, forwarding)
        yield made
    finally:
        take_away(*names)


def furnish(made: World, uplinks: int, forwarding: bool) -> None:
    for link, name in ((FIRST, made.client), (SECOND, made.client), (SERVING, made.server)):
        connect(name, made.router, link)
    if forwarding:
        run(*inside(made.router, "sysctl", "-qw", "net.ipv4.ip_forward=1"))
    else:
        for link, name in ((FIRST, made.client), (SERVING, made.server)):
            ip(name, f"link set dev {link} gso_max_segs 1")
    for name in (made.client, made.server):
        run(*inside(name, "sysctl", "-qw", "net.ipv4.conf.all.promote_secondaries=1"))
        nft(name, WITNESS)
    ip(made.client, f"addr add {CLIENT}/24 dev {FIRST}", default(CLIENT, FIRST))
    if uplinks == 2:
        ip(made.client, f"addr add {CLIENT_SECOND}/24 dev {SECOND}", default(CLIENT_SECOND, SECOND, metric=200))
    ip(made.server, f"addr add {SERVER}/24 dev {SERVING}", default(SERVER, SERVING))


def connect(host: str, router: str, link: str) -> None:
    wire(host, router, link, link)
    run("tc", "-n", router, "qdisc", "add", "dev", link, "root", *SHAPE)
    ip(router, *(f"addr add {address}/24 dev {link}" for address in ROUTER[link]))


def default(address: str, link: str, metric: int = 100) -> str:
    """The command for a route to everywhere, by the router that is in the network of an address."""
    return f"route replace default via {address.rpartition('.')[0]}.1 dev {link} metric {metric}"


def since(before: Seen, after: Seen) -> Seen:
    """What arrived between two looks."""
    return {way: number - before.get(way, 0) for way, number in after.items() if number > before.get(way, 0)}
