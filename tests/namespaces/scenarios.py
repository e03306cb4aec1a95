"""What happens to the network in the middle of a transfer, and how the kernel's counters prove that it did."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from tests.netns import inside, ip, nft, output, run

from .attacks import CHANCES
from .programs import Program
from .world import (
    CLIENT,
    CLIENT_SECOND,
    ELSEWHERE,
    FIRST,
    NEIGHBOUR,
    OUTSIDE,
    OUTSIDE_AFTERWARDS,
    SECOND,
    SERVER,
    SERVER_ELSEWHERE,
    SERVING,
    Seen,
    World,
    counted,
    default,
    since,
)

ENOUGH: Final = 10
"""Packets each way at the least that show that a transfer goes on somewhere."""
LOOKS: Final = 3
"""Times that are waited for them: a machine may be busy."""


@dataclass
class Stage:
    """A world in which a transfer is under way."""

    world: World
    client: Program
    server: Program
    middle: Program | None = None
    """The program that forwards, where the kernel does not."""
    pauses: list[float] = field(default_factory=list)
    """Seconds, different in each run, for a happening to wait."""
    look: float = 1.0
    """Seconds in which the kernel's counters must show where the transfer is."""
    drawn: float = 0.0
    """The share of the octets that an attacker has drawn to other addresses."""

    async def wait(self) -> None:
        await trio.sleep(self.pauses.pop())

    def seen(self) -> Seen:
        return self.world.seen_at_server()

    async def transfer_is_from(self, client: str, *, to: str = SERVER, ports: range = range(18003, 18004)) -> None:
        """For a while: packets of the client come from there, and from nowhere else, and answers get through."""
        before, answers_before = self.world.seen_at_server(), self.world.seen_at_client()
        arrived: Seen = {}
        answers: Seen = {}
        for _ in range(LOOKS):
            await trio.sleep(self.look)
            arrived = since(before, self.world.seen_at_server())
            answers = since(answers_before, self.world.seen_at_client())
            strays = [
                way for way in arrived if (way.source, way.target) != (client, to) or way.source_port not in ports
            ]
            assert not strays, f"packets arrive on other ways than from {client} to {to}: {strays[:5]}"
            assert {way.source for way in answers} <= {to}, f"answers do not come from {to} alone: {answers}"
            if sum(arrived.values()) >= ENOUGH and sum(answers.values()) >= ENOUGH:
                return
        raise AssertionError(f"there is hardly any transfer from {client} to {to}: {arrived}, {answers}")


Happening = Callable[[Stage], Awaitable[None]]
SETTLED: Final = 1.0
"""Seconds after a change until the transfer must go on, and only on the new way."""


async def moves(stage: Stage, old: str, new: str, link: str = FIRST) -> None:
    """As when a host has found another network: the new address and its gateway come before the old address goes."""
    ip(stage.world.client, f"addr add {new}/24 dev {link}", default(new, link), f"addr del {old}/24 dev {link}")


async def client_moves(stage: Stage) -> None:
    await stage.transfer_is_from(CLIENT)
    await moves(stage, CLIENT, ELSEWHERE)
    await trio.sleep(SETTLED)
    await stage.transfer_is_from(ELSEWHERE)


async def client_loses_its_address(stage: Stage) -> None:
    """Then comes another one of the same network, with a label; the route comes later, as DHCP clients do it."""
    await stage.transfer_is_from(CLIENT)
    ip(stage.world.client, f"addr del {CLIENT}/24 dev {FIRST}")
    await stage.wait()
    ip(stage.world.client, f"addr add {NEIGHBOUR}/24 dev {FIRST} label {FIRST}:1")
    await trio.sleep(0.02)
    ip(stage.world.client, default(NEIGHBOUR, FIRST))
    await trio.sleep(SETTLED)
    await stage.transfer_is_from(NEIGHBOUR)


async def both_move(stage: Stage) -> None:
    await stage.transfer_is_from(CLIENT)
    await moves(stage, CLIENT, ELSEWHERE)
    await trio.sleep(SETTLED)
    await stage.transfer_is_from(ELSEWHERE)
    ip(
        stage.world.server,
        f"addr add {SERVER_ELSEWHERE}/24 dev {SERVING}",
        default(SERVER_ELSEWHERE, SERVING),
        f"addr del {SERVER}/24 dev {SERVING}",
    )
    await trio.sleep(SETTLED)
    await stage.transfer_is_from(ELSEWHERE, to=SERVER_ELSEWHERE)
    await moves(stage, ELSEWHERE, CLIENT)
    await trio.sleep(SETTLED)
    await stage.transfer_is_from(CLIENT, to=SERVER_ELSEWHERE)


# a NAT

MAPPINGS: Final = ((OUTSIDE, range(20_000, 30_000)), (OUTSIDE, range(30_000, 40_000)),
                   (OUTSIDE_AFTERWARDS, range(40_000, 50_000)))  # fmt: skip


def translate(world: World, mapping: int) -> None:
    """From now on the client appears at another port, or address; mappings from before are forgotten."""
    address, ports = MAPPINGS[mapping]
    nft(
        world.router,
        "table ip nat\n"
        "flush table ip nat\n"
        "table ip nat { chain leaving { type nat hook postrouting priority 100\n"
        f"oif {SERVING} meta l4proto udp counter snat to {address}:{ports.start}-{ports.stop - 1} fully-random\n"
        "}\n}\n",
    )
    run(*inside(world.router, "conntrack", "--flush"))


async def rebinds(stage: Stage) -> None:
    address, ports = MAPPINGS[0]
    await stage.transfer_is_from(address, ports=ports)
    for number in (1, 2):
        address, ports = MAPPINGS[number]
        translate(stage.world, number)
        await trio.sleep(SETTLED)
        await stage.transfer_is_from(address, ports=ports)
        known = output(*inside(stage.world.router, "conntrack", "-L", "-p", "udp", "--src-nat"))
        assert f"src={CLIENT} dst={SERVER}" in known, f"the NAT has no mapping: {known}"
        assert f"dst={address} sport=18003" in known, f"the NAT has another mapping: {known}"


# interfaces


async def interface_goes_down(stage: Stage) -> None:
    """The administrator takes the first uplink down, then the second one when the first is there again."""
    await stage.transfer_is_from(CLIENT)
    ip(stage.world.client, f"link set dev {FIRST} down")
    await trio.sleep(SETTLED)
    await stage.transfer_is_from(CLIENT_SECOND)
    ip(stage.world.client, f"link set dev {FIRST} up", default(CLIENT, FIRST))
    await stage.wait()
    ip(stage.world.client, f"link set dev {SECOND} down")
    await trio.sleep(SETTLED)
    await stage.transfer_is_from(CLIENT)


async def cable_is_pulled(stage: Stage) -> None:
    """The interface is up, with its address and its routes, and has no carrier."""
    await stage.transfer_is_from(CLIENT)
    ip(stage.world.router, f"link set dev {FIRST} down")
    await trio.sleep(SETTLED)
    assert CLIENT in output("ip", "-n", stage.world.client, "addr", "show", "dev", FIRST)
    await stage.transfer_is_from(CLIENT_SECOND)
    ip(stage.world.router, f"link set dev {FIRST} up")
    await stage.wait()
    ip(stage.world.router, f"link set dev {SECOND} down")
    await trio.sleep(SETTLED)
    await stage.transfer_is_from(CLIENT)


async def interface_vanishes(stage: Stage) -> None:
    """As when a modem is unplugged: the first uplink exists no more; then it is there again, under another number."""
    await stage.transfer_is_from(CLIENT)
    stage.world.unlink(FIRST)
    await trio.sleep(SETTLED)
    await stage.transfer_is_from(CLIENT_SECOND)
    stage.world.link(FIRST)
    ip(stage.world.client, f"addr add {CLIENT}/24 dev {FIRST}", default(CLIENT, FIRST))
    await stage.wait()
    stage.world.unlink(SECOND)
    await trio.sleep(SETTLED)
    await stage.transfer_is_from(CLIENT)


async def only_interface_goes_down(stage: Stage) -> None:
    """And comes up with the same address: once before the session has moved anywhere, and once afterwards."""
    for address, other in ((CLIENT, ELSEWHERE), (ELSEWHERE, CLIENT)):
        await stage.transfer_is_from(address)
        ip(stage.world.client, f"link set dev {FIRST} down")
        await stage.wait()
        ip(stage.world.client, f"link set dev {FIRST} up", default(address, FIRST))
        await trio.sleep(SETTLED)
        await stage.transfer_is_from(address)
        await moves(stage, address, other)
        await trio.sleep(SETTLED)
    await stage.transfer_is_from(CLIENT)


async def route_changes(stage: Stage) -> None:
    """Both uplinks are up; the system prefers the second one from now on."""
    await stage.transfer_is_from(CLIENT)
    ip(stage.world.client, default(CLIENT_SECOND, SECOND, metric=50))
    await trio.sleep(SETTLED)
    await stage.transfer_is_from(CLIENT_SECOND)
    ip(stage.world.client, "route del default metric 50")
    await trio.sleep(SETTLED)
    await stage.transfer_is_from(CLIENT)


async def address_changes_links(stage: Stage) -> None:
    """As when a bridge is made: the address is the same, but it belongs to another interface from now on."""
    await moves(stage, CLIENT, ELSEWHERE)
    await trio.sleep(SETTLED)
    await stage.transfer_is_from(ELSEWHERE)
    ip(stage.world.router, f"route add {ELSEWHERE}/32 via {CLIENT_SECOND} dev {SECOND}")
    ip(
        stage.world.client,
        f"addr add {ELSEWHERE}/32 dev {SECOND}",
        f"route replace default via 10.82.0.1 dev {SECOND} metric 100 src {ELSEWHERE}",
        f"addr del {ELSEWHERE}/24 dev {FIRST}",
        f"link set dev {FIRST} down",
    )
    await trio.sleep(SETTLED)
    await stage.transfer_is_from(ELSEWHERE)


async def smaller_packets(stage: Stage) -> None:
    """The other uplink takes no datagram of the usual size: no segments there, and fragments for the large ones."""
    for name in (stage.world.client, stage.world.router):
        ip(name, f"link set dev {SECOND} mtu 700")
    await stage.transfer_is_from(CLIENT)
    ip(stage.world.client, f"link set dev {FIRST} down")
    await trio.sleep(SETTLED)
    await stage.transfer_is_from(CLIENT_SECOND)


async def uplink_dies(stage: Stage) -> None:
    """Everything looks well, but nothing gets through by the first uplink any more."""
    await stage.transfer_is_from(CLIENT)
    nft(stage.world.router, trouble(f'iifname "{FIRST}" counter drop', f'oifname "{FIRST}" counter drop'))
    await trio.sleep(4 * SETTLED)
    await stage.transfer_is_from(CLIENT_SECOND)
    assert all(stage.world.dropped()), "nothing was dropped"


# blackholes

BLACKHOLE: Final = 5.0


def trouble(*rules: str) -> str:
    return (
        "table ip trouble { chain passing { type filter hook forward priority 0\n"
        + "\n".join(f"meta l4proto udp {rule}" for rule in rules)
        + "\n}\n}\n"
    )


async def nothing_arrives(stage: Stage) -> None:
    """From now on, for five seconds."""
    await trio.sleep(0.2)
    before = stage.world.seen_at_server(), stage.world.seen_at_client()
    await trio.sleep(BLACKHOLE - 0.2)
    after = stage.world.seen_at_server(), stage.world.seen_at_client()
    assert before == after, "something got through"


async def blackhole(stage: Stage) -> None:
    await stage.transfer_is_from(CLIENT)
    nft(stage.world.router, trouble(f'oifname "{SERVING}" counter drop', f'iifname "{SERVING}" counter drop'))
    await nothing_arrives(stage)
    up, down = stage.world.dropped()
    assert up, "nothing of the client's was dropped"
    assert down, "nothing of the server's was dropped"
    nft(stage.world.router, "delete table ip trouble")


async def unreachable(stage: Stage) -> None:
    """The router says by ICMP that there is no way."""
    await stage.transfer_is_from(CLIENT)
    nft(stage.world.router, trouble("counter reject with icmp type net-unreachable"))
    await nothing_arrives(stage)
    assert all(stage.world.dropped()), "nothing was refused"
    nft(stage.world.router, "delete table ip trouble")


async def forbidden(stage: Stage) -> None:
    """A firewall in the client itself lets nothing out (EPERM) and nothing in."""
    await stage.transfer_is_from(CLIENT)
    nft(
        stage.world.client,
        "table ip trouble {\n"
        "chain out { type filter hook output priority 0\nmeta l4proto udp counter drop\n}\n"
        "chain in { type filter hook prerouting priority -400\nmeta l4proto udp counter drop\n}\n}\n",
    )
    await nothing_arrives(stage)
    assert all(counted(stage.world.client, "trouble")), "nothing was dropped"
    nft(stage.world.client, "delete table ip trouble")


async def no_route(stage: Stage) -> None:
    """The client has its address, and no route: ENETUNREACH."""
    await stage.transfer_is_from(CLIENT)
    ip(stage.world.client, "route del default")
    nft(stage.world.router, trouble(f'iifname "{SERVING}" counter drop'))
    await nothing_arrives(stage)
    assert all(stage.world.dropped()), "nothing was dropped"
    nft(stage.world.router, "delete table ip trouble")
    ip(stage.world.client, default(CLIENT, FIRST))


# at the application's wish


async def migrates(stage: Stage) -> None:
    await stage.transfer_is_from(CLIENT)
    await stage.client.tell(f"migrate {CLIENT_SECOND}")
    said = await stage.client.heard("migrated")
    assert said["paths"][0] == [[CLIENT_SECOND, 18003], [SERVER, 18003], "active"], said
    await stage.transfer_is_from(CLIENT_SECOND)


# somebody in the middle

ATTACKED: Final = 6.0
"""Seconds of attack."""
AFTERWARDS: Final = 1.2
"""Seconds until the last packets that were held back have arrived."""
DRAWN: Final = 0.05
"""Of the octets sent, the share that somebody who is faster than the original may draw to another address (10.5)."""


async def forwarded(stage: Stage) -> None:
    """By a program that does nothing else: what the attack is compared with."""
    await stage.transfer_is_from(CLIENT)
    await trio.sleep(ATTACKED)
    await stage.transfer_is_from(CLIENT)


async def attacked(stage: Stage) -> None:
    middle = stage.middle
    assert middle is not None
    await stage.transfer_is_from(CLIENT)
    before, before_at_client = stage.world.seen_at_server(), stage.world.seen_at_client()
    await middle.tell("attack")
    await trio.sleep(ATTACKED)
    await middle.tell("stop report")
    said = await middle.heard("reported")
    await trio.sleep(AFTERWARDS)
    assert not CHANCES.keys() - said["done"].keys(), f"not everything was tried: {said['done']}"
    assert sum(said["done"].values()) > said["passed"] / 4, f"there was hardly any attack: {said}"
    drawn = sum(said["drawn"].values()) / (said["octets"] or 1)
    assert 0 < drawn <= DRAWN, f"the attacker has drawn {drawn:.1%} of the octets to other addresses: {said}"
    stage.drawn = drawn
    for seen, earlier, peer in (
        (stage.world.seen_at_server(), before, CLIENT),
        (stage.world.seen_at_client(), before_at_client, SERVER),
    ):
        strange = [way for way in since(earlier, seen) if (way.source, way.source_port) != (peer, 18003)]
        assert len(strange) >= ENOUGH, f"hardly any packet came from elsewhere: {strange}"
    await stage.transfer_is_from(CLIENT)


@dataclass(frozen=True)
class Scenario:
    """A happening, what it takes, and what it does to the two ends."""

    happening: Happening
    lasting: float
    """Seconds of the transfer if nothing stood in the way."""
    gap: float
    """Seconds without an octet, at the most."""
    uplinks: int = 1
    multihoming: bool = False
    middle: bool = False
    """A program forwards instead of the kernel."""
    arrange: Callable[[World], None] = lambda world: None
    only: tuple[str, ...] = ("gao-07", "jason-00", "reference-2020")
    moves: tuple[int, int] = (0, 0)
    """How often the client, and the server, go over to another address of their own."""
    follows: tuple[int, int] = (0, 0)
    """How often the client, and the server, follow the other one, at the least."""
    at_home: float = 0.0
    """The share of time in which each end must hold the other one to be where it is, where neither moves."""
    takes: float = 1.5
    """How many times as long the transfer may take as if nothing had happened."""


FOLLOWING: Final = ("gao-07", "jason-00")
"""reference-2020 answers to one port, whatever a NAT makes of it."""

SCENARIOS: Final = {
    "the client's address changes": Scenario(client_moves, 6.0, 4.0, moves=(1, 0), follows=(0, 1)),
    "the client's address goes, another one comes": Scenario(
        client_loses_its_address, 6.0, 4.0, moves=(1, 0), follows=(0, 1)
    ),
    "the client's NAT rebinds, twice": Scenario(
        rebinds, 8.0, 4.0, arrange=lambda world: translate(world, 0), only=FOLLOWING, follows=(0, 2)
    ),
    "both move, one after the other": Scenario(both_move, 10.0, 4.0, moves=(2, 1), follows=(1, 2)),
    "an interface goes down, another one is up": Scenario(
        interface_goes_down, 8.0, 4.0, uplinks=2, moves=(2, 0), follows=(0, 2)
    ),
    "a cable is pulled, another interface is up": Scenario(
        cable_is_pulled, 8.0, 4.0, uplinks=2, moves=(2, 0), follows=(0, 2)
    ),
    "an interface vanishes, another one is up": Scenario(
        interface_vanishes, 8.0, 4.0, uplinks=2, moves=(2, 0), follows=(0, 2)
    ),
    "the only interface goes down, and up again": Scenario(
        only_interface_goes_down, 12.0, 5.0, moves=(2, 0), follows=(0, 2)
    ),
    "the system prefers another route": Scenario(route_changes, 6.0, 1.0, uplinks=2, moves=(2, 0), follows=(0, 2)),
    "the address goes over to another interface": Scenario(
        address_changes_links, 6.0, 4.0, uplinks=2, moves=(1, 0), follows=(0, 1)
    ),
    "another interface takes only smaller packets": Scenario(
        smaller_packets, 6.0, 4.0, uplinks=2, moves=(1, 0), follows=(0, 1)
    ),
    "five seconds of blackhole": Scenario(blackhole, 9.0, 12.0),
    "five seconds of ICMP unreachable": Scenario(unreachable, 9.0, 12.0),
    "five seconds behind a firewall": Scenario(forbidden, 9.0, 12.0),
    "five seconds without a route": Scenario(no_route, 9.0, 12.0),
    "an uplink dies silently": Scenario(
        uplink_dies, 9.0, 8.0, uplinks=2, multihoming=True, moves=(1, 0), follows=(0, 1)
    ),
    "somebody in the middle forwards": Scenario(forwarded, 12.0, 0.5, middle=True, at_home=1.0, takes=1.05),
    "somebody in the middle attacks": Scenario(
        attacked, 12.0, 2.0, middle=True, only=FOLLOWING, at_home=0.9, takes=1.25
    ),
    "the application migrates": Scenario(migrates, 5.0, 1.0, uplinks=2, moves=(1, 0), follows=(0, 1)),
}
