"""One sleeping task that serves the timers of all the sessions of an endpoint.

A task that sleeps on its own per session costs a wake-up each time its deadline moves. Here a deadline that
moves later costs an assignment: the heap keeps the earlier time, and when that comes the timer is filed anew.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from itertools import count
from typing import Final

import trio

STALE_ALLOWANCE: Final = 64
"""Abandoned heap items that are tolerated on top of one for each timer before the heap is rebuilt."""

RESOLUTION: Final = 0.001
"""Seconds between two wake-ups at the least: many timers close to each other are served together."""


class Timer:
    """One timer of a wheel; made by `TimerWheel.add`."""

    __slots__ = ("callback", "deadline", "filed", "ticket")

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback
        self.deadline = math.inf
        self.filed = math.inf  # the time of its one valid heap item, never later than the deadline
        self.ticket = 0  # the number of that item

    @property
    def armed(self) -> bool:
        return self.deadline < math.inf


class TimerWheel:
    """Calls a synchronous callback when a timer's deadline has come.

    The callback runs in the wheel's task: it shall only ring a bell (`send_nowait` on a memory channel) and
    must not raise. A timer that has fired is disarmed until `arm` is called again, which the callback may do.
    """

    __slots__ = ("_heap", "_not_before", "_numbers", "_resolution", "_scope", "_stale", "_timers", "wake_ups")

    def __init__(self, *, resolution: float = RESOLUTION) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._numbers = count(1)
        self._timers = 0
        self._stale = 0
        self._resolution = resolution
        self._not_before = -math.inf
        self._scope: trio.CancelScope | None = None
        self.wake_ups = 0

    def __len__(self) -> int:
        """Timers added and not removed."""
        return self._timers

    @property
    def heap_size(self) -> int:
        """Items in the heap, abandoned ones included: at most twice the timers and `STALE_ALLOWANCE`."""
        return len(self._heap)

    def add(self, callback: Callable[[], object]) -> Timer:
        """A new timer, not armed."""
        self._timers += 1
        return Timer(callback)

    def arm(self, timer: Timer, deadline: float) -> None:
        """Let the timer fire at `deadline` (trio's clock) and not as arranged before; `math.inf` disarms."""
        timer.deadline = deadline
        if deadline < timer.filed:
            if timer.callback is None:
                raise ValueError("the timer has been removed from its wheel")
            if timer.filed < math.inf:
                self._stale += 1
            self._file(timer)
            self._discard_stale()
            scope = self._scope
            if scope is not None:
                wake_up = max(deadline, self._not_before)
                if wake_up < scope.deadline:
                    scope.deadline = wake_up

    def remove(self, timer: Timer) -> None:
        """Forget the timer and its callback; a second call does nothing."""
        if timer.callback is None:
            return
        timer.callback = None
        timer.deadline = math.inf
        self._timers -= 1
        if timer.filed < math.inf:
            timer.filed = math.inf
            self._stale += 1
        self._discard_stale()

    def next_deadline(self) -> float:
        """When the wheel has to look again; there may turn out to be nothing due by then."""
        return self._heap[0][0] if self._heap else math.inf

    def expire(self, now: float) -> int:
        """Fire what is due; how many were called. `run` does this; tests may."""
        heap = self._heap
        due: list[Timer] = []
        while heap and heap[0][0] <= now:
            _, number, timer = heapq.heappop(heap)
            if number != timer.ticket or timer.callback is None:
                self._stale -= 1
                continue
            timer.filed = math.inf
            if timer.deadline <= now:
                due.append(timer)
            elif timer.deadline < math.inf:
                self._file(timer)
        # A callback may arm, disarm or remove any timer, so each one is looked at again. Those armed for a
        # time already past wait for the next round: a callback that rearms itself must not hold up the task.
        fired = 0
        for timer in due:
            callback = timer.callback
            if callback is not None and timer.deadline <= now:
                timer.deadline = math.inf
                fired += 1
                callback()
        return fired

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve the timers until cancelled."""
        if self._scope is not None:
            raise RuntimeError("the timer wheel is already running")
        try:
            while True:
                # `arm` moves the deadline of this scope earlier, which is much cheaper than waking the task.
                with trio.CancelScope(deadline=max(self.next_deadline(), self._not_before)) as self._scope:
                    task_status.started()
                    task_status = trio.TASK_STATUS_IGNORED
                    await trio.sleep_forever()
                self._scope = None
                now = trio.current_time()
                self._not_before = now + self._resolution
                self.wake_ups += 1
                self.expire(now)
        finally:
            self._scope = None

    def _file(self, timer: Timer) -> None:
        timer.filed = timer.deadline
        timer.ticket = next(self._numbers)
        heapq.heappush(self._heap, (timer.deadline, timer.ticket, timer))

    def _discard_stale(self) -> None:
        if self._stale <= self._timers + STALE_ALLOWANCE:
            return
        # A removed timer keeps its ticket, hence the second condition.
        self._heap = [item for item in self._heap if item[1] == item[2].ticket and item[2].callback is not None]
        heapq.heapify(self._heap)
        self._stale = 0
