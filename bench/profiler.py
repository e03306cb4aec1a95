"""Profiles of the own process, started and stopped on command.

"samples" interrupts the process after every bit of processor time it uses and notes which function is
running: true shares, no counts. "calls" is the deterministic profiler of the standard library: exact
counts, but small functions look dearer than they are.
"""

from __future__ import annotations

import cProfile
import os
import signal
import sys
import sysconfig
import types
from collections import Counter
from typing import Any

INTERVAL = 0.001

_samples: Counter[types.CodeType] = Counter()
_calls: list[cProfile.Profile] = []


def _on_signal(number: int, frame: types.FrameType | None) -> None:
    if frame is not None:
        _samples[frame.f_code] += 1


def start(method: str) -> None:
    if method == "samples":
        _samples.clear()
        signal.signal(signal.SIGPROF, _on_signal)
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
    else:
        _calls.append(cProfile.Profile())
        _calls[-1].enable()


def stop() -> list[dict[str, Any]]:
    """A row for each function: its calls (0 when sampled) and its weight (samples, or seconds of its own)."""
    if _calls:
        profile = _calls.pop()
        profile.disable()
        return [
            _row(entry.code, entry.callcount, entry.inlinetime) for entry in profile.getstats() if entry.inlinetime > 0
        ]
    signal.setitimer(signal.ITIMER_PROF, 0)
    return [_row(code, 0, count) for code, count in _samples.items()]


def _row(code: types.CodeType | str, calls: int, weight: float) -> dict[str, Any]:
    if isinstance(code, str):
        return {"module": "built-in", "function": code.strip("<>"), "calls": calls, "weight": weight}
    function = f"{code.co_qualname}:{code.co_firstlineno}"
    return {"module": _module(code.co_filename), "function": function, "calls": calls, "weight": weight}


def _module(path: str) -> str:
    for root in sorted((*sys.path, sysconfig.get_path("stdlib")), key=len, reverse=True):
        if root and path.startswith(root + os.sep):
            return path[len(root) + 1 :].removesuffix(".py").removesuffix("/__init__").replace(os.sep, ".")
    return path
