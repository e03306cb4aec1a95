"""Servers, the short way in, and exceptions that come out as themselves; mostly over real UDP."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fsp_trio import (
    FSPBrokenError,
    FSPEndpoint,
    FSPListener,
    FSPSession,
    FSPStream,
    open_fsp_endpoint,
    open_fsp_session,
    serve_fsp,
)
from fsp_trio._groups import unwrapped
from fsp_trio._guard import Guard
from fsp_trio.testing import open_pair_maker


def port_of(endpoint: FSPEndpoint) -> int:
    address = endpoint.local_address
    assert isinstance(address, tuple)
    number = address[1]
    assert isinstance(number, int)
    return number


async def local_server(
    handler: Callable[[FSPSession], Awaitable[object]],
    handler_nursery: trio.Nursery | None = None,
    *,
    task_status: trio.TaskStatus[FSPListener],
) -> None:
    await serve_fsp(handler, 0, host="127.0.0.1", handler_nursery=handler_nursery, task_status=task_status)


async def everything(stream: trio.abc.ReceiveStream) -> bytes:
    return b"".join([piece async for piece in stream])


async def echo(session: FSPSession) -> None:
    async for transaction in session:
        async with session.send_transaction() as answer:
            async for piece in transaction:
                await answer.send_all(piece)


@pytest.mark.realnet
async def test_a_server_and_three_clients() -> None:
    async with trio.open_nursery() as nursery:
        listener: FSPListener = await nursery.start(local_server, echo)

        async def client(number: int) -> None:
            async with open_fsp_session("127.0.0.1", port_of(listener.endpoint)) as session:
                for size in (0, 1, 100_000):
                    data = bytes([number]) * size
                    async with trio.open_nursery() as both:
                        both.start_soon(send, session, data)
                        answer = b"".join([piece async for piece in await session.receive_transaction()])
                    assert answer == data

        async def send(session: FSPSession, data: bytes) -> None:
            async with session.send_transaction() as transaction:
                await transaction.send_all(data)

        async with trio.open_nursery() as clients:
            for number in range(3):
                clients.start_soon(client, number)
        await trio.sleep(0.1)
        assert listener.endpoint.sessions == []
        assert listener.statistics().accepted == 3
        nursery.cancel_scope.cancel()


@pytest.mark.realnet
async def test_trios_own_server() -> None:
    async def handler(stream: FSPStream) -> None:
        async for piece in stream:
            await stream.send_all(piece.upper())
        await stream.aclose()

    async with open_fsp_endpoint("127.0.0.1", 0) as endpoint, trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, handler, [endpoint.listen()])
        async with open_fsp_session("127.0.0.1", port_of(endpoint)) as session:
            stream = session.stream()
            await stream.send_all(b"shout")
            await stream.send_eof()
            assert b"".join([piece async for piece in stream]) == b"SHOUT"
        nursery.cancel_scope.cancel()


@pytest.mark.realnet
async def test_what_a_handler_leaves_open_is_closed() -> None:
    async def silent(session: FSPSession) -> None:
        await session.send_transaction().send_all(b"whole")

    async with trio.open_nursery() as nursery:
        listener: FSPListener = await nursery.start(local_server, silent)
        async with open_fsp_session("127.0.0.1", port_of(listener.endpoint)) as session:
            assert [piece async for piece in session.stream()] == [b"whole"]
        nursery.cancel_scope.cancel()


@pytest.mark.realnet
async def test_a_handler_s_exception_ends_the_server_and_resets() -> None:
    async def failing(session: FSPSession) -> None:
        await session.send_transaction().send_all(b"half")
        raise ZeroDivisionError

    async def serve(*, task_status: trio.TaskStatus[FSPListener]) -> None:
        with pytest.raises(ZeroDivisionError):
            await local_server(failing, task_status=task_status)

    async with trio.open_nursery() as nursery:
        listener: FSPListener = await nursery.start(serve)
        async with open_fsp_session("127.0.0.1", port_of(listener.endpoint)) as session:
            with pytest.raises(FSPBrokenError):
                await everything(session.stream())


@pytest.mark.realnet
async def test_handlers_in_a_nursery_of_the_callers() -> None:
    async with trio.open_nursery() as handlers, trio.open_nursery() as nursery:
        listener: FSPListener = await nursery.start(local_server, echo, handlers)
        async with open_fsp_session("127.0.0.1", port_of(listener.endpoint)) as session:
            async with session.send_transaction() as transaction:
                await transaction.send_all(b"x")
            assert await (await session.receive_transaction()).receive_some() == b"x"
            assert handlers.child_tasks
        nursery.cancel_scope.cancel()


@pytest.mark.realnet
async def test_a_body_s_exception_comes_out_as_itself() -> None:
    async def fail() -> None:
        async with open_fsp_endpoint("127.0.0.1", 0) as endpoint:
            endpoint.listen()
            async with open_fsp_session("127.0.0.1", port_of(endpoint)):
                raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    with trio.move_on_after(0.01) as scope:
        async with open_fsp_endpoint("127.0.0.1", 0):
            await trio.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.realnet
async def test_what_cannot_be_opened() -> None:
    with pytest.raises(socket.gaierror):
        await open_fsp_session("does-not-exist.invalid").__aenter__()
    with pytest.raises(ValueError, match="no such revision"):
        await open_fsp_endpoint("127.0.0.1", 0, revision="no such revision").__aenter__()


@pytest.mark.realnet
@pytest.mark.skipif(sys.platform != "linux", reason="counts file descriptors")
async def test_no_socket_is_left() -> None:
    async with open_fsp_endpoint("127.0.0.1", 0) as endpoint:
        listener = endpoint.listen()
        await wait_all_tasks_blocked()  # the endpoint watches the host's addresses, too
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(20):
            async with open_fsp_session("127.0.0.1", port_of(endpoint)) as session:
                accepted = await listener.accept_session()
                assert len(os.listdir("/proc/self/fd")) == before + 2
                session.reset()
                accepted.reset()
        assert len(os.listdir("/proc/self/fd")) == before
        assert endpoint.sessions == []


async def test_failures_inside_are_not_hidden(autojump_clock: MockClock) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    async def be_interrupted() -> None:
        async with open_pair_maker() as maker:
            wheel = maker.client._wheel
            wheel.arm(wheel.add(interrupt), 1)
            await trio.sleep(10)

    with pytest.raises(KeyboardInterrupt):
        await be_interrupted()


async def test_groups_of_one_are_unwrapped(autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError), unwrapped():
        raise ExceptionGroup("outer", [ZeroDivisionError()])
    inner = ExceptionGroup("inner", [ZeroDivisionError()])
    with pytest.raises(ExceptionGroup) as caught, unwrapped():
        raise ExceptionGroup("outer", [inner])
    assert caught.value is inner, "somebody else's"
    with pytest.raises(ExceptionGroup), unwrapped():
        raise ExceptionGroup("outer", [ZeroDivisionError(), KeyError()])
    with trio.CancelScope() as scope:
        scope.cancel()
        with unwrapped():
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.sleep_forever)
                await trio.sleep_forever()


def test_a_guard_is_released_by_exceptions() -> None:
    guard = Guard("busy")
    with pytest.raises(ZeroDivisionError), guard:
        raise ZeroDivisionError
    with guard:
        pass
