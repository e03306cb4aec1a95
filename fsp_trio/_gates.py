"""A gate is one port of an endpoint, with the task that receives there and those who wait to send.

An endpoint has one, and another one for each local address from which a session sends that has moved.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

from fsp_trio._watch import Watch
from fsp_trio.ports import Address, Batch, Port

AnyPort = TypeVar("AnyPort", bound=Port, covariant=True)


class Gate(Generic[AnyPort]):
    """One port, and who waits for it."""

    __slots__ = ("_scope", "_somebody_waits", "_writable", "local", "port", "retired", "watch")

    def __init__(self, port: AnyPort, sort: Callable[[list[Batch]], None], local: Address | None = None) -> None:
        self.port = port
        self.local = local
        """The address at this end, of a gate that has only one; else None."""
        self.retired = False
        """Its address has gone."""
        self.watch = Watch(port, sort)
        self._scope = trio.CancelScope()
        self._writable = trio.lowlevel.ParkingLot()
        self._somebody_waits = False

    async def run(self) -> None:
        """Receive, until the gate is retired."""
        with self._scope:
            await self.watch.loop()

    async def wait_writable(self) -> None:
        """Wait until the port may take something; it allows one waiting task, sessions are many."""
        if self._somebody_waits:
            await self._writable.park()
            return
        self._somebody_waits = True
        try:
            await self.port.wait_writable()
        except trio.ClosedResourceError:
            if not self.retired:
                raise
        finally:
            self._somebody_waits = False
            self._writable.unpark_all()

    def retire(self) -> None:
        """Close the port; nobody may come here again, and who waits here goes on."""
        self.retired = True
        self.watch.retired = True
        self._scope.cancel()
        self.port.close()
