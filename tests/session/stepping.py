"""Cancel an operation after the first, the second, the third ... step of any task, until it completes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

ENOUGH = 2_000


class _CancelAfter(trio.abc.Instrument):
    """Cancels a scope right after so many steps of any tasks, whatever they wait for then."""

    def __init__(self, scope: trio.CancelScope, steps: int) -> None:
        self._scope = scope
        self._left = steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == 0:
            self._scope.cancel()


async def cancelled_after(steps: int, operation: Callable[[], Awaitable[object]]) -> bool:
    """Run the operation; whether it was cancelled before it completed."""
    with trio.CancelScope() as scope:
        if steps == 0:
            scope.cancel()
        instrument = _CancelAfter(scope, steps)
        trio.lowlevel.add_instrument(instrument)
        try:
            await operation()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return scope.cancelled_caught


async def sweep(trial: Callable[[int], Awaitable[bool]]) -> int:
    """Call `trial` with 0, 1, 2 ... steps until it says that its operation completed; how many were cancelled."""
    for steps in range(ENOUGH):
        if not await trial(steps):
            return steps
    raise AssertionError("the operation never completes")
