"""One end of a transfer both ways: a program on the public API, as `python -m tests.namespaces.party PLAN`.

It says what happens in lines of JSON, and does what its input asks for: `migrate ADDRESS`.  It ends when its input
does.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import random
import sys
import time
import warnings
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import trio

from fsp_trio import FSPSession, Settings, open_fsp_endpoint
from fsp_trio.core.timers import Timers
from fsp_trio.keying import agree_psk

SERVICE: Final = 7
PIECE: Final = 16_384
LOOKS: Final = 0.01
"""Seconds between looks at where the peer is."""
READY, KEYED, MIGRATED, TRANSFERRED, DONE = "ready", "keyed", "migrated", "transferred", "done"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a program does; octets to send, and seconds that this takes if nothing stands in the way."""

    secret: str
    """In hexadecimal digits."""
    seed: str
    octets: int
    lasting: float
    remote: str = ""
    """The server's address; empty for the server itself."""
    revision: str = "gao-07"
    multihoming: bool = False


@dataclass
class Reading:
    """What was read, and when."""

    digest: Any = field(default_factory=hashlib.sha256)
    octets: int = 0
    times: list[float] = field(default_factory=list)

    def take(self, part: bytes | bytearray) -> None:
        self.digest.update(part)
        self.octets += len(part)
        self.times.append(time.monotonic())

    def report(self) -> dict[str, Any]:
        gaps = [(b - a, a) for a, b in itertools.pairwise(self.times)]
        longest, at = max(gaps, default=(0.0, 0.0))
        return {
            "octets": self.octets,
            "digest": self.digest.hexdigest(),
            "first": self.times[0],
            "last": self.times[-1],
            "gap": longest,
            "gap_began": at,
        }


def say(event: str, **about: Any) -> None:
    print(json.dumps({"event": event, "at": time.monotonic(), **about}, default=str), flush=True)


def to_be_sent(plan: Plan) -> bytes:
    return random.Random(plan.seed).randbytes(plan.octets)


async def send(session: FSPSession, data: bytes, lasting: float) -> None:
    """In pieces at their times; after a silence those that are late leave at once."""
    began = trio.current_time()
    async with session.send_transaction() as transaction:
        for at in range(0, len(data), PIECE):
            await transaction.send_all(data[at : at + PIECE])
            await trio.sleep_until(began + lasting * at / len(data))


async def read(session: FSPSession, into: Reading) -> None:
    async for part in await session.receive_transaction():
        into.take(part)


@asynccontextmanager
async def session_of(plan: Plan) -> AsyncGenerator[FSPSession, None]:
    settings = Settings(timers=Timers.responsive(), nat_keepalive=2.0, multihoming=plan.multihoming)
    async with open_fsp_endpoint(settings=settings, revision=plan.revision, linger=5.0) as endpoint:
        if plan.remote:
            session = await endpoint.open_session(plan.remote, service=SERVICE)
        else:
            listener = endpoint.listen(SERVICE)
            say(READY)
            session = await listener.accept_session()
        async with session:
            await agree_psk(
                session, bytes.fromhex(plan.secret), initiator=bool(plan.remote), accept_repeated_nonces=True
            )
            say(KEYED, protection=session.protection, paths=paths(session), ultids=ultids(session))
            yield session
        said = session.statistics()
        say(
            DONE,
            confirmed=session.closed_confirmed,
            paths=paths(session),
            packets=asdict(said.packets),
            srtt=said.srtt,
            port=asdict(endpoint.statistics().port),
            drops=endpoint.statistics().drops,
        )


def paths(session: FSPSession) -> list[tuple[Any, Any, str]]:
    return [(path.local, path.remote, path.state.value) for path in session.paths]


def ultids(session: FSPSession) -> tuple[str, str]:
    return session.local_ultid.hex(), session.remote_ultid.hex()


async def obey(session: FSPSession) -> None:
    """Until the input ends, when the program shall end, too."""
    said = b""
    commands = trio.lowlevel.FdStream(os.dup(sys.stdin.fileno()))
    while part := await commands.receive_some():
        said += part
        while b"\n" in said:
            line, _, said = said.partition(b"\n")
            match line.decode().split():
                case ["migrate", address]:
                    began = time.monotonic()
                    await session.migrate(address)
                    say(MIGRATED, took=time.monotonic() - began, paths=paths(session))
    raise SystemExit("nobody is there any more")


async def watch(session: FSPSession, whereabouts: Counter[str]) -> None:
    """Where the peer is held to be, at every look."""
    while True:
        whereabouts[str(session.remote_address)] += 1
        await trio.sleep(LOOKS)


async def main(plan: Plan) -> None:
    reading = Reading()
    data = to_be_sent(plan)
    whereabouts = Counter[str]()
    async with session_of(plan) as session, trio.open_nursery() as listening:
        listening.start_soon(obey, session)
        listening.start_soon(watch, session, whereabouts)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, session, data, plan.lasting)
            nursery.start_soon(read, session, reading)
        await session.wait_acknowledged()
        sent = {"octets": len(data), "digest": hashlib.sha256(data).hexdigest()}
        say(TRANSFERRED, read=reading.report(), sent=sent, whereabouts=whereabouts)
        listening.cancel_scope.cancel()


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    trio.run(main, Plan(**json.loads(sys.argv[1])))
