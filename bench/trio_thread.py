"""Blocking calls from trio; the thread is left behind when its reader is cancelled."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

T = TypeVar("T")


async def in_thread(function: Callable[[], T], /) -> T:
    return await trio.to_thread.run_sync(function, abandon_on_cancel=True)
