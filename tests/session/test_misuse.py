"""What an application does wrong is told at once and harms nobody else."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from fsp_trio import (
    FSPBusyError,
    FSPClosedError,
    FSPConnectError,
    FSPSession,
    Settings,
    Timers,
    open_fsp_endpoint,
    open_fsp_session,
    serve_fsp,
)
from fsp_trio.keying import agree_psk
from fsp_trio.testing import SimulatedNetwork, session_pair

pytestmark = pytest.mark.usefixtures("autojump_clock")
ENOUGH = bytes(2**21)
"""More octets than may be unacknowledged, so that sending them waits."""
PSK = bytes(range(32))


async def blocked_sender(nursery: trio.Nursery, client: FSPSession) -> tuple[Any, list[type[BaseException]]]:
    """A transaction in which another task is sending and waits; how that task ended, later."""
    transaction = client.send_transaction()
    ended: list[type[BaseException]] = []

    async def send() -> None:
        try:
            await transaction.send_all(ENOUGH)
        except BaseException as error:
            ended.append(type(error))
            if isinstance(error, trio.Cancelled):
                raise

    nursery.start_soon(send)
    await wait_all_tasks_blocked()
    return transaction, ended


@pytest.mark.parametrize("how", ["end", "commit", "session"])
async def test_half_a_transaction_cannot_be_committed(how: str) -> None:
    """While a task sends, another one cannot end what it has sent so far."""
    async with session_pair(settings=Settings(send_buffer=8192)) as (client, server), trio.open_nursery() as nursery:
        transaction, ended = await blocked_sender(nursery, client)

        async def end_at_once() -> None:
            transaction.end()

        end = {"end": end_at_once, "commit": transaction.commit, "session": client.commit}[how]
        with pytest.raises(FSPBusyError):
            await end()
        assert not transaction.ended
        received = await server.receive_transaction()
        total = 0
        while total < len(ENOUGH):
            total += len(await received.receive_some())
        await transaction.commit()
        assert await received.receive_some() == b""
        assert ended == []


async def test_a_transaction_closed_while_a_task_sends_is_broken_off() -> None:
    async with session_pair(settings=Settings(send_buffer=8192)) as (client, _), trio.open_nursery() as nursery:
        transaction, ended = await blocked_sender(nursery, client)
        await transaction.aclose()
        await wait_all_tasks_blocked()
        assert ended == [FSPClosedError]


@pytest.mark.parametrize("spoke", [False, True], ids=["only reads", "has asked"])
async def test_closing_a_transaction_wakes_its_reader(spoke: bool) -> None:
    """The task that waits for octets is told, and the next transaction is nobody else's."""
    async with session_pair() as (client, server):
        async with server.send_transaction() as sending, trio.open_nursery() as nursery:
            await sending.send_all(b"first octets")
            received = await client.receive_transaction()
            assert await received.receive_some() == b"first octets"
            if spoke:
                client.send_transaction().end()
            told = trio.Event()

            async def read() -> None:
                with pytest.raises(FSPClosedError):
                    await received.receive_some()
                told.set()

            nursery.start_soon(read)
            await wait_all_tasks_blocked()
            await received.aclose()
            with trio.fail_after(1.0):
                await told.wait()
            await sending.send_all(b"more of it")
        async with server.send_transaction() as sending:
            await sending.send_all(b"the next one")
        assert await (await client.receive_transaction()).receive_some() == b"the next one"


async def test_a_stream_after_a_transaction_that_was_closed_early() -> None:
    """Its rest is thrown away, once all of it has come."""
    async with session_pair() as (client, server):
        sending = server.send_transaction()
        await sending.send_all(b"not to be read")
        received = await client.receive_transaction()
        await received.aclose()
        with pytest.raises(FSPBusyError):
            client.stream()
        await sending.commit()
        stream = client.stream()
        async with server.send_transaction() as sending:
            await sending.send_all(b"to be read")
        assert await stream.receive_some() == b"to be read"


@pytest.mark.parametrize("welcome", [lambda: "text", lambda: [1, 2], lambda: None], ids=["text", "list", "nothing"])
async def test_a_wrong_welcome_refuses_one_request(
    welcome: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The function gives no octets: that is logged, and the endpoint with its other sessions lives on."""
    async with session_pair() as (client, server):
        endpoint = server.endpoint
        endpoint.listen(8, welcome=welcome)
        with pytest.raises(FSPConnectError):
            await client.endpoint.open_session_to(endpoint.local_address, service=8)
        assert "welcome failed" in caplog.text
        async with client.send_transaction() as sending:
            await sending.send_all(b"still there")
        assert await (await server.receive_transaction()).receive_some() == b"still there"


@pytest.mark.parametrize("welcome", ["text", 5, [1]])
async def test_a_welcome_that_is_none_is_refused_at_once(welcome: Any) -> None:
    async with session_pair() as (_, server):
        with pytest.raises(TypeError):
            server.endpoint.listen(8, welcome=welcome)


async def test_a_welcome_of_other_octets() -> None:
    async with session_pair() as (client, server):
        server.endpoint.listen(8, welcome=bytearray(b"good day"))  # type: ignore[arg-type]
        session = await client.endpoint.open_session_to(server.endpoint.local_address, service=8)
        assert await (await session.receive_transaction()).receive_some() == b"good day"


@pytest.mark.parametrize("first", ["text", [1], 5])
async def test_a_first_transaction_that_is_none(first: Any) -> None:
    async with session_pair() as (client, server):
        before = len(client.endpoint.sessions)
        with pytest.raises(TypeError):
            await client.endpoint.open_session_to(server.endpoint.local_address, first=first)
        assert len(client.endpoint.sessions) == before


@pytest.mark.realnet
async def test_a_handler_s_own_group_comes_out_as_it_was() -> None:
    """Neither wrapped once more nor taken apart."""

    async def handler(session: FSPSession) -> None:
        raise ExceptionGroup("mine", [ValueError("one")])

    async def serve(task_status: trio.TaskStatus[Any]) -> None:
        await serve_fsp(handler, 0, host="127.0.0.1", task_status=task_status)

    with pytest.raises(ExceptionGroup) as caught:  # noqa: PT012 - the client is part of it
        async with trio.open_nursery() as nursery:
            listener = await nursery.start(serve)
            nursery.start_soon(connect_once, listener.endpoint.local_address)
    mine = caught.value.exceptions[0]
    assert isinstance(mine, ExceptionGroup)
    assert mine.message == "mine"
    assert [type(each) for each in mine.exceptions] == [ValueError]


async def connect_once(address: tuple[str, int]) -> None:
    async with open_fsp_endpoint("127.0.0.1", 0, linger=0.0) as endpoint:
        session = await endpoint.open_session_to(address)
        session.reset()
        await trio.sleep_forever()


async def test_a_block_s_own_group_comes_out_as_it_was() -> None:
    mine = ExceptionGroup("mine", [ValueError("one")])
    with pytest.raises(ExceptionGroup) as caught:
        async with session_pair():
            raise mine
    assert caught.value is mine


async def test_a_key_agreement_in_the_wrong_place_is_one_error() -> None:
    async with session_pair() as (client, _):
        client.stream()
        with pytest.raises(FSPBusyError):
            await agree_psk(client, PSK, initiator=True)


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (TypeError, {"psk": "a secret in a string"}),
        (ValueError, {"psk": b"short"}),
        (ValueError, {"timeout": 0}),
        (ValueError, {"timeout": math.nan}),
        (ValueError, {"mode": "rot13"}),
        (ValueError, {"key_bits": 100}),
        (ValueError, {"key_bits": -1}),
    ],
)
async def test_a_key_agreement_with_wrong_arguments_does_nothing(
    error: type[Exception], arguments: dict[str, Any]
) -> None:
    async with session_pair() as (client, server):
        with pytest.raises(error):
            await agree_psk(client, **{"psk": PSK, "initiator": True, **arguments})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: agree_psk(client, PSK, initiator=True))
            await agree_psk(server, PSK, initiator=False)
        assert client.protection == server.protection == "aead"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("heartbeat_interval", 0),
        ("heartbeat_interval", -1.0),
        ("idle_timeout", math.nan),
        ("idle_timeout", math.inf),
        ("commit_timeout", 0.0),
        ("rekey_after", 0),
        ("key_life", 0),
        ("forgery_budget", 0),
        ("max_payload", 0),
    ],
)
def test_settings_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=name):
        Settings(**{name: value})


@pytest.mark.parametrize("name", ["max_payload", "receive_window", "rekey_after"])
def test_settings_that_must_be_whole(name: str) -> None:
    value: Any = 10.5
    with pytest.raises(TypeError):
        Settings(**{name: value})


@pytest.mark.parametrize("name", ["minimum", "maximum", "initial", "granularity", "handshake_interval"])
@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_timers_out_of_range(name: str, value: float) -> None:
    values = {"minimum": 1.0, "maximum": 60.0, "initial": 1.0, "granularity": 0.01, "handshake_interval": 15.0}
    with pytest.raises(ValueError, match=name):
        Timers(**{**values, name: value}, acknowledgement_slack=False)


def test_timers_in_the_wrong_order() -> None:
    with pytest.raises(ValueError, match="larger than maximum"):
        Timers.responsive(maximum=0.01)


@pytest.mark.realnet
@pytest.mark.parametrize("host", ["a..b", "x" * 64 + ".example"])
async def test_a_host_that_is_no_name(host: str) -> None:
    with pytest.raises(socket.gaierror):
        async with open_fsp_session(host):
            pass
    with pytest.raises(socket.gaierror):
        async with open_fsp_endpoint(host):
            pass


@pytest.mark.realnet
@pytest.mark.parametrize("port", [-1, 65_536, 99_999])
async def test_a_port_that_is_none(port: int) -> None:
    with pytest.raises(ValueError, match="no UDP port"):
        async with open_fsp_session("127.0.0.1", port):
            pass
    with pytest.raises(ValueError, match="no UDP port"):
        async with open_fsp_endpoint("127.0.0.1", port):
            pass


@pytest.mark.realnet
@pytest.mark.parametrize("remote", [("127.0.0.1", 99_999), ("localhost", 1), ("127.0.0.1", 0), "127.0.0.1", None])
async def test_an_address_that_is_none(remote: Any) -> None:
    async with open_fsp_endpoint("127.0.0.1", 0) as endpoint:
        with pytest.raises(ValueError, match=r"is not a pair of|Expected 4 octets|Only decimal digits"):
            await endpoint.open_session_to(remote)
        assert endpoint.sessions == []


@pytest.mark.parametrize(("error", "reason"), [(TypeError, 1.5), (ValueError, -1), (ValueError, 2**32)])
async def test_a_reset_with_a_wrong_reason_does_nothing(error: type[Exception], reason: Any) -> None:
    async with session_pair() as (client, server):
        with pytest.raises(error):
            client.reset(reason)
        async with client.send_transaction() as sending:
            await sending.send_all(b"still there")
        assert await (await server.receive_transaction()).receive_some() == b"still there"


async def test_a_value_size_that_is_no_number(autojump_clock: MockClock) -> None:
    async with SimulatedNetwork() as network, session_pair(network=network) as (client, _):
        with pytest.raises(TypeError):
            client.channel(max_value_size=1e6)  # type: ignore[arg-type]
