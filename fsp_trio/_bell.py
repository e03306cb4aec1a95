"""The bell by which the timer wheel wakes a task: a memory channel of capacity 1 in a tenth of its memory."""

from __future__ import annotations

import trio


class Bell:
    """One task waits; ringing before it waits, once or often, lets it pass once."""

    __slots__ = ("_rung", "_task")

    def __init__(self) -> None:
        self._rung = False
        self._task: trio.lowlevel.Task | None = None

    def ring(self) -> None:
        """Wake the waiting task, or let the next one that comes pass."""
        task = self._task
        if task is None:
            self._rung = True
        else:
            self._task = None
            trio.lowlevel.reschedule(task)

    async def wait(self) -> None:
        """Wait for the bell.  Cancelled, it loses no ring."""
        if self._rung:
            await trio.lowlevel.checkpoint()
            self._rung = False
            return
        self._task = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._abort)

    def _abort(self, raise_cancel: object) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED
