"""The same over whole sessions: tasks, endpoints, the simulated network, trio's clock (N5)."""

from __future__ import annotations

import random
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock

from fsp_trio import FSPSession, Settings, State, Timers
from fsp_trio.testing import Impairment, SimulatedNetwork, open_pair_maker
from fsp_trio.testing.nonces import NonceLedger

ORDINARY = 6
CAMPAIGN = 100
BLOCK = 10
LONGEST = 20_000.0
"""Seconds of trio's clock after which a seed is held to hang."""
TAIL = 40


@dataclass(slots=True)
class Seed:
    """What a seed makes of network, settings and plans."""

    impairment: Impairment
    settings: Settings
    before: dict[str, list[bytes]]
    after: dict[str, list[bytes]]
    key: bytes
    closes_first: tuple[str, ...]
    pause: float


def seed_of(seed: int) -> Seed:
    rng = random.Random(seed)

    def some(most: int) -> dict[str, list[bytes]]:
        sizes = (0, 1, 500, 5_000, 60_000)
        return {
            name: [rng.randbytes(int(rng.choice(sizes) * rng.random())) for _ in range(rng.randint(0, most))]
            for name in ("client", "server")
        }

    return Seed(
        Impairment(
            loss=rng.uniform(0.0, 0.4),
            duplicate=rng.choice([0.0, 0.2]),
            corrupt=rng.choice([0.0, 0.05]),
            reorder=rng.choice([0.0, 0.2]),
            reorder_span=rng.uniform(0.001, 0.5),
            delay=rng.uniform(0.001, 0.2),
            jitter=rng.choice([0.0, rng.uniform(0.0, 1.0)]),
            congestion=rng.choice([0.0, 0.02]),
        ),
        Settings(
            max_payload=rng.choice([200, 1024, 1400, 8000]),
            receive_window=rng.choice([4, 32, 2048]),
            send_buffer=rng.choice([2_000, 2**20]),
            timers=Timers.responsive(maximum=5.0),
            commit_timeout=1e6,
            rekey_after=rng.choice([None, 64, 200]),
        ),
        some(2),
        some(3),
        rng.randbytes(32),
        rng.choice([("client",), ("server",), ("client", "server")]),
        rng.choice([0.0, 0.1]),
    )


async def send(session: FSPSession, values: list[bytes]) -> None:
    for value in values:
        async with session.send_transaction() as transaction:
            await transaction.send_all(value)
            await transaction.commit()


async def receive(session: FSPSession, values: list[bytes], pause: float) -> None:
    for value in values:
        async with await session.receive_transaction() as transaction:
            got = bytearray()
            async for piece in transaction:
                got += piece
                if pause:
                    await trio.sleep(pause)
            assert bytes(got) == value


async def carry_out(name: str, session: FSPSession, plan: Seed) -> None:
    """One application: transactions, a key, transactions, the end."""
    peer = "server" if name == "client" else "client"

    async def both(own: list[bytes], others: list[bytes]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, session, own)
            nursery.start_soon(receive, session, others, plan.pause)

    await both(plan.before[name], plan.before[peer])
    # 7.6: the transactions by which the two agree; the key follows on them, in whatever order they arrive
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, session, [b"nonce of the " + name.encode()])
        await receive(session, [b"nonce of the " + peer.encode()], 0.0)
        session.install_key(plan.key)
    await both(plan.after[name], plan.after[peer])
    if name not in plan.closes_first:
        while not session.peer_released:
            await trio.sleep(0.1)
    await session.aclose()


async def run(seed: int, network: SimulatedNetwork, plan: Seed) -> None:
    with NonceLedger() as ledger:
        async with open_pair_maker(network, settings=plan.settings, seed=seed) as maker:
            client, server = await maker.sessions()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(carry_out, "client", client, plan)
                nursery.start_soon(carry_out, "server", server, plan)
            for session in (client, server):
                assert session.state is State.CLOSED
                assert session.protection == "aead"
    assert ledger.sealed > 0
    assert ledger.forgotten == 0


def run_seed(seed: int) -> None:
    """One seed; what goes wrong names it and shows the end of the network's record."""
    plan = seed_of(seed)
    network: SimulatedNetwork | None = None

    async def main() -> None:
        nonlocal network
        network = SimulatedNetwork(seed, plan.impairment)
        with trio.fail_after(LONGEST):
            async with network:
                await run(seed, network, plan)

    try:
        trio.run(main, clock=MockClock(autojump_threshold=0))
    except Exception as error:
        tail = [] if network is None else list(network.record)[-TAIL:]
        lines = [
            f"{record.sent_at:10.3f} {record.source!s:14} op {record.datagram[8]:2} "
            f"{record.datagram[16:24].hex(' ', 4)} {len(record.datagram):5} {record.fate}"
            for record in tail
        ]
        raise AssertionError("\n".join([f"seed {seed}: {error!r}", f"{plan.impairment}", *lines])) from error


@pytest.mark.parametrize("seed", range(ORDINARY), ids=lambda seed: f"seed_{seed}")
def test_seed(seed: int) -> None:
    run_seed(seed)


@pytest.mark.campaign
@pytest.mark.parametrize("block", range(0, CAMPAIGN, BLOCK))
def test_campaign(block: int) -> None:
    for seed in range(block, block + BLOCK):
        run_seed(seed)
