"""The timer wheel against a model that keeps a plain dict, and its task on a mock clock."""

from __future__ import annotations

import math
from functools import partial

import hypothesis.strategies as st
import pytest
import trio
import trio.testing
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from fsp_trio._timer_wheel import RESOLUTION, STALE_ALLOWANCE, Timer, TimerWheel

DEADLINES = st.one_of(st.integers(0, 50).map(float), st.floats(0, 50), st.just(math.inf))


class WheelAndModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.wheel = TimerWheel()
        self.now = 0.0
        self.timers: list[Timer] = []
        self.model: dict[int, float] = {}
        self.removed: set[int] = set()
        self.fired: list[int] = []
        self.rearm: dict[int, float] = {}

    def ring(self, index: int) -> None:
        self.fired.append(index)
        after = self.rearm.pop(index, None)
        if after is not None:
            self.wheel.arm(self.timers[index], self.now + after)

    def some(self, data: st.DataObject) -> int | None:
        present = [index for index in range(len(self.timers)) if index not in self.removed]
        return data.draw(st.sampled_from(present)) if present else None

    @rule()
    def add(self) -> None:
        self.timers.append(self.wheel.add(partial(self.ring, len(self.timers))))

    @rule(data=st.data(), deadline=DEADLINES)
    def arm(self, data: st.DataObject, deadline: float) -> None:
        index = self.some(data)
        if index is not None:
            self.wheel.arm(self.timers[index], self.now + deadline)
            self.model[index] = self.now + deadline

    @rule(data=st.data(), after=st.floats(0, 10))
    def rearm_when_fired(self, data: st.DataObject, after: float) -> None:
        index = self.some(data)
        if index is not None:
            self.rearm[index] = after

    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        index = self.some(data)
        if index is not None:
            self.wheel.remove(self.timers[index])
            self.model.pop(index, None)
            self.removed.add(index)

    @rule(data=st.data())
    def move_earlier_and_earlier(self, data: st.DataObject) -> None:
        index = self.some(data)
        if index is not None:
            for step in range(200):
                self.model[index] = self.now + 1 - step / 1_000
                self.wheel.arm(self.timers[index], self.model[index])

    @rule(passed=st.one_of(st.just(0.0), st.integers(0, 20).map(float), st.floats(0, 20)))
    def advance(self, passed: float) -> None:
        self.now += passed
        expected = {index for index, deadline in self.model.items() if deadline <= self.now}
        for index in expected:
            after = self.rearm.get(index)
            self.model[index] = math.inf if after is None else self.now + after
        self.fired.clear()
        assert self.wheel.expire(self.now) == len(expected)
        assert len(self.fired) == len(expected)
        assert set(self.fired) == expected

    @invariant()
    def the_next_look_is_not_too_late(self) -> None:
        assert self.wheel.next_deadline() <= min(self.model.values(), default=math.inf)

    @invariant()
    def armed_as_the_model_says(self) -> None:
        assert len(self.wheel) == len(self.timers) - len(self.removed)
        for index, timer in enumerate(self.timers):
            assert timer.armed == (self.model.get(index, math.inf) < math.inf)

    @invariant()
    def the_heap_is_bounded(self) -> None:
        assert self.wheel.heap_size <= 2 * len(self.wheel) + STALE_ALLOWANCE


TestWheelAndModel = WheelAndModel.TestCase


def test_removed_timers_leave_the_heap() -> None:
    wheel = TimerWheel()
    timers = [wheel.add(list) for _ in range(1_000)]
    for timer in timers:
        wheel.arm(timer, 1_000_000.0)
    for timer in timers:
        wheel.remove(timer)
        wheel.remove(timer)
        assert timer.callback is None
    assert len(wheel) == 0
    assert wheel.heap_size <= STALE_ALLOWANCE
    assert wheel.expire(math.inf) == 0
    assert wheel.next_deadline() == math.inf


def test_a_removed_timer_cannot_be_armed() -> None:
    wheel = TimerWheel()
    timer = wheel.add(list)
    wheel.remove(timer)
    wheel.arm(timer, math.inf)
    with pytest.raises(ValueError, match="removed"):
        wheel.arm(timer, 1.0)


def test_callbacks_may_disarm_rearm_and_remove_others() -> None:
    wheel = TimerWheel()
    fired: list[str] = []

    def first() -> None:
        fired.append("first")
        wheel.arm(disarmed, math.inf)
        wheel.arm(later, 9.0)
        wheel.arm(again, 0.5)
        wheel.remove(removed)
        wheel.arm(wheel_first, 0.0)

    wheel_first = wheel.add(first)
    disarmed, later, again, removed = (
        wheel.add(partial(fired.append, name)) for name in ("disarmed", "later", "again", "removed")
    )
    wheel.arm(wheel_first, 1.0)
    for timer in (disarmed, later, again, removed):
        wheel.arm(timer, 2.0)
    assert wheel.expire(3.0) == 2
    assert fired == ["first", "again"]
    wheel.arm(wheel_first, math.inf)
    assert wheel.expire(9.0) == 1
    assert fired == ["first", "again", "later"]


async def running(nursery: trio.Nursery, resolution: float = RESOLUTION) -> TimerWheel:
    wheel = TimerWheel(resolution=resolution)
    await nursery.start(wheel.run)
    return wheel


async def test_timers_fire_on_time(autojump_clock: trio.testing.MockClock) -> None:
    fired: list[str] = []
    times: list[float] = []
    async with trio.open_nursery() as nursery:
        wheel = await running(nursery)
        start = trio.current_time()

        def note(name: str) -> None:
            fired.append(name)
            times.append(trio.current_time() - start)

        early, late, moved_later, moved_earlier = (
            wheel.add(partial(note, name)) for name in ("early", "late", "moved later", "moved earlier")
        )
        wheel.arm(late, start + 10)
        wheel.arm(early, start + 1)
        wheel.arm(moved_later, start + 2)
        wheel.arm(moved_earlier, start + 100)
        await trio.sleep(0.5)
        wheel.arm(moved_later, start + 20)
        wheel.arm(moved_earlier, start + 3)
        await trio.sleep(1_000)
        nursery.cancel_scope.cancel()
    assert fired == ["early", "moved earlier", "late", "moved later"]
    assert times == pytest.approx([1, 3, 10, 20])
    assert wheel.wake_ups == 6  # two of them to find that a timer had moved


async def test_timers_armed_before_the_start_and_in_the_past(autojump_clock: trio.testing.MockClock) -> None:
    wheel = TimerWheel()
    send, receive = trio.open_memory_channel[str](10)
    wheel.arm(wheel.add(partial(send.send_nowait, "before")), trio.current_time() + 5)
    async with trio.open_nursery() as nursery:
        await nursery.start(wheel.run)
        wheel.arm(wheel.add(partial(send.send_nowait, "past")), trio.current_time() - 5)
        with trio.fail_after(6):
            assert await receive.receive() == "past"
            assert await receive.receive() == "before"
        nursery.cancel_scope.cancel()


async def test_timers_close_to_each_other_share_a_wake_up(autojump_clock: trio.testing.MockClock) -> None:
    fired: list[float] = []
    async with trio.open_nursery() as nursery:
        wheel = await running(nursery, resolution=0.25)
        start = trio.current_time()

        def tick() -> None:
            fired.append(trio.current_time() - start)

        for number in range(100):
            wheel.arm(wheel.add(tick), start + 1 + number / 100)
        await trio.sleep(3)
        nursery.cancel_scope.cancel()
    assert sorted(set(fired)) == pytest.approx([1, 1.25, 1.5, 1.75, 2])
    assert len(fired) == 100


async def test_a_callback_that_rearms_for_now_does_not_hold_up_others(
    autojump_clock: trio.testing.MockClock,
) -> None:
    calls = 0
    async with trio.open_nursery() as nursery:
        wheel = await running(nursery)

        def again() -> None:
            nonlocal calls
            calls += 1
            wheel.arm(timer, trio.current_time())

        timer = wheel.add(again)
        wheel.arm(timer, trio.current_time())
        await trio.sleep(0.1)
        nursery.cancel_scope.cancel()
    assert calls == pytest.approx(0.1 / RESOLUTION, abs=2)


async def test_a_wheel_runs_once_at_a_time(autojump_clock: trio.testing.MockClock) -> None:
    wheel = TimerWheel()
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(wheel.run)
            with pytest.raises(RuntimeError, match="already running"):
                await wheel.run()
            nursery.cancel_scope.cancel()
