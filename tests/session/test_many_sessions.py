"""What a thousand sessions leave behind in one process, and what one that is idle costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import gc, os, sys, tracemalloc
import trio
from fsp_trio import open_fsp_endpoint

def open_files():
    return len(os.listdir("/proc/self/fd"))

async def main():
    async with open_fsp_endpoint("127.0.0.1", 0) as server, open_fsp_endpoint("127.0.0.1", 0) as client:
        listener = server.listen()
        host, port = server.local_address

        async def pairs(number):
            made = []
            for _ in range(number):
                session = await client.open_session(host, port)
                made += [session, await listener.accept_session()]
            return made

        async def close(sessions):
            for first, second in zip(sessions[::2], sessions[1::2], strict=True):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(first.aclose)
                    nursery.start_soon(second.aclose)
            sessions.clear()
            for endpoint in (client, server):
                endpoint._tombstones._sweep(trio.current_time() + 1000)
            await trio.sleep(0.1)
            gc.collect()

        tracemalloc.start()
        await close(await pairs(500))  # containers grow to their size for so many
        files = open_files()
        gc.collect()
        start = tracemalloc.get_traced_memory()[0]
        sessions = await pairs(500)
        gc.collect()
        idle = tracemalloc.get_traced_memory()[0]
        await close(sessions)
        print((idle - start) // 1000, tracemalloc.get_traced_memory()[0] - start, open_files() - files)

trio.run(main)
"""


@pytest.mark.realnet
@pytest.mark.skipif(sys.platform != "linux", reason="counts file descriptors")
def test_a_thousand_sessions_cost_little_and_leave_nothing() -> None:
    output = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True).stdout
    each, left, files = map(int, output.split())
    assert each <= 28_000  # octets that Python sees; the measured limit of 32 KB includes what it does not see
    assert left <= 100_000
    assert files == 0
