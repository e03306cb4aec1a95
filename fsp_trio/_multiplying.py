"""Branches of a session: made from here, accepted from the peer, and ended with it (gao-07 3.5, 11)."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import trio

from fsp_trio._branches import Branches, BranchIterator, run_handler
from fsp_trio._engine import SessionEngine
from fsp_trio._groups import unwrapped
from fsp_trio._halves import octets_of
from fsp_trio.core.congestion import SEGMENT
from fsp_trio.core.connection import Connection
from fsp_trio.core.failure import MultiplicationRefused
from fsp_trio.errors import FSPClosedError, MultiplicationError

if TYPE_CHECKING:
    from fsp_trio.session import FSPSession


class MultiplyingEngine(SessionEngine):
    """What an application can do with a session and its branches; `FSPSession` extends it."""

    __slots__ = ()

    @property
    @abstractmethod
    def _itself(self) -> FSPSession:
        """This session, as the class that it is."""

    @property
    def parent(self) -> FSPSession | None:
        """The session of which this one is a branch; None for others."""
        return self._parent

    async def multiply(self, first: bytes = b"", *, ends: bool = True) -> FSPSession:
        """Make a branch: a session of its own with the same peer, without a round trip (gao-07 3.5, 11).

        `first`: octets of the branch's first transaction, at most `Settings.send_buffer`; as many as fit into a packet
        are with the peer's application after one way, the rest follows when the peer has answered.  `ends` tells that
        they are all of it; otherwise the transaction stays open, for `stream()` or `send_transaction()` to go on with.
        Returns as soon as the packet has left: whether the peer accepts shows in what is done with the branch, which
        breaks with kind REFUSED if it does not, and HANDSHAKE_TIMEOUT if nothing is heard for 60 seconds.

        A branch is under a key of its own, made of this session's (11.5).  It runs inside this session: `aclose` closes
        the branches first, and if this session breaks or is reset they break too.

        MultiplicationError without a key, FSPClosedError or FSPBrokenError if the session has ended, ValueError if
        `first` is too long.  While a key takes effect, or the path is full, it waits.  Cancelled, it has done nothing.
        """
        self._check_unclosed()
        first = octets_of(first)
        if len(first) > self._connection.settings.send_buffer:
            raise ValueError(f"a first transaction of {len(first)} octets does not fit into the send buffer")
        await trio.lowlevel.checkpoint_if_cancelled()
        waited = False
        while (wait := self._wait_to_multiply()) > 0:
            with trio.move_on_after(wait):
                await self._watchers.park()
            waited = True
            self._check_unclosed()
        branch = self._multiply(first, ends)
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return branch

    def _wait_to_multiply(self) -> float:
        """Seconds after which it is worth another look; 0 if a branch can be made now."""
        connection = self._connection
        if connection.peer_released:
            self._raise_broken()
        try:
            if not connection.may_multiply():
                return math.inf
        except MultiplicationRefused as refusal:
            raise MultiplicationError(str(refusal)) from None
        macroflow = connection.macroflow
        return 0.0 if macroflow.allowance(trio.current_time()) >= SEGMENT else macroflow.wait()

    def _multiply(self, first: bytes, ends: bool) -> FSPSession:
        now = trio.current_time()
        connection = Connection.multiply(self._connection, self._endpoint._new_ultid(), first, ends=ends, now=now)
        branch = self._take_in(connection, now)
        branch._newest_commit = connection.ordinal
        branch._on_event = branch._established_at_last
        return branch

    def _established_at_last(self) -> None:
        if self._connection.is_established:
            self._established()

    def _take_in(self, connection: Connection, now: float) -> FSPSession:
        """A session for a branch, in this session's nursery."""
        branch = self._endpoint._new_branch(connection)
        branch._parent = self._itself
        self._family().alive.add(branch)
        self._endpoint._adopt(branch, now, self._nursery)
        return branch

    def _family(self) -> Branches:
        if self._branches is None:
            self._branches = Branches(self._itself)
        return self._branches

    async def accept_branch(self) -> FSPSession:
        """The next branch that the peer makes (gao-07 5.16); with it the peer is told that it is accepted.

        Requests wait for as long as the peer keeps asking, 60 seconds; more than `Settings.branch_backlog` at once are
        refused.  What the peer sent with its request can be read at once.  Several tasks may wait.
        trio.EndOfChannel when the peer has released the session, FSPBrokenError if it broke, FSPClosedError after
        `aclose` or `reset`.  Cancelled, it loses nothing.
        """
        self._check_unclosed()
        await trio.lowlevel.checkpoint_if_cancelled()
        family = self._family()
        waited = False
        while (request := family.next_request(trio.current_time())) is None:
            if self._connection.failure is not None:
                self._raise_broken()
            if self._connection.peer_released:
                raise trio.EndOfChannel
            await family.arrivals.park()
            waited = True
            self._check_unclosed()
        now = trio.current_time()
        endpoint = self._endpoint
        connection = Connection.branch_off(
            self._connection, request, endpoint._new_ultid(), now=now, random=endpoint._random
        )
        branch = self._take_in(connection, now)
        branch._established()
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return branch

    def branches(self) -> BranchIterator:
        """The branches that the peer makes, for `async for`; ends when the peer has released the session."""
        return BranchIterator(self._itself)

    async def serve_branches(
        self,
        handler: Callable[[FSPSession], Awaitable[object]],
        *,
        handler_nursery: trio.Nursery | None = None,
    ) -> None:
        """Accept branches and run `handler(branch)` in a task for each, as `serve_fsp` does with sessions.

        Returns when the peer has released the session, or this end has closed it, and all handlers are done.  A branch
        that its handler has not closed is closed; when the handler raises, it is reset, and the exception comes out as
        itself.  FSPBrokenError if the session breaks.
        """
        with unwrapped():
            async with trio.open_nursery() as nursery:
                with suppress(FSPClosedError):
                    async for branch in self.branches():
                        (handler_nursery or nursery).start_soon(run_handler, handler, branch)

    @property
    def _has_branches(self) -> bool:
        return self._branches is not None and bool(self._branches.alive)

    def _meet_branches(self, now: float) -> None:
        self._family().meet(now)

    def _leave_family(self, now: float) -> None:
        if self._branches is not None:
            self._branches.parent_ended(now)
        if self._parent is not None and self._parent._branches is not None:
            self._parent._branches.alive.discard(self._itself)
        self._tell_parent(now)

    def _tell_parent(self, now: float) -> None:
        """This branch has ended, or lingers: a parent that is being closed may have waited for that."""
        parent = self.parent
        if parent is None or parent._branches is None:
            return
        parent._branches.changed.wake_all()
        if parent._abandoned and not parent._ended and not parent._has_branches:
            parent._connection.shutdown(now)
            parent._after(now)
