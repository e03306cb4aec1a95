"""What is played against the author's program: the steps that it is given, and our own side of them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Final, Literal
from unittest import mock

import trio

from fsp_trio import revisions
from fsp_trio.core.failure import FailureKind
from fsp_trio.core.settings import Settings
from fsp_trio.core.timers import Timers
from fsp_trio.endpoint import FSPEndpoint, open_fsp_endpoint
from fsp_trio.errors import FSPBrokenError, FSPConnectError
from fsp_trio.session import FSPSession

REVISION: Final = "reference-2020"
SERVICE: Final = 80
UDP_PORT: Final = 18003
REKEY_AFTER: Final = 64
WELCOME: Final = "welcome text"
OUR_SEED: Final = 3
THEIR_SEED: Final = 5
"""Of the patterns that the initiator sends: ours, or the peer's."""
PATIENCE: Final = 60.0
"""Seconds for a whole run: the program repeats nothing sooner than a second after it was sent."""
SETTLE: Final = 0.3
GRAVE: Final = 3.0
"""Seconds for which a closed session can still answer a RELEASE whose answer was lost: nobody does it for a process
that has ended."""
SILENCE: Final = 2.0
"""Seconds in place of the sixty after which a connection that nobody answers is given up (6.6)."""


def pattern(size: int, seed: int) -> bytes:
    """Octets that the peer can make, too: see the interface in docs/interoperation.md."""
    return bytes((i * 31 + i // 512 * 7 + i // 65536 + seed * 17) & 255 for i in range(size))


@dataclass(frozen=True, slots=True)
class Key:
    mode: Literal["aead", "mac"]
    bits: int
    material: bytes


KEYS: Final = {
    "CRC64": None,
    "MAC": Key("mac", 256, bytes(range(0xA0, 0xC0))),
    "AES-128": Key("aead", 128, bytes(range(0xA0, 0xB0))),
    "AES-256": Key("aead", 256, bytes(range(0xA0, 0xC0))),
}
Ending = Literal["we release", "peer releases", "we reset", "peer resets"]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the matrix; each is played with us as initiator and as responder."""

    name: str
    protection: str = "CRC64"
    size: int = 0
    """Octets that travel each way, beside a greeting."""
    ending: Ending = "we release"
    rekeying: bool = False
    """The peer's service has a threshold of REKEY_AFTER packets."""
    one_lost_in: int = 0
    listener: bool = True

    @property
    def key(self) -> Key | None:
        return KEYS[self.protection]


SCENARIOS: Final = [
    Scenario("connect with welcome message"),
    *(
        Scenario(
            f"echo and 400 KB each way, {protection}", protection, 400_000, "we release" if even else "peer releases"
        )
        for even, protection in enumerate(KEYS)
    ),
    Scenario("re-keying every 64 packets, AES-128", "AES-128", 400_000, rekeying=True),
    Scenario("re-keying every 64 packets, AES-256", "AES-256", 400_000, "peer releases", rekeying=True),
    # always the peer: when the answer to our RELEASE is lost it has forgotten the connection
    *(
        Scenario(f"one packet in seven dropped, {protection}", protection, 8_000, "peer releases", one_lost_in=7)
        for protection in KEYS
    ),
    *(
        Scenario(f"{ending}, {protection}", protection, ending=ending)
        for ending in ("we release", "peer releases", "we reset", "peer resets")
        for protection in ("CRC64", "AES-256")
    ),
    Scenario("no listener", listener=False),
]


# the peer's part


def _agreement(key: Key, *, listens: bool) -> list[str]:
    """The order of installation in which that program does not stall (wire: its own key agreement)."""
    if listens:
        return ["recv", "send:A", "recv", f"key:{key.material.hex()}", "send:B"]
    return ["send:1", "recv", "send:2", f"key:{key.material.hex()}", "recv"]


def _last(ending: Ending) -> list[str]:
    return {
        "we release": ["wait"],
        "peer releases": ["shutdown"],
        "we reset": ["awaitreset"],
        "peer resets": ["sleep:300", "reset"],  # what came before shall be acknowledged
    }[ending]


def peer_listens(scenario: Scenario) -> list[str]:
    """Arguments for the peer program when we are the initiator."""
    steps = ["-w", WELCOME, *(["-m"] if scenario.protection == "MAC" else [])]
    if scenario.key is not None:
        steps += _agreement(scenario.key, listens=True)
    return [*steps, f"echo:{2 if scenario.size else 1}", *_last(scenario.ending)]


def peer_connects(scenario: Scenario) -> list[str]:
    """Arguments for the peer program when we are the responder."""
    if not scenario.listener:
        return ["-t", "3"]
    steps = ["-m"] if scenario.protection == "MAC" else []
    steps += ["recv", f"expect:{WELCOME}"]
    if scenario.key is not None:
        steps += _agreement(scenario.key, listens=False)
    steps += ["send:hello", "recv", "expect:hello"]
    if scenario.size:
        steps += [f"pattern:{scenario.size},{THEIR_SEED}", "recv", f"verify:{scenario.size},{THEIR_SEED}"]
    return [*steps, *_last(scenario.ending)]


# our part


async def read(session: FSPSession) -> bytes:
    transaction = await session.receive_transaction()
    octets = bytearray()
    while part := await transaction.receive_some():
        octets += part
    return bytes(octets)


async def send(session: FSPSession, octets: bytes) -> None:
    async with session.send_transaction() as transaction:
        await transaction.send_all(octets)


def install(session: FSPSession, key: Key) -> None:
    session.install_key(key.material, mode=key.mode, key_bits=key.bits, accept_repeated_nonces=True)


async def lead(session: FSPSession, scenario: Scenario) -> None:
    """As initiator: the agreement, a greeting and some octets that come back, the end."""
    check(await read(session), WELCOME.encode())
    if scenario.key is not None:
        await send(session, b"1")
        check(await read(session), b"A")
        transaction = session.send_transaction()
        await transaction.send_all(b"2")
        transaction.end()
        install(session, scenario.key)  # before its acknowledgement is awaited: that may come under the key (M29)
        check(await read(session), b"B")
    for octets in [b"hello"] + [pattern(scenario.size, OUR_SEED)] * bool(scenario.size):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, session, octets)
            check(await read(session), octets)


async def follow(session: FSPSession, scenario: Scenario, seed: int = THEIR_SEED) -> None:
    """As responder: the agreement, everything sent back, the end."""
    if scenario.key is not None:
        check(await read(session), b"1")
        await send(session, b"A")
        check(await read(session), b"2")
        install(session, scenario.key)
        await send(session, b"B")
    for octets in [b"hello"] + [pattern(scenario.size, seed)] * bool(scenario.size):
        received = await read(session)
        check(received, octets)
        await send(session, received)


async def end(session: FSPSession, ending: Ending) -> None:
    if ending == "we reset":
        await session.wait_acknowledged()
        await trio.sleep(SETTLE)  # until the peer's application has read what its service acknowledged
        session.reset()
    elif ending == "we release":
        await session.aclose()
        check(session.closed_confirmed, True)
    else:
        try:
            await session.receive_transaction()
        except trio.EndOfChannel:
            check(ending, "peer releases")
            await session.aclose()
        except FSPBrokenError as broken:
            check(ending, "peer resets")
            check(broken.kind, FailureKind.RESET_BY_PEER)


def check(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"{str(found)[:60]!r} instead of {str(wanted)[:60]!r}")


async def _initiate(endpoint: FSPEndpoint, scenario: Scenario, peer: str) -> None:
    if not scenario.listener:
        try:
            await endpoint.open_session(peer, UDP_PORT, service=SERVICE)
        except FSPConnectError as failed:
            check(failed.kind in (FailureKind.HANDSHAKE_TIMEOUT, FailureKind.REFUSED), True)
            return
        raise AssertionError("connected to nobody")
    session = await endpoint.open_session(peer, UDP_PORT, service=SERVICE)
    await lead(session, scenario)
    await end(session, scenario.ending)


async def _respond(endpoint: FSPEndpoint, scenario: Scenario, ready: Callable[[], None]) -> None:
    if not scenario.listener:
        ready()
        await trio.sleep(SILENCE * 2)
        check(endpoint.statistics().sessions, 0)
        return
    async with endpoint.listen(SERVICE, welcome=WELCOME.encode()) as listener:
        ready()
        session = await listener.accept_session()
        await follow(session, scenario)
        await end(session, scenario.ending)


async def play(scenario: Scenario, role: str, peer: str, ready: Callable[[], None]) -> None:
    """Our side of one run; AssertionError, or whatever the library raises, if it fails."""
    settings = Settings(timers=Timers.responsive(maximum=2.0), rekey_after=REKEY_AFTER if scenario.rekeying else None)
    protocol = revisions.get(REVISION)
    if not scenario.listener:
        protocol = replace(protocol, transient_timeout=SILENCE)
    with trio.fail_after(PATIENCE), mock.patch.dict(revisions.REVISIONS, {REVISION: protocol}):
        async with open_fsp_endpoint("0.0.0.0", UDP_PORT, revision=REVISION, settings=settings) as endpoint:
            part: Awaitable[None] = (
                _initiate(endpoint, scenario, peer) if role == "initiator" else _respond(endpoint, scenario, ready)
            )
            await part
            if scenario.one_lost_in:
                await trio.sleep(GRAVE)
