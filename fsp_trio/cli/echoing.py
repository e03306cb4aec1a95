"""`fsp-trio echo` gives every transmit transaction back; `fsp-trio ping` measures how long that takes."""

from __future__ import annotations

import itertools
import os
from typing import Final

import trio

from fsp_trio._groups import unwrapped
from fsp_trio.cli.connection import Common, accept_key, listening, opened, refuse_key
from fsp_trio.cli.exits import CommandError, explain
from fsp_trio.cli.protocol import ProtocolViolation, expect_message, send_message
from fsp_trio.cli.reporting import Reporter
from fsp_trio.cli.statistics import Summary, format_address, format_seconds
from fsp_trio.errors import FSPError
from fsp_trio.listener import FSPListener
from fsp_trio.session import FSPSession

__all__ = ["LARGEST_PING", "echo", "ping"]

LARGEST_PING: Final = 65_536


async def echo(
    common: Common, reporter: Reporter, *, task_status: trio.TaskStatus[FSPListener] = trio.TASK_STATUS_IGNORED
) -> None:
    """Serve until cancelled."""
    with unwrapped():
        async with listening(common, reporter) as listener, trio.open_nursery() as nursery:
            task_status.started(listener)
            while True:
                nursery.start_soon(_serve, await listener.accept_session(), common, reporter)


async def _serve(session: FSPSession, common: Common, reporter: Reporter) -> None:
    peer = format_address(session.remote_address)
    try:
        async with session:
            await accept_key(session, common)
            began = trio.current_time()
            octets = await _give_back(session, common)
            seconds = trio.current_time() - began
        reporter.info(f"{peer}: done")
        reporter.summary(Summary.of(session, octets=octets, seconds=seconds, files=[]))
    except (CommandError, FSPError, trio.TooSlowError, OSError) as error:  # OSError: nobody reads stdout any more
        reporter.error(f"{peer}: {explain(error)[0]}")


async def _give_back(session: FSPSession, common: Common) -> int:
    """Octet by octet as they come, so that transactions of any length take no more memory than the windows."""
    octets = 0
    async for transaction in session:
        async with session.send_transaction() as answer:
            async for data in transaction:
                if common.key is None and not octets:
                    refuse_key(session, bytes(data))
                octets += len(data)
                await answer.send_all(data)
    return octets


async def ping(
    host: str, port: int, common: Common, reporter: Reporter, *, count: int, interval: float, size: int
) -> Summary:
    """`count` transactions of `size` octets there and back, `interval` seconds apart."""
    times: list[float] = []
    async with opened(host, port, common) as session:
        peer = format_address(session.remote_address)
        began = trio.current_time()
        for number in itertools.count(1):
            next_one = trio.current_time() + interval
            times.append(await _round_trip(session, size, common.timeout))
            reporter.info(f"{size} octets from {peer}: number {number}, {format_seconds(times[-1])}")
            if number == count:
                break
            await trio.sleep_until(next_one)
        seconds = trio.current_time() - began
    reporter.info(
        f"{len(times)} round trips: least {format_seconds(min(times))},"
        f" mean {format_seconds(sum(times) / len(times))}, most {format_seconds(max(times))}"
    )
    return Summary.of(session, octets=size * len(times), seconds=seconds, files=[])


async def _round_trip(session: FSPSession, size: int, timeout: float) -> float:  # noqa: ASYNC109
    message = os.urandom(size)
    sent = trio.current_time()
    with unwrapped(), trio.fail_after(timeout):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_message, session, message)
            answer = await expect_message(session, size)
            received = trio.current_time()
    if answer != message:
        raise ProtocolViolation("the peer gave something else back")
    return received - sent
