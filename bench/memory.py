"""Memory and processor time of the own process."""

from __future__ import annotations

import gc
import resource
import time
import tracemalloc


def _resident() -> int:
    # smaps_rollup counts pages; the cheaper statm may lag behind where there are many processors
    with open("/proc/self/smaps_rollup", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("Rss:"):
                return int(line.split()[1]) * 1024
    raise RuntimeError("no resident set size in /proc/self/smaps_rollup")


def memory() -> dict[str, int]:
    gc.collect()
    traced = tracemalloc.get_traced_memory()[0] if tracemalloc.is_tracing() else 0
    return {"resident": _resident(), "traced": traced}


def processor() -> float:
    return time.process_time()


def raise_descriptor_limit() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
