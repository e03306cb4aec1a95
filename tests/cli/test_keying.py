"""Key agreement from a pre-shared key, over the simulated network."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from fsp_trio import FSPBrokenError, FSPClosedError, FSPSession, KeyInstallationError, State
from fsp_trio.keying import GREETING, KeyAgreementError, KeyAgreementTimeout, agree_psk
from fsp_trio.testing import Impairment, SimulatedNetwork, session_pair

PSK = b"sixteen octets!!"
GONE = (State.NON_EXISTENT, State.CLOSED)

Outcome = BaseException | None


async def both(
    first: Callable[[], Awaitable[object]], second: Callable[[], Awaitable[object]]
) -> tuple[Outcome, Outcome]:
    """Run both and give the exceptions that they ended with."""
    outcomes: list[Outcome] = [None, None]

    async def one(number: int, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except Exception as error:
            outcomes[number] = error

    async with trio.open_nursery() as nursery:
        nursery.start_soon(one, 0, first)
        nursery.start_soon(one, 1, second)
    return outcomes[0], outcomes[1]


def lead(session: FSPSession, psk: bytes = PSK, timeout: float = 30.0) -> Callable[[], Awaitable[None]]:
    return functools.partial(agree_psk, session, psk, initiator=True, timeout=timeout)


def follow(session: FSPSession, psk: bytes = PSK, timeout: float = 30.0) -> Callable[[], Awaitable[None]]:
    return functools.partial(agree_psk, session, psk, initiator=False, timeout=timeout)


async def say(session: FSPSession, message: bytes) -> None:
    async with session.send_transaction() as transaction:
        await transaction.send_all(message)


async def hear(session: FSPSession) -> bytes:
    async with await session.receive_transaction() as transaction:
        return b"".join([bytes(data) async for data in transaction])


async def test_both_ends_agree_and_talk(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(1, Impairment(delay=0.05)) as network, session_pair(network) as (a, b):
        assert await both(lead(a), follow(b)) == (None, None)
        assert a.protection == b.protection == "aead"
        assert trio.current_time() < 1.0
        assert await both(lambda: say(a, b"there"), lambda: hear(b)) == (None, None)
        assert await both(lambda: say(b, b"back"), lambda: hear(a)) == (None, None)
        assert await both(a.aclose, b.aclose) == (None, None)


@pytest.mark.parametrize("roles_swapped", [False, True])
async def test_who_opened_the_session_does_not_matter(autojump_clock: MockClock, roles_swapped: bool) -> None:
    async with session_pair() as pair:
        a, b = reversed(pair) if roles_swapped else pair
        assert await both(lead(a), follow(b)) == (None, None)
        assert a.protection == b.protection == "aead"


async def test_mac_instead_of_encryption(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):
        outcome = await both(
            functools.partial(agree_psk, a, PSK, initiator=True, mode="mac"),
            functools.partial(agree_psk, b, PSK, initiator=False, mode="mac"),
        )
        assert outcome == (None, None)
        assert a.protection == b.protection == "mac"


@pytest.mark.parametrize("seed", range(8))
async def test_over_a_bad_network(autojump_clock: MockClock, seed: int) -> None:
    impairment = Impairment(delay=0.02, jitter=0.05, loss=0.2, duplicate=0.1, corrupt=0.05, reorder=0.1)
    async with SimulatedNetwork(seed, impairment) as network, session_pair(network, seed=seed) as (a, b):
        assert await both(lead(a, timeout=600), follow(b, timeout=600)) == (None, None)
        assert a.protection == b.protection == "aead"


async def test_another_secret_is_told_at_both_ends_at_once(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(1, Impairment(delay=0.05)) as network, session_pair(network) as (a, b):
        first, second = await both(lead(a), follow(b, b"another sixteen octets"))
        assert trio.current_time() < 1.0
        for outcome in (first, second):
            assert isinstance(outcome, KeyAgreementError)
            assert not isinstance(outcome, KeyAgreementTimeout)
            assert "another pre-shared key" in str(outcome)
        assert a.state in GONE
        assert b.state in GONE
        assert a.protection == b.protection == "crc64"


async def test_keys_differ_from_session_to_session(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[bytes] = []
    original = FSPSession.install_key

    def spy(self: FSPSession, ikm: bytes, **options: object) -> None:
        keys.append(ikm)
        original(self, ikm)

    monkeypatch.setattr(FSPSession, "install_key", spy)
    for _ in range(2):
        async with session_pair() as (a, b):  # the same ULTIDs each time
            assert await both(lead(a), follow(b)) == (None, None)
    assert keys[0] == keys[1]
    assert keys[2] == keys[3]
    assert keys[0] != keys[2]
    assert PSK not in keys[0]
    assert len(keys[0]) == 32, "as long as the key"


async def test_silent_peer(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):
        with pytest.raises(KeyAgreementTimeout, match="in 7 seconds"):
            await agree_psk(a, PSK, initiator=True, timeout=7)
        with pytest.raises(KeyAgreementError, match="or uses none"):
            await agree_psk(b, PSK, initiator=False)
        assert a.state in GONE
        assert b.state in GONE


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"", "does not offer"),
        (b"GET / HTTP/1.1\r\n\r\n", "does not offer"),
        (bytes(1000), "does not offer"),
        (GREETING, "does not speak"),
        (GREETING + bytes(33), "does not speak"),
        (GREETING + bytes(100_000), "does not speak"),
    ],
)
async def test_initiator_that_says_something_else(autojump_clock: MockClock, message: bytes, words: str) -> None:
    async with session_pair() as (a, b):
        _, outcome = await both(lambda: say(a, message), follow(b))
        assert isinstance(outcome, KeyAgreementError)
        assert words in str(outcome)
        assert b.state in GONE


@pytest.mark.parametrize("answer", [b"", bytes(64), bytes(65)])
async def test_responder_that_guesses(autojump_clock: MockClock, answer: bytes) -> None:
    async with session_pair() as (a, b):

        async def guess() -> None:
            assert (await hear(b)).startswith(GREETING)
            await say(b, answer)

        outcome, _ = await both(lead(a), guess)
        assert isinstance(outcome, KeyAgreementError)
        assert a.protection == "crc64"


async def test_reflected_greeting_proves_nothing(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):
        first, second = await both(lead(a), lead(b))
        assert isinstance(first, KeyAgreementError)
        assert isinstance(second, KeyAgreementError)


async def test_replayed_initiator_is_not_believed(autojump_clock: MockClock) -> None:
    """What an honest initiator said once does not open a second session."""
    said: list[bytes] = []
    async with session_pair() as (a, b):

        async def record() -> None:
            said.append(await hear(b))
            await say(b, bytes(64))

        await both(lead(a), record)
    async with session_pair() as (a, b):

        async def replay() -> None:
            await say(a, said[0])
            await hear(a)
            await say(a, bytes(32))

        _, outcome = await both(replay, follow(b))
        assert isinstance(outcome, KeyAgreementError)
        assert b.protection == "crc64"


async def test_peer_that_leaves(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):
        _, outcome = await both(a.aclose, follow(b))
        assert isinstance(outcome, KeyAgreementError)
        assert "ended the session" in str(outcome)
    async with session_pair() as (a, b):
        a.reset(1)
        with pytest.raises(FSPBrokenError):
            await agree_psk(b, PSK, initiator=False)


async def test_session_closed_by_another_task(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, _), trio.open_nursery() as nursery:

        async def close_soon() -> None:
            await trio.sleep(0.5)
            a.reset()

        nursery.start_soon(close_soon)
        with pytest.raises(FSPClosedError):
            await agree_psk(a, PSK, initiator=True)


async def test_cancellation_resets(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):
        with trio.move_on_after(0.5):
            await agree_psk(a, PSK, initiator=True)
        with pytest.raises(KeyAgreementError):
            await agree_psk(b, PSK, initiator=False)


async def test_key_that_cannot_be_installed(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):
        assert await both(lead(a), follow(b)) == (None, None)
        # under the new key the second agreement works, for the first key has taken effect both ways
        assert await both(lead(a), follow(b)) == (None, None)

        async def greet_twice() -> None:
            await say(a, GREETING + bytes(32))
            await hear(a)
            await say(a, b"too early")

        _, outcome = await both(greet_twice, follow(b))
        assert isinstance(outcome, KeyAgreementError)


async def test_short_secret_is_refused_before_anything_is_sent(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, _):
        sent = a.statistics().packets.packets_sent
        with pytest.raises(ValueError, match="15 octets"):
            await agree_psk(a, PSK[:15], initiator=True)
        assert a.statistics().packets.packets_sent == sent
        assert a.state not in GONE


async def test_refusal_by_the_protocol_is_told(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FSPSession, ikm: bytes, **options: object) -> None:
        raise KeyInstallationError("not now")

    monkeypatch.setattr(FSPSession, "install_key", refuse)
    async with session_pair() as (a, b):
        first, second = await both(lead(a), follow(b))
        assert isinstance(first, KeyAgreementError)
        assert "not now" in str(second)
        assert isinstance(second, KeyAgreementError)
