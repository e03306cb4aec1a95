"""Who waits for the port of an endpoint: one task at a time, a reader if one may, else the receive loop.

A reader that waits itself has its octets in the turn of Trio's in which they arrive; woken by the loop it would have
them a turn later, and a turn costs as much as opening a packet.  That is for readers who wait for an answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import trio

from fsp_trio._bell import Bell
from fsp_trio.ports import Batch, Port

if TYPE_CHECKING:
    from fsp_trio._engine import SessionEngine

READER_TURNS: Final = 3
"""Turns that a reader gets to deal with what it read, answer, and come back to wait for the port itself."""


class Watch:
    """The place of the one task that waits for a port, and what it does there."""

    __slots__ = ("_behind", "_free", "_port", "_sort", "held", "reader_woken", "receiver", "retired")

    def __init__(self, port: Port, sort: Callable[[list[Batch]], None]) -> None:
        self._port = port
        self._sort = sort
        self._free = Bell()
        """Rings when a reader leaves."""
        self._behind: list[SessionEngine] = []
        """Sessions whose readers have received something and gone on with it."""
        self.held = False
        """A task waits for the port."""
        self.receiver: SessionEngine | None = None
        """The session whose reader is receiving at this moment."""
        self.reader_woken = False
        """What the loop received last woke a reader."""
        self.retired = False
        """The port was closed because its address has gone: who waits for it goes elsewhere."""

    async def loop(self) -> None:
        """Wait for the port and sort what arrives, except while a reader does that itself."""
        while True:
            self.held = True
            try:
                await self._port.wait_readable()
            finally:
                self.held = False
            self.reader_woken = False
            self._sort(self._port.receive())
            turns = READER_TURNS if self.reader_woken else 0
            while turns or self.held:
                if self.held:
                    await self._free.wait()
                    turns = READER_TURNS - 1
                else:
                    await trio.lowlevel.checkpoint()
                    turns -= 1
                while self._behind:
                    self._behind.pop()._after(trio.current_time())

    async def receive_for(self, session: SessionEngine) -> None:
        """Do the work of the loop until the session has something to read; only while the place is not held.

        What the session's datagrams ask for besides can wait until the reader has dealt with them; the loop does it.
        """
        self.held = True
        try:
            while True:
                session._leads = self
                await self._port.wait_readable()
                session._leads = None
                self.receiver = session
                self._sort(self._port.receive())
                self.receiver = None
                if session._may_read():
                    self._behind.append(session)
                    return
                session._after(trio.current_time())
        except trio.ClosedResourceError:
            if not self.retired:
                raise
        finally:
            self.receiver = None
            session._leads = None
            self.held = False
            self._free.ring()

    def interrupt(self) -> None:
        """Let the reader who waits here look again."""
        self._port.interrupt()
