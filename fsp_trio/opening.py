"""The short way in: one session with an endpoint of its own, and a server in one call."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import NoReturn

import trio

from fsp_trio._branches import run_handler
from fsp_trio._groups import unwrapped
from fsp_trio.core.settings import Settings
from fsp_trio.endpoint import ANY_ADDRESS, DEFAULT_PORT, open_fsp_endpoint
from fsp_trio.listener import Admit, FSPListener, Welcome
from fsp_trio.session import FSPSession

__all__ = ["open_fsp_session", "serve_fsp"]

Handler = Callable[[FSPSession], Awaitable[object]]


@asynccontextmanager
async def open_fsp_session(
    host: str,
    port: int = DEFAULT_PORT,
    *,
    service: int = DEFAULT_PORT,
    first: bytes = b"",
    settings: Settings | None = None,
    revision: str = "gao-07",
    linger: float = 2.0,
) -> AsyncGenerator[FSPSession, None]:
    """A session with the service of the endpoint at an IPv4 host and UDP port, over a port of its own.

    At the end of the block the session is closed gracefully (`FSPSession.aclose`); if an exception leaves the block
    the session is reset and the exception comes out as itself.  `first` is that of `FSPEndpoint.open_session`,
    `linger` that of `open_fsp_endpoint`.  FSPConnectError if no session comes about, OSError if `host` has no address
    or no local port is free.
    """
    async with (
        open_fsp_endpoint(ANY_ADDRESS, 0, settings=settings, revision=revision, linger=linger) as endpoint,
        await endpoint.open_session(host, port, service=service, first=first) as session,
    ):
        yield session


async def serve_fsp(
    handler: Handler,
    port: int = DEFAULT_PORT,
    *,
    host: str = ANY_ADDRESS,
    service: int = DEFAULT_PORT,
    backlog: int = 128,
    welcome: Welcome = b"",
    admit: Admit | None = None,
    settings: Settings | None = None,
    revision: str = "gao-07",
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[FSPListener] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Accept sessions on a UDP port and run `handler(session)` in a task for each, like `trio.serve_tcp`.

    Never returns unless cancelled.  `task_status.started` gets the FSPListener, whose `endpoint.local_address` is
    useful when `port` is 0.  Handlers run in `handler_nursery`, or in a nursery of the call's own.  A session that
    its handler has not closed when it returns is closed gracefully, without regard to whether that succeeds; when
    it raises, the session is reset.  An exception of a handler comes out of the nursery in which it runs: of
    `serve_fsp` itself as itself, unless there are several at once.  The other arguments are those of
    `open_fsp_endpoint` and `FSPEndpoint.listen`.
    """
    with unwrapped():
        async with (
            open_fsp_endpoint(host, port, settings=settings, revision=revision) as endpoint,
            trio.open_nursery() as nursery,
            endpoint.listen(service, backlog=backlog, welcome=welcome, admit=admit) as listener,
        ):
            task_status.started(listener)
            while True:
                session = await listener.accept_session()
                (handler_nursery or nursery).start_soon(partial(run_handler, handler, session))
    raise AssertionError("unreachable")
