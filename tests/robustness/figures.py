"""What a process holds: octets, objects, descriptors."""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

MEGABYTE = 2**20


def resident() -> int:
    """Octets of memory that the process has, as the system sees it (Linux)."""
    with open("/proc/self/smaps_rollup", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("no resident set size")


def traced() -> int:
    """Octets that Python's allocator has given out and that are still in use."""
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def tracing() -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
    finally:
        tracemalloc.stop()


def report(text: str) -> None:
    """Shown with `pytest -s` or `-rP`."""
    sys.stdout.write(text + "\n")
