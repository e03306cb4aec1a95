"""Plays cases against what a run was ordered to test."""

from __future__ import annotations

import signal
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import TypeAlias

import trio
import trio.testing

from spec_conformance.case import Case
from spec_conformance.profile import Profile
from spec_conformance.runner import CaseResult, Run
from spec_conformance.targets.base import Target
from spec_conformance.targets.sockets import SocketTarget, TargetLost, started

Tell: TypeAlias = Callable[[CaseResult], None]


class Interrupted(Exception):
    """SIGINT or SIGTERM came; everything that was started has ended."""


class CannotListen(Exception):
    """The address where clients were to be waited for cannot be had; the message is one line for the user."""


@dataclass(frozen=True, slots=True)
class Order:
    """What a run was asked to do."""

    profile: Profile
    profile_file: Path | None
    role: str
    """Of the target: "responder", "initiator", or "both"."""
    address: tuple[str, int] | None
    given: bool
    """The address was not chosen by the suite."""
    command: str | None
    fresh: bool
    local: IPv4Network | None
    inside: bool
    seed: int
    timeout_scale: float
    jobs: int


def play(order: Order, cases: Sequence[Case], tell: Tell) -> None:
    """Run the cases; `tell` gets each result.  TargetLost, CannotListen, or Interrupted."""
    if order.inside:
        until_interrupted(lambda: _play_inside(order, cases, tell), clock=trio.testing.MockClock(autojump_threshold=0))
    else:
        until_interrupted(lambda: _play_over_sockets(order, cases, tell))


def until_interrupted(work: Callable[[], Awaitable[None]], *, clock: trio.abc.Clock | None = None) -> None:
    """Run Trio until `work` is done; Interrupted if a signal comes before, and an error of `work` as itself."""
    interrupted = False

    async def watch(scope: trio.CancelScope, task_status: trio.TaskStatus[None]) -> None:
        nonlocal interrupted
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            task_status.started()
            async for _ in signals:
                interrupted = True
                scope.cancel()

    async def watched() -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(watch, nursery.cancel_scope)
            await work()
            nursery.cancel_scope.cancel()

    try:
        trio.run(watched, clock=clock)
    except BaseExceptionGroup as group:
        raise _first(group) from None
    if interrupted:
        raise Interrupted


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def resolved(host: str, port: int) -> tuple[str, int]:
    """The numeric IPv4 address of a host; TargetLost if it has none."""
    try:
        found = await trio.socket.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "this is no host name"
        raise TargetLost(f"{host}: {reason}") from None
    return str(found[0][4][0]), port


async def _play_inside(order: Order, cases: Sequence[Case], tell: Tell) -> None:
    from spec_conformance.targets.library import library_target

    run = Run(
        lambda case, seed: library_target(order.profile, role=case.role, seed=seed), order.seed, order.timeout_scale
    )
    await run.several(cases, tell)


async def _play_over_sockets(order: Order, cases: Sequence[Case], tell: Tell) -> None:
    assert order.address is not None
    address = await resolved(*order.address)
    target = SocketTarget(order.profile, address, order.role, local=order.local)

    @asynccontextmanager
    async def running(service: str) -> AsyncGenerator[None]:
        async with AsyncExitStack() as inner:
            process = None
            if order.command is not None:
                process = await inner.enter_async_context(started(order.command, address[1], service))
            if order.role == "responder":
                await target.check(service, timeout_scale=order.timeout_scale, process=process)
            yield

    @asynccontextmanager
    async def opened(case: Case, seed: int) -> AsyncGenerator[Target]:
        able = case.service in order.profile.services and order.profile.capabilities.issuperset(case.needs)
        async with running(case.service) if order.fresh and able else nullcontext():
            yield target

    try:
        if order.role == "initiator":
            try:
                await target.listen()
            except OSError as error:
                raise CannotListen(f"{address[0]}:{address[1]}: {error.strerror}") from None
        async with nullcontext() if order.fresh else running("echo"):
            await Run(opened, order.seed, order.timeout_scale).several(cases, tell, at_once=order.jobs)
    finally:
        target.close()
