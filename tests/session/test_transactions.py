"""Transactions of a session: boundaries, acknowledgement as a whole, keys."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from fsp_trio import (
    CommitTimeout,
    FSPBrokenError,
    FSPBusyError,
    FSPClosedError,
    FSPSession,
    KeyInstallationError,
    ReceiveTransaction,
    ResetReason,
    SendTransaction,
)
from fsp_trio.testing import Impairment, SimulatedNetwork, session_pair


async def everything(transaction: ReceiveTransaction) -> bytes:
    return b"".join([piece async for piece in transaction])


async def send(session: FSPSession, *pieces: bytes) -> None:
    async with session.send_transaction() as transaction:
        for piece in pieces:
            await transaction.send_all(piece)


async def persist(transaction: SendTransaction) -> None:
    while True:
        try:
            return await transaction.commit()
        except CommitTimeout:
            await trio.sleep(1)


async def leave(session: FSPSession, *, commit: bool) -> None:
    async with session.send_transaction() as transaction:
        await transaction.send_all(b"whole" if commit else b"half")
        if commit:
            await transaction.commit()
        raise ZeroDivisionError


async def test_transactions_keep_their_boundaries(autojump_clock: MockClock) -> None:
    sent = [b"", b"a", bytes(10_000), b"b" * 1024, b""]
    async with SimulatedNetwork(5, Impairment(delay=0.01, loss=0.1)) as network, session_pair(network) as (a, b):

        async def send_all() -> None:
            for data in sent:
                await send(a, data)
            await a.aclose()

        received = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all)
            async for transaction in b:
                assert transaction.session is b
                received.append(await everything(transaction))
                assert transaction.ended
        assert received == sent
        with pytest.raises(trio.EndOfChannel):
            await b.receive_transaction()


async def test_commit_returns_when_the_peer_has_everything(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, Impairment(delay=0.5)) as network, session_pair(network) as (a, b):
        transaction = a.send_transaction()
        assert transaction.session is a
        await trio.sleep(5)
        await transaction.send_all(b"some")
        start = trio.current_time()
        await transaction.commit()
        assert 1 <= trio.current_time() - start < 1.2
        assert transaction.ended
        assert a.statistics().transactions_committed == 1
        assert b.statistics().readable == 4
        await transaction.commit()
        await transaction.aclose()
        with pytest.raises(FSPClosedError):
            await transaction.send_all(b"more")


async def test_session_commit_ends_what_is_open(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):
        await a.commit()
        transaction = a.send_transaction()
        await transaction.send_all(b"x")
        await a.commit()
        assert transaction.ended
        await a.commit()
        assert await everything(await b.receive_transaction()) == b"x"


async def test_wait_acknowledged_does_not_end_the_transaction(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):
        transaction = a.send_transaction()
        await transaction.send_all(bytes(5000))
        await a.wait_acknowledged()
        assert a.statistics().unacknowledged == 0
        assert not transaction.ended
        await transaction.send_all(b"x")
        await transaction.commit()
        assert len(await everything(await b.receive_transaction())) == 5001


async def test_commit_gives_up_after_thirty_seconds_of_silence(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork() as network, session_pair(network) as (a, b):
        network.partition(("client", 1))
        transaction = a.send_transaction()
        await transaction.send_all(b"late")
        start = trio.current_time()
        with pytest.raises(CommitTimeout) as caught:
            await transaction.commit()
        assert isinstance(caught.value, trio.TooSlowError)
        assert trio.current_time() - start == pytest.approx(30)
        network.heal()
        await transaction.commit()  # the session lives
        assert await everything(await b.receive_transaction()) == b"late"


async def test_five_minutes_of_silence_break_a_session_that_commits(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork() as network, session_pair(network) as (a, _b):
        network.partition(("client", 1))
        transaction = a.send_transaction()
        with pytest.raises(CommitTimeout):
            await transaction.commit()
        start = trio.current_time()
        with pytest.raises(FSPBrokenError):
            await persist(transaction)
        assert trio.current_time() - start == pytest.approx(270, abs=2)


async def test_a_cancelled_commit_still_commits(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, Impairment(delay=0.5)) as network, session_pair(network) as (a, b):
        transaction = a.send_transaction()
        await transaction.send_all(b"x")
        with trio.move_on_after(0.1):
            await transaction.commit()
        assert transaction.ended
        assert await everything(await b.receive_transaction()) == b"x"


@pytest.mark.parametrize("how", ["exception", "cancellation", "forceful"])
async def test_half_a_transaction_does_not_look_whole(how: str, autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):
        if how == "exception":
            with pytest.raises(ZeroDivisionError):
                await leave(a, commit=False)
        elif how == "cancellation":
            with trio.move_on_after(1):
                async with a.send_transaction() as transaction:
                    await transaction.send_all(b"half")
                    await trio.sleep_forever()
        else:
            transaction = a.send_transaction()
            await transaction.send_all(b"half")
            await trio.aclose_forcefully(transaction)
        await trio.sleep(1)
        with pytest.raises(FSPBrokenError) as caught:
            await everything(await b.receive_transaction())
        assert caught.value.reason == ResetReason.APPLICATION
        with pytest.raises(FSPBrokenError):
            await b.receive_transaction()


async def test_an_exception_after_the_end_does_no_harm(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):
        with pytest.raises(ZeroDivisionError):
            await leave(a, commit=True)
        assert await everything(await b.receive_transaction()) == b"whole"


async def test_the_rest_of_a_transaction_closed_early_is_thrown_away(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, Impairment(delay=0.01)) as network, session_pair(network) as (a, b):

        async def send_both() -> None:
            await send(a, bytes(5_000_000))
            await send(a, b"second")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_both)
            first = await b.receive_transaction()
            with pytest.raises(FSPBusyError):
                await b.receive_transaction()
            await first.receive_some(10)
            await first.aclose()
            assert first.closed
            with pytest.raises(FSPClosedError):
                await first.receive_some()
            assert await everything(await b.receive_transaction()) == b"second"


async def test_at_most_one_each_way(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):
        transaction = a.send_transaction()
        for claim in (a.send_transaction, a.stream, a.channel):
            with pytest.raises(FSPBusyError):
                claim()
        await transaction.send_all(b"x")
        await transaction.commit()
        incoming = await b.receive_transaction()
        for claim in (b.stream, b.channel):
            with pytest.raises(FSPBusyError):
                claim()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.receive_transaction)
            await trio.sleep(1)
            with pytest.raises(FSPBusyError):
                await a.receive_transaction()
            nursery.cancel_scope.cancel()
        assert await everything(incoming) == b"x"
        b.stream()


async def test_a_waiting_task_hears_of_the_end(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):

        async def expect(error: type[Exception], session: FSPSession) -> None:
            with pytest.raises(error):
                await session.receive_transaction()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect, FSPClosedError, a)
            nursery.start_soon(expect, FSPBrokenError, b)
            await trio.sleep(1)
            a.reset()
        for operation in (a.commit, a.wait_acknowledged, a.receive_transaction):
            with pytest.raises(FSPClosedError):
                await operation()
        with pytest.raises(ValueError, match="reason"):
            a.reset(-1)
        with pytest.raises(FSPBrokenError):
            b.install_key(b"k" * 32)
        transaction = b.send_transaction()
        with pytest.raises(FSPBrokenError):
            await transaction.commit()


@pytest.mark.parametrize("mode", ["aead", "mac"])
async def test_keys_are_installed_between_transactions(mode: str, autojump_clock: MockClock) -> None:
    assert mode in ("aead", "mac")
    async with SimulatedNetwork(0, Impairment(delay=0.02)) as network, session_pair(network) as (a, b):

        async def agree(session: FSPSession) -> None:
            transaction = session.send_transaction()
            await transaction.send_all(b"share")
            nursery.start_soon(transaction.aclose)
            assert await everything(await session.receive_transaction()) == b"share"
            session.install_key(b"k" * 32, mode=mode)  # type: ignore[arg-type]

        async with trio.open_nursery() as nursery:
            nursery.start_soon(agree, a)
            nursery.start_soon(agree, b)
        assert a.protection == b.protection == mode
        for first, second in ((a, b), (b, a)):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, first, b"secret" * 1000)
                assert await everything(await second.receive_transaction()) == b"secret" * 1000
        carried = b"".join(record.datagram for record in network.record)
        assert (b"secret" in carried) == (mode == "mac")


async def test_a_key_at_the_wrong_time_changes_nothing(autojump_clock: MockClock) -> None:
    async with session_pair() as (a, b):
        transaction = a.send_transaction()
        await transaction.send_all(b"x")
        await trio.sleep(1)
        with pytest.raises(KeyInstallationError):
            b.install_key(b"k" * 32)
        with pytest.raises(ValueError, match="mode"):
            a.install_key(b"k" * 32, mode="rot13")  # type: ignore[arg-type]
        await transaction.commit()
        with pytest.raises(KeyInstallationError, match="not been read"):  # F10: who knows who sent it
            b.install_key(b"k" * 32)
        assert await everything(await b.receive_transaction()) == b"x"
        assert b.protection == "crc64"
        b.install_key(b"k" * 32)
