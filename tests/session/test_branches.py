"""Branches of sessions: zero round trips, backlog and refusal, and what ends with what (gao-07 3.5, 11)."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from trio.testing import MockClock

from fsp_trio import (
    FailureKind,
    FSPBrokenError,
    FSPClosedError,
    FSPSession,
    MultiplicationError,
    ResetReason,
    Settings,
    State,
    Timers,
)
from fsp_trio.testing import Impairment, SimulatedNetwork, open_pair_maker, session_pair

FAR = Impairment(delay=0.1)
LOSSY = Impairment(delay=0.02, loss=0.2)


def install(*sessions: FSPSession) -> None:
    for session in sessions:
        session.install_key(b"k" * 16, key_bits=128, accept_repeated_nonces=True)


@asynccontextmanager
async def keyed(
    impairment: Impairment = FAR, settings: Settings | None = None, revision: str = "gao-07", seed: int = 0
) -> AsyncGenerator[tuple[FSPSession, FSPSession], None]:
    """Two ends under a key that both have used."""
    async with (
        SimulatedNetwork(seed, impairment) as network,
        session_pair(network, settings=settings, revision=revision) as (a, b),
    ):
        install(a, b)
        for sender, receiver in ((a, b), (b, a)):
            transaction = sender.send_transaction()
            await transaction.send_all(b"x")
            await transaction.commit()
            assert await read(receiver) == b"x"
        yield a, b


async def read(session: FSPSession) -> bytes:
    """The next transaction."""
    transaction = await session.receive_transaction()
    return b"".join([piece async for piece in transaction])


async def write(session: FSPSession, octets: bytes) -> None:
    transaction = session.send_transaction()
    await transaction.send_all(octets)
    await transaction.commit()


async def echo(branch: FSPSession) -> None:
    await write(branch, b"echo of " + await read(branch))


@pytest.mark.parametrize("revision", ["gao-07", "jason-00", "reference-2020"])
async def test_first_octets_after_one_way(autojump_clock: MockClock, revision: str) -> None:
    async with keyed(revision=revision) as (a, b), trio.open_nursery() as nursery:
        begun = trio.current_time()

        @nursery.start_soon
        async def serve() -> None:
            branch = await b.accept_branch()
            assert await read(branch) == b"GET /"
            assert trio.current_time() - begun == pytest.approx(0.1)
            assert branch.parent is b
            await write(branch, b"200 OK")

        branch = await a.multiply(b"GET /")
        assert trio.current_time() == begun
        assert branch.parent is a
        assert await read(branch) == b"200 OK"
        if revision != "jason-00":  # where the end of the transaction waits for the first acknowledgement (F33)
            assert trio.current_time() - begun == pytest.approx(0.2)


async def test_serving(autojump_clock: MockClock) -> None:
    async with keyed() as (a, b), trio.open_nursery() as nursery:
        nursery.start_soon(b.serve_branches, echo)
        for n in range(10):
            async with await a.multiply(b"%d" % n) as branch:
                assert await read(branch) == b"echo of %d" % n
            assert branch.closed_confirmed
        await a.aclose()
        await b.aclose()


async def test_async_for(autojump_clock: MockClock) -> None:
    async with keyed() as (a, b), trio.open_nursery() as nursery:
        seen = []

        @nursery.start_soon
        async def take() -> None:
            async for branch in b.branches():
                seen.append(await read(branch))
                await branch.aclose()
            seen.append(b"end")

        for word in (b"one", b"two"):
            await (await a.multiply(word)).aclose()
        await a.aclose()
        await trio.sleep(1)
        assert seen == [b"one", b"two", b"end"]


async def test_a_stream_over_a_branch(autojump_clock: MockClock) -> None:
    async with keyed() as (a, b), trio.open_nursery() as nursery:
        octets = random.Random(1).randbytes(300_000)

        @nursery.start_soon
        async def serve() -> None:
            async with (await b.accept_branch()).stream() as stream:
                async for piece in stream:
                    await stream.send_all(piece)

        branch = await a.multiply(octets[:2000], ends=False)
        async with branch.stream() as stream:

            @nursery.start_soon
            async def send() -> None:
                await stream.send_all(octets[2000:])
                await stream.send_eof()

            assert b"".join([piece async for piece in stream]) == octets


async def test_a_channel_over_a_branch(autojump_clock: MockClock) -> None:
    async with keyed() as (a, b), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def serve() -> None:
            async with (await b.accept_branch()).channel() as channel:
                async for value in channel:
                    await channel.send(value[::-1])

        async with (await a.multiply(b"first")).channel() as channel:
            assert await channel.receive() == b"tsrif"
            await channel.send(b"second")
            assert await channel.receive() == b"dnoces"


async def test_branches_of_branches(autojump_clock: MockClock) -> None:
    async with keyed() as (a, b), trio.open_nursery() as nursery:

        async def serve(branch: FSPSession) -> None:
            async with trio.open_nursery() as inner:
                inner.start_soon(branch.serve_branches, echo)
                assert await read(branch) == b"child"

        nursery.start_soon(b.serve_branches, serve)
        async with await a.multiply(b"child") as child:
            await child.wait_acknowledged()
            async with await child.multiply(b"grandchild") as grandchild:
                assert grandchild.parent is child
                assert await read(grandchild) == b"echo of grandchild"
        await a.aclose()


async def test_five_thousand_branches_under_loss(autojump_clock: MockClock) -> None:
    """Open, exchange and close, with nothing lost."""
    number = 5000
    settings = Settings(timers=Timers.responsive(), branch_backlog=65_535)
    served = []

    async def serve(branch: FSPSession) -> None:
        question = await read(branch)
        served.append(question)
        await branch.send_transaction().send_all(question * 3)  # it is committed at the end, however long that takes

    async with keyed(LOSSY, settings) as (a, b), trio.open_nursery() as nursery:
        nursery.start_soon(b.serve_branches, serve)
        limit = trio.CapacityLimiter(500)
        answered = []

        async def ask(n: int) -> None:
            async with limit, await a.multiply(b"question %d" % n) as branch:
                answered.append(await read(branch))

        async with trio.open_nursery() as askers:
            for n in range(number):
                askers.start_soon(ask, n)
        assert sorted(served) == sorted(b"question %d" % n for n in range(number))
        assert sorted(answered) == sorted((b"question %d" % n) * 3 for n in range(number))
        await a.aclose()
        await b.aclose()


async def test_a_branch_is_not_held_up_by_loss_in_another(autojump_clock: MockClock) -> None:
    async with keyed() as (a, b), trio.open_nursery() as nursery:
        nursery.start_soon(b.serve_branches, echo)
        held = await a.multiply(b"held", ends=False)
        await trio.sleep(1)
        send = a.endpoint._port.send

        def lose(remote: object, datagrams: list[bytes], *, preliminary: bool = False) -> int:
            kept = [each for each in datagrams if each[:4] != held.local_ultid]
            if kept:
                send(remote, kept, preliminary=preliminary)
            return len(datagrams)

        a.endpoint._port.send = lose  # type: ignore[method-assign, assignment]
        transaction = held.send_transaction()
        await transaction.send_all(bytes(5000))
        begun = trio.current_time()
        async with await a.multiply(b"other") as other:
            assert await read(other) == b"echo of other"
        assert trio.current_time() - begun < 0.6
        held.reset()
        nursery.cancel_scope.cancel()


# refusals and the backlog


async def test_no_backlog_refuses(autojump_clock: MockClock) -> None:
    async with keyed(settings=Settings(branch_backlog=0)) as (a, _):
        branch = await a.multiply(b"x")
        with pytest.raises(FSPBrokenError) as caught:
            await read(branch)
        assert (caught.value.kind, caught.value.reason) == (FailureKind.REFUSED, ResetReason.REJECTED)


async def test_full_backlog(autojump_clock: MockClock) -> None:
    async with keyed(settings=Settings(branch_backlog=2)) as (a, b):
        branches = [await a.multiply(b"%d" % n) for n in range(3)]
        with pytest.raises(FSPBrokenError) as caught:
            await branches[2].wait_acknowledged()
        assert caught.value.reason == ResetReason.NO_RESOURCES
        assert [await read(await b.accept_branch()) for _ in range(2)] == [b"0", b"1"]
        await branches[0].wait_acknowledged()


async def test_requests_that_wait_too_long_are_forgotten(autojump_clock: MockClock) -> None:
    async with keyed(settings=Settings(branch_backlog=1)) as (a, b):
        old = await a.multiply(b"old")
        with pytest.raises(FSPBrokenError) as caught:
            await read(old)
        assert caught.value.kind is FailureKind.HANDSHAKE_TIMEOUT
        await trio.sleep(1)
        await a.multiply(b"new")
        assert await read(await b.accept_branch()) == b"new"


async def test_a_branch_may_be_reset_instead_of_answered(autojump_clock: MockClock) -> None:
    async with keyed() as (a, b):
        branch = await a.multiply(b"x")
        (await b.accept_branch()).reset(9)
        with pytest.raises(FSPBrokenError) as caught:
            await read(branch)
        assert (caught.value.kind, caught.value.reason) == (FailureKind.REFUSED, 9)


async def test_closing_refuses_what_waits(autojump_clock: MockClock) -> None:
    async with keyed() as (a, b):
        branch = await a.multiply(b"x")
        await trio.sleep(0.5)
        with trio.move_on_after(1):
            await b.aclose()
        with pytest.raises(FSPBrokenError) as caught:
            await read(branch)
        assert caught.value.reason in (ResetReason.REJECTED, ResetReason.PARENT_ENDED)


# misuse


async def test_no_branch_without_a_key(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, session_pair(network) as (a, _):
        with pytest.raises(MultiplicationError, match="without a key"):
            await a.multiply(b"x")


async def test_multiply_waits_for_the_key_of_the_peer(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, session_pair(network) as (a, b), trio.open_nursery() as nursery:
        install(a)

        @nursery.start_soon
        async def later() -> None:
            await trio.sleep(5)
            install(b)

        begun = trio.current_time()
        await a.multiply(b"x")
        assert trio.current_time() - begun > 5
        assert await read(await b.accept_branch()) == b"x"


async def test_arguments(autojump_clock: MockClock) -> None:
    async with keyed(settings=Settings(send_buffer=1000)) as (a, _):
        with pytest.raises(ValueError, match="1001 octets"):
            await a.multiply(bytes(1001))
        with pytest.raises(TypeError):
            await a.multiply("text")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="branch_backlog"):
        Settings(branch_backlog=-1)


async def test_after_the_end(autojump_clock: MockClock) -> None:
    async with keyed() as (a, b):
        await a.aclose()
        with pytest.raises(FSPClosedError):
            await a.multiply(b"x")
        with pytest.raises(FSPClosedError):
            await a.accept_branch()
        await trio.sleep(1)
        with pytest.raises(FSPBrokenError):
            await b.multiply(b"x")
        with pytest.raises(trio.EndOfChannel):
            await b.accept_branch()
        a.reset()


async def test_accepting_in_a_broken_session(autojump_clock: MockClock) -> None:
    async with keyed() as (a, b), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def accept() -> None:
            with pytest.raises(FSPBrokenError):
                await b.accept_branch()

        await trio.sleep(1)
        a.reset(9)


async def test_closing_wakes_who_accepts(autojump_clock: MockClock) -> None:
    async with keyed() as (_, b), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def accept() -> None:
            with pytest.raises(FSPClosedError):
                await b.accept_branch()

        await trio.sleep(1)
        b.reset()


async def test_cancelled_operations_lose_nothing(autojump_clock: MockClock) -> None:
    async with keyed() as (a, b):
        with trio.move_on_after(0.05) as scope:
            await b.accept_branch()
        assert scope.cancelled_caught
        with trio.CancelScope() as scope:
            scope.cancel()
            await a.multiply(b"never")
        assert scope.cancelled_caught
        await a.multiply(b"x")
        await trio.sleep(1)
        with trio.CancelScope() as scope:
            scope.cancel()
            await b.accept_branch()
        assert scope.cancelled_caught
        assert await read(await b.accept_branch()) == b"x"


# what ends with what


async def test_closing_the_parent_closes_its_branches_first(autojump_clock: MockClock) -> None:
    async with keyed() as (a, b), trio.open_nursery() as nursery:
        nursery.start_soon(b.serve_branches, echo)
        branch = await a.multiply(b"x")
        waiting = await a.multiply(ends=False)
        blocked: list[type] = []

        @nursery.start_soon
        async def block() -> None:
            with pytest.raises(FSPClosedError):
                await read(waiting)
            blocked.append(FSPClosedError)

        await trio.sleep(1)
        await a.aclose()
        assert blocked
        for each in (branch, waiting):
            assert each.state is State.CLOSED
        assert a.state is State.CLOSED
        assert a.closed_confirmed
        await b.aclose()


async def test_what_branches_have_sent_arrives_before_the_parent_is_released(autojump_clock: MockClock) -> None:
    octets = random.Random(2).randbytes(500_000)
    async with keyed() as (a, b), trio.open_nursery() as nursery:
        got = []

        async def take(branch: FSPSession) -> None:
            got.append(await read(branch))

        nursery.start_soon(b.serve_branches, take)
        for _ in range(3):
            await a.multiply(octets)
        await a.aclose()
        await trio.sleep(2)
        assert got == [octets] * 3
        await b.aclose()


async def test_a_branch_that_lingers_keeps_the_parent(autojump_clock: MockClock) -> None:
    """The peer still has a transaction open in it: aclose returns, and the release follows."""
    async with keyed() as (a, b):
        await a.multiply(b"question")
        theirs = await b.accept_branch()
        assert await read(theirs) == b"question"
        answer = theirs.send_transaction()
        await answer.send_all(b"h")
        await trio.sleep(1)
        ours = a.endpoint.sessions[1]
        assert await (await ours.receive_transaction()).receive_some() == b"h"
        begun = trio.current_time()
        await a.aclose()
        assert trio.current_time() - begun < 2
        assert not a._ended
        assert a in a.endpoint.sessions
        await answer.commit()
        await theirs.aclose()
        await trio.sleep(1)
        assert a.state is State.CLOSED
        assert b.peer_released
        await b.aclose()


async def test_closing_waits_for_branches_that_others_are_closing(autojump_clock: MockClock) -> None:
    """What they send arrives, however long that takes; then comes the release."""
    octets = random.Random(3).randbytes(1_000_000)
    async with keyed() as (a, b), trio.open_nursery() as nursery:
        branch = await a.multiply(b"head, ", ends=False)
        theirs = await b.accept_branch()
        await trio.sleep(1)
        port = a.endpoint._port
        send = port.send
        port.send = lambda remote, datagrams, *, preliminary=False: len(datagrams)  # type: ignore[method-assign]
        await branch.send_transaction().send_all(octets)
        nursery.start_soon(branch.aclose)
        await trio.sleep(1)
        closed = trio.Event()

        @nursery.start_soon
        async def close() -> None:
            await a.aclose()
            closed.set()

        await trio.sleep(100)
        assert not closed.is_set()
        port.send = send  # type: ignore[method-assign]
        assert await read(theirs) == b"head, " + octets
        await theirs.aclose()
        await trio.sleep(5)
        assert a.state is State.CLOSED
        assert b.peer_released
        await b.aclose()


async def test_a_parent_does_not_cut_off_the_release_of_a_branch(autojump_clock: MockClock) -> None:
    """Closed while a branch lingered, it has the time that the branch takes."""
    async with keyed() as (a, b):
        await a.multiply(b"question")
        theirs = await b.accept_branch()
        answer = theirs.send_transaction()
        await answer.send_all(b"h")
        await trio.sleep(1)
        ours = a.endpoint.sessions[1]
        assert await (await ours.receive_transaction()).receive_some() == b"h"
        await a.aclose()
        await trio.sleep(59)
        port = a.endpoint._port
        send = port.send
        port.send = lambda remote, datagrams, *, preliminary=False: len(datagrams)  # type: ignore[method-assign]
        with trio.move_on_after(5):
            await answer.commit()
        assert ours.state is State.PRE_CLOSED
        assert a.state is not State.NON_EXISTENT
        port.send = send  # type: ignore[method-assign]
        await answer.commit()
        await theirs.aclose()
        await trio.sleep(5)
        assert a.state is State.CLOSED
        await b.aclose()


async def test_a_branch_that_lingers_for_too_long(autojump_clock: MockClock) -> None:
    async with keyed() as (a, b):
        await a.multiply(b"question")
        theirs = await b.accept_branch()
        await theirs.send_transaction().send_all(b"h")
        await trio.sleep(1)
        ours = a.endpoint.sessions[1]
        assert await (await ours.receive_transaction()).receive_some() == b"h"
        await a.aclose()
        await trio.sleep(65)
        assert a.state is State.CLOSED
        with pytest.raises(FSPBrokenError) as caught:
            await theirs.wait_acknowledged()
        assert caught.value.reason == ResetReason.TIMED_OUT
        await b.aclose()


@pytest.mark.parametrize("by_peer", [True, False])
async def test_branches_break_with_the_parent(autojump_clock: MockClock, by_peer: bool) -> None:
    async with keyed() as (a, b):
        branch = await a.multiply(b"x")
        theirs = await b.accept_branch()
        await trio.sleep(1)
        grandchild = await branch.multiply(b"y")
        if by_peer:
            b.reset(9)
        else:
            a.reset(9)
        await trio.sleep(1)
        for each in (branch, grandchild, theirs):
            with pytest.raises(FSPBrokenError) as caught:
                await each.receive_transaction() if each is not theirs else await write(theirs, b"z")
            assert caught.value.kind in (FailureKind.PARENT_ENDED, FailureKind.RESET_BY_PEER)
            assert caught.value.reason == ResetReason.PARENT_ENDED
        assert a.endpoint.sessions == []
        assert b.endpoint.sessions == []


async def test_a_branch_that_breaks_leaves_the_parent(autojump_clock: MockClock) -> None:
    async def patient(branch: FSPSession) -> None:
        with suppress(FSPBrokenError):
            await echo(branch)

    async with keyed() as (a, b), trio.open_nursery() as nursery:
        nursery.start_soon(b.serve_branches, patient)
        (await a.multiply(b"x")).reset()
        async with await a.multiply(b"y") as branch:
            assert await read(branch) == b"echo of y"
        await a.aclose()


async def test_an_exception_of_a_handler_comes_out_as_itself(autojump_clock: MockClock) -> None:
    async def fail(branch: FSPSession) -> None:
        raise KeyError(await read(branch))

    async with keyed() as (a, b), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def serve() -> None:
            with pytest.raises(KeyError, match="x"):
                await b.serve_branches(fail)

        branch = await a.multiply(b"x")
        with pytest.raises(FSPBrokenError):
            await read(branch)


async def test_leaving_the_endpoint_ends_all(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(0, FAR) as network, open_pair_maker(network) as maker:
        a, b = await maker.sessions()
        install(a, b)
        branch = await a.multiply(b"x")
        theirs = await b.accept_branch()
    for each in (branch, theirs):
        with pytest.raises(FSPClosedError):
            await each.receive_transaction()


async def test_a_branch_installs_its_own_key(autojump_clock: MockClock) -> None:
    """11.1: as soon as possible; the parent's go on as before."""
    async with keyed() as (a, b):
        branch = await a.multiply(b"hello")
        theirs = await b.accept_branch()
        assert await read(theirs) == b"hello"
        await write(theirs, b"welcome")
        assert await read(branch) == b"welcome"
        for end in (branch, theirs):
            end.install_key(b"another key", mode="mac")
        await write(branch, b"under it")
        assert await read(theirs) == b"under it"
        assert (branch.protection, a.protection) == ("mac", "aead")
