"""What a seed makes of the network, the settings and the plans; and the record of a packet."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from fsp_trio.core.settings import Settings
from fsp_trio.core.timers import Timers
from fsp_trio.revisions import GAO_07
from fsp_trio.wire.packets import Op

from .applications import Agree, Key, Order, Plan, Send, Step, transactions

CODEC = GAO_07.codec
NUMBER = CODEC.op_codes
IN_BAND = {NUMBER[op] for op in (Op.ACK_CONNECT_REQ, Op.NULCOMMIT, Op.PERSIST, Op.PURE_DATA, Op.RELEASE)}
OUT_OF_BAND = {NUMBER[op] for op in (Op.KEEP_ALIVE, Op.ACK_FLUSH)}
CHECKSUMMED = {NUMBER[op] for op in (Op.INIT_CONNECT, Op.ACK_INIT_CONNECT, Op.CONNECT_REQUEST)}


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
    arrives_at: float = math.inf
    fate: str = "lost"

    def __str__(self) -> str:
        op_code = self.datagram[8]
        op = CODEC.ops[op_code].name if op_code in CODEC.ops else f"op {op_code}"
        sn, expected = self.numbers
        arrival = f"{self.arrives_at:9.3f}" if self.arrives_at < math.inf else "        -"
        eot = " EoT" if op_code in IN_BAND and self.datagram[12] & 0x80 else ""
        return (
            f"{self.sent_at:9.3f} {arrival} {self.sender:6} {op:16} {sn:08x} {expected:08x} "
            f"{len(self.datagram):5} {self.fate}{eot}"
        )

    @property
    def numbers(self) -> tuple[int, int]:
        return int.from_bytes(self.datagram[16:20], "big"), int.from_bytes(self.datagram[20:24], "big")


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


def plans_of(rng: random.Random) -> dict[str, Plan]:
    """Both plans: transactions, a key, transactions, perhaps another key and more, a shutdown."""
    steps: dict[str, list[Step]] = {"client": [], "server": []}

    def some(most: int) -> None:
        for own in steps.values():
            own += [Send(rng.randbytes(size_of(rng))) for _ in range(rng.randint(0, most))]

    def agree() -> None:
        key = Key(rng.randbytes(rng.choice([16, 32, 100])), rng.choice(["aead", "aead", "mac"]), rng.choice([128, 256]))
        orders = [rng.choice(list(Order)), rng.choice([Order.AFTER_COMMIT, Order.AFTER_FLUSH])]
        rng.shuffle(orders)
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
