"""What a session keeps of the branches that are made of it: those alive, and the peer's requests that wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Self

import trio

from fsp_trio._lot import Lot
from fsp_trio.core.failure import ResetReason
from fsp_trio.core.multiplication import BranchRequest
from fsp_trio.errors import FSPBrokenError

if TYPE_CHECKING:
    from fsp_trio.session import FSPSession


class Branches:
    """The branches of one session; `parent` meets the peer's requests whenever something has arrived."""

    __slots__ = ("alive", "arrivals", "changed", "parent", "waiting")

    def __init__(self, parent: FSPSession) -> None:
        self.parent = parent
        self.alive: set[FSPSession] = set()
        """Made by either end, and not over."""
        self.waiting: deque[BranchRequest] = deque()
        """At most `Settings.branch_backlog` requests that nobody has accepted yet."""
        self.arrivals = Lot()
        self.changed = Lot()
        """Somebody waits until a branch has ended, or lingers."""

    def meet(self, now: float) -> None:
        """Look at what the peer asks for; what is refused leaves with the next datagrams of the parent."""
        parent = self.parent
        connection = parent._connection
        if connection.peer_released:
            self.arrivals.wake_all()
        sessions = parent._endpoint._sessions
        for branch in connection.take_unheard_branches():
            branch.answer_again(now)
            if (session := sessions.get(branch.local_ultid)) is not None:
                session._after(now)
        for request in connection.take_branch_requests():
            self._forget_old(now)
            backlog = connection.settings.branch_backlog
            if parent._closed or not backlog:
                connection.refuse_branch(request, ResetReason.REJECTED)
            elif len(self.waiting) >= backlog:
                connection.refuse_branch(request, ResetReason.NO_RESOURCES)
            else:
                self.waiting.append(request)
                self.arrivals.wake_all()

    def _forget_old(self, now: float) -> None:
        """Whoever asked so long ago has given up (gao-07 12.2)."""
        oldest = now - self.parent._connection.revision.transient_timeout
        while self.waiting and self.waiting[0].arrived <= oldest:
            self.waiting.popleft()

    def next_request(self, now: float) -> BranchRequest | None:
        self._forget_old(now)
        return self.waiting.popleft() if self.waiting else None

    def refuse_waiting(self) -> None:
        """Nobody will accept them any more."""
        while self.waiting:
            self.parent._connection.refuse_branch(self.waiting.popleft(), ResetReason.REJECTED)
        self.arrivals.wake_all()

    async def aclose(self) -> None:
        """Close all that are alive, side by side, until none does more than linger.

        That one of them breaks is its own affair.
        """
        async with trio.open_nursery() as nursery:
            for branch in list(self.alive):
                nursery.start_soon(_close_quietly, branch)
        while not all(branch._abandoned for branch in self.alive):  # others are closing them
            await self.changed.park()

    def parent_ended(self, now: float) -> None:
        """No branch outlives its parent."""
        self.waiting.clear()
        self.arrivals.wake_all()
        for branch in list(self.alive):
            branch._connection.end_with_parent(now)
            branch._after(now)


async def _close_quietly(session: FSPSession) -> None:
    with suppress(FSPBrokenError):
        await session.aclose()


async def run_handler(handler: Callable[[FSPSession], Awaitable[object]], session: FSPSession) -> None:
    """Let a handler have a session that was accepted, and close what it leaves open."""
    try:
        await handler(session)
    except BaseException:
        session.reset()
        raise
    await _close_quietly(session)  # a peer that went away is no reason to end the server


class BranchIterator:
    """`async for` over the branches that the peer makes."""

    __slots__ = ("_parent",)

    def __init__(self, parent: FSPSession) -> None:
        self._parent = parent

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FSPSession:
        try:
            return await self._parent.accept_branch()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
