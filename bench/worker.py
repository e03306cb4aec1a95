"""A process of the benchmark: reads its job, then commands, as lines of JSON; answers each with such a line.

It ends when its standard input does, so it cannot outlive the process that started it.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys
import time
import tracemalloc
from typing import Any

from . import profiler
from .client import Client, InThread
from .jobs import Job
from .memory import memory, raise_descriptor_limit
from .subjects import SUBJECTS

LIFE_SECONDS = 300  # after each command, should whoever gave it be gone in the middle of one


def _say(**values: object) -> None:
    print(json.dumps(values), flush=True)


async def _measure(client: Client | None, command: dict[str, Any]) -> object:
    match command["do"]:
        case "memory":
            return memory()
        case "processor":
            return time.process_time()
        case "profile":
            profiler.start(command["method"])
            return None
        case "profiled":
            return profiler.stop()
    if client is None:
        raise ValueError(f"a server cannot {command['do']}")
    match command["do"]:
        case "calibrate":
            return await client.calibrate(command["seconds"])
        case "transfer":
            return await client.transfer(command["octets"])
        case "exchange":
            return await client.exchange(command["count"])
        case "connect":
            return await client.connect(command["count"])
        case "hold":
            return await client.hold(command["count"])
    raise ValueError(f"unknown command {command['do']}")


async def _obey(client: Client | None, in_thread: InThread) -> None:
    while line := await in_thread(sys.stdin.readline):
        signal.alarm(LIFE_SECONDS)
        _say(value=await _measure(client, json.loads(line)))


async def _client_work(client: Client, in_thread: InThread) -> None:
    _say(ready=0)
    await _obey(client, in_thread)


async def _server_work(port: int, in_thread: InThread) -> None:
    _say(ready=port)
    await _obey(None, in_thread)


def main() -> None:
    raise_descriptor_limit()
    job = Job.decode(sys.stdin.readline())
    module = importlib.import_module(SUBJECTS[job.subject].module, __package__)
    if job.traced:
        tracemalloc.start()
    if job.role == "server":
        module.run_server(job, _server_work)
    else:
        module.run_client(job, _client_work)


if __name__ == "__main__":
    main()
