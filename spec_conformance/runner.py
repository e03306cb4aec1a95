"""Runs cases against a target and says how each ended."""

from __future__ import annotations

import traceback
import zlib
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, TypeAlias

import trio

from spec_conformance.bench import Bench
from spec_conformance.case import Case
from spec_conformance.link import Exchange
from spec_conformance.targets.base import Target
from spec_conformance.verdict import Outcome, Verdict

__all__ = ["CaseResult", "Opener", "Run", "run_case"]

Opener: TypeAlias = Callable[[Case, int], AbstractAsyncContextManager[Target]]
"""Gives the target for a case and a seed."""

LIMIT: Final = 120.0
"""Seconds after which a case over sockets is given up."""
SLOW_LIMIT: Final = 1800.0
"""The same for a case that waits for time-outs."""
VIRTUAL_LIMIT: Final = 200_000.0
"""Virtual seconds: more than two days."""


@dataclass(slots=True)
class CaseResult:
    """How a case ended, and what was sent meanwhile."""

    case: Case
    verdict: Verdict
    detail: str = ""
    expected: str = ""
    seen: str = ""
    seconds: float = 0.0
    exchanges: list[Exchange] = field(default_factory=list)
    offending: int | None = None
    """Index in `exchanges` of the datagram that gave offence."""
    keys: list[str] = field(default_factory=list)
    """Lines of a key log, to read the exchanges with."""
    teardown: str = ""
    """What went wrong when the case's connections were reset; empty if nothing did."""
    alive: bool | None = None
    """Whether the target still answered after a failure; None if it was not asked."""


@dataclass(frozen=True, slots=True)
class Run:
    """How cases are to be run."""

    opener: Opener
    seed: int = 0
    timeout_scale: float = 1.0

    async def one(self, case: Case) -> CaseResult:
        """Run one case, and after a failure ask whether the target still lives."""
        seed = zlib.crc32(f"{self.seed} {case.id}".encode())
        result = CaseResult(case, Verdict.FAIL)
        try:
            with trio.move_on_after(
                2 * VIRTUAL_LIMIT
            ) as watch:  # else nothing would move a virtual clock in a deadlock
                async with self.opener(case, seed) as target:
                    result = await run_case(case, target, seed=seed, timeout_scale=self.timeout_scale)
                    if result.verdict is Verdict.FAIL and case.role == "responder":
                        result.alive = await is_alive(target, self.timeout_scale)
            if watch.cancelled_caught:
                result.verdict, result.detail = Verdict.FAIL, result.detail or "the target hangs"
        except Exception as error:  # only a target in the same process can do that
            result.verdict, result.alive = Verdict.FAIL, False
            result.detail = f"the target fell over: {error!r}"
        return result

    async def several(self, cases: Iterable[Case], tell: Callable[[CaseResult], None], *, at_once: int = 1) -> None:
        """Run cases in their order, at most so many at once; `tell` gets each result when it is there.

        Those that disturb others run afterwards, one by one.
        """
        cases = list(cases)

        async def work(waiting: Iterator[Case]) -> None:
            for case in waiting:
                tell(await self.one(case))

        beside = iter([case for case in cases if not case.alone])
        async with trio.open_nursery() as nursery:
            for _ in range(at_once):
                nursery.start_soon(work, beside)
        await work(case for case in cases if case.alone)


async def run_case(case: Case, target: Target, *, seed: int = 0, timeout_scale: float = 1.0) -> CaseResult:
    """Run the script of a case; every outcome becomes a verdict, an exception of the script an inconclusive one."""
    result = CaseResult(case, Verdict.PASS)
    started = trio.current_time()
    bench: Bench | None = None
    outcome: Outcome | None = None
    try:
        bench = Bench(target, seed=seed, timeout_scale=timeout_scale, service=case.service)
        bench.need(*case.needs)
        with trio.fail_after(VIRTUAL_LIMIT if target.virtual else (SLOW_LIMIT if case.slow else LIMIT) * timeout_scale):
            await case.script(bench)
    except Outcome as ended:
        outcome = ended
        result.verdict, result.detail = ended.verdict, ended.detail
        result.expected, result.seen = ended.expected, ended.seen
    except trio.TooSlowError:
        result.verdict, result.detail = Verdict.INCONCLUSIVE, "the case came to no end"
    except Exception as error:  # a mistake in the case must not end the run
        place = traceback.extract_tb(error.__traceback__)[-1]
        result.verdict = Verdict.INCONCLUSIVE
        result.detail = f"the case itself failed: {error!r} at {place.filename}:{place.lineno}"
    if bench is not None:
        with trio.CancelScope(shield=True), trio.move_on_after(5.0):
            result.teardown = await _tear_down(bench)
        result.exchanges = bench.exchanges
        result.keys = bench.keys
        result.offending = _offending(bench, outcome)
    result.seconds = trio.current_time() - started
    return result


async def _tear_down(bench: Bench) -> str:
    """Reset what is open; a target that goes on talking on a connection that was reset is told of."""
    trouble = ""
    for peer in bench.peers:
        try:
            await peer.close()
        except Exception as error:
            trouble = trouble or f"{error!r}"
    await trio.sleep(bench.blink)
    for peer in bench.peers:
        peer.link.close()
    return trouble


def _offending(bench: Bench, outcome: Outcome | None) -> int | None:
    if outcome is None or outcome.packet is None:
        return None
    return bench.place_of(outcome.packet)


async def is_alive(target: Target, timeout_scale: float) -> bool:
    """The target still accepts a connection and echoes."""
    bench = Bench(target, timeout_scale=timeout_scale)
    peer = await bench.peer()
    try:
        await peer.connect()
        await peer.echo(b"still there?")
    except Outcome:
        return False
    finally:
        await _tear_down(bench)
    return True


@asynccontextmanager
async def shared(target: Target) -> AsyncGenerator[Target]:
    """For an Opener whose target serves all cases."""
    yield target
