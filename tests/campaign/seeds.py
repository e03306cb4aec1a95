"""What a seed makes of the network, the settings and the plans; and the record of a packet."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Literal

from fsp_trio.core.settings import Settings
from fsp_trio.core.timers import Timers
from fsp_trio.revisions import Revision
from fsp_trio.wire.codec import ULTID_PAIR
from fsp_trio.wire.packets import FLAG_EOT, Op

from .applications import Agree, Key, Order, Plan, Send, Step, transactions

IN_BAND = {Op.ACK_CONNECT_REQ, Op.NULCOMMIT, Op.PERSIST, Op.PURE_DATA, Op.RELEASE}
OUT_OF_BAND = {Op.KEEP_ALIVE, Op.ACK_FLUSH}
CHECKSUMMED = {Op.INIT_CONNECT, Op.ACK_INIT_CONNECT, Op.CONNECT_REQUEST}


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a seed makes of the network."""

    loss: float
    duplicate: float
    flip: float
    delay: float
    jitter: float
    congested: float
    """How often ECN Congestion Experienced is set."""
    grid: float
    """Arrivals are rounded up to multiples of it, so that several come at once; 0: they are not."""


@dataclass(slots=True)
class Record:
    """One datagram, or one copy of it."""

    sent_at: float
    sender: str
    datagram: bytes
    revision: Revision
    arrives_at: float = math.inf
    fate: str = "lost"

    def __str__(self) -> str:
        name = self.op.name if self.op is not None else "unknown"
        sn, expected = self.numbers
        arrival = f"{self.arrives_at:9.3f}" if self.arrives_at < math.inf else "        -"
        eot = " EoT" if self.op in IN_BAND and self._head[3] >> 24 & FLAG_EOT else ""
        return (
            f"{self.sent_at:9.3f} {arrival} {self.sender:6} {name:16} {sn:08x} {expected:08x} "
            f"{len(self.datagram):5} {self.fate}{eot}"
        )

    @property
    def _head(self) -> tuple[int, int, int, int, int, int]:
        return self.revision.codec.unpack_head(self.datagram, ULTID_PAIR)

    @property
    def op(self) -> Op | None:
        return self.revision.codec.ops.get(self._head[0])

    @property
    def window(self) -> int:
        return self._head[3] & 0xFFFFFF

    @property
    def numbers(self) -> tuple[int, int]:
        """Sequence number, and expected number or serial."""
        return self._head[4], self._head[5]


def conditions_of(rng: random.Random) -> Conditions:
    kind = rng.random()
    if kind < 0.1:
        return Conditions(0.0, 0.0, 0.0, rng.uniform(0.001, 0.2), 0.0, 0.0, rng.choice([0.0, 0.002]))
    return Conditions(
        loss=rng.uniform(0.0, 0.4),
        duplicate=rng.choice([0.0, rng.uniform(0.0, 0.3)]),
        flip=rng.choice([0.0, rng.uniform(0.0, 0.1)]),
        delay=rng.uniform(0.001, 0.2),
        jitter=rng.choice([0.0, rng.uniform(0.0, 0.05), rng.uniform(0.0, 1.0)]),
        congested=rng.choice([0.0, 0.0, 0.02]),
        grid=rng.choice([0.0, 0.005, 0.05]),
    )


def settings_of(rng: random.Random, rekey_after: int | None) -> Settings:
    return Settings(
        max_payload=rng.choice([200, 536, 1024, 1024, 1400, 4000, 16_000]),
        receive_window=rng.choice([4, 7, 32, 256, 2048]),
        send_buffer=rng.choice([1, 5_000, 2**20]),
        timers=rng.choice([Timers.draft(), Timers.responsive(), Timers.responsive(maximum=5.0)]),
        rekey_after=rekey_after,
    )


def size_of(rng: random.Random) -> int:
    return int(rng.choice([0, 1, *(rng.uniform(1, most) for most in (500, 2_000, 2_000, 20_000, 20_000, 200_000))]))


def key_of(rng: random.Random, revision: Revision) -> Key:
    """Material and a mode that the revision takes."""
    modes: list[Literal["aead", "mac"]] = ["aead", "aead", "mac"]
    material, mode, bits = rng.randbytes(rng.choice([16, 32, 100])), rng.choice(modes), rng.choice([128, 256])
    if mode == "mac":
        material = material[:64]
    elif not takes(revision, material, bits):
        material = material.ljust(bits // 8, b"*")[: bits // 8]
    return Key(material, mode, bits)


def takes(revision: Revision, material: bytes, bits: int) -> bool:
    try:
        revision.integrity.aead(material, bits)
    except ValueError:
        return False
    return True


def plans_of(rng: random.Random, revision: Revision) -> dict[str, Plan]:
    """Both plans: transactions, a key, transactions, perhaps another key and more, a shutdown."""
    steps: dict[str, list[Step]] = {"client": [], "server": []}

    def some(most: int) -> None:
        for own in steps.values():
            own += [Send(rng.randbytes(size_of(rng))) for _ in range(rng.randint(0, most))]

    def agree() -> None:
        key = key_of(rng, revision)
        orders = [rng.choice(list(Order)), rng.choice([Order.AFTER_COMMIT, Order.AFTER_FLUSH])]
        rng.shuffle(orders)
        if revision.whole_blocks and any(isinstance(step, Agree) for step in steps["client"]):
            # what is still open waits for its block to be filled, so nothing would be sent under the key before
            orders = [Order.AFTER_COMMIT if order is Order.BEFORE_COMMIT else order for order in orders]
        heard = {"client": len(steps["server"]) + 1, "server": len(steps["client"]) + 1}
        for (name, own), order in zip(steps.items(), orders, strict=True):
            own.append(Agree(rng.randbytes(rng.randint(1, 3_000)), key, heard[name], order))

    some(2)
    if rng.random() < 0.5:  # the welcome that leaves with ACK_CONNECT_REQ
        steps["server"].insert(0, Send(rng.randbytes(rng.randint(1, 200))))
        welcome = True
    else:
        welcome = False
    if steps["client"] and not transactions(steps["client"])[0]:
        steps["client"][0] = Send(b"not empty: NULCOMMIT would only confirm (M20)")
    for _ in range(rng.choice([1, 1, 2])):
        agree()
        some(3)
    who = rng.choice([("client",), ("server",), ("client", "server")])
    plans = {}
    for name, own in steps.items():
        plans[name] = Plan(
            own,
            shuts_down=name in who,
            eager=rng.random() < 0.5,
            reads_every=rng.choice([0.0, 0.0, rng.uniform(0.01, 0.5)]),
            reads=rng.choice([1_000, 100_000]),
            writes=rng.choice([3_000, 300_000]),
            before_connected=rng.choice([0, 5]),
        )
    plans["client"].expected = transactions(steps["server"])
    plans["server"].expected = transactions(steps["client"])
    if not welcome:
        plans["server"].before_connected = 0
    return plans
