"""Starts pairs of worker processes, asks them, and makes sure that they are gone afterwards."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from .jobs import Job

START_SECONDS = 30.0
ANSWER_SECONDS = 180.0
STOP_SECONDS = 10.0
# asyncio allocates 256 KiB for each datagram; with glibc's defaults the heap's top is at times given back and
# faulted in again for every one of them, which is a matter of luck and not of the subject
STEADY = {"MALLOC_MMAP_THRESHOLD_": str(4 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(16 * 2**20)}


class WorkerFailed(Exception):
    """A worker ended or kept silent instead of answering."""


class Worker:
    def __init__(self, job: Job, process: trio.Process) -> None:
        self.job = job
        self._process = process
        self._received = b""
        self.port = 0

    async def _tell(self, line: str) -> None:
        assert self._process.stdin is not None
        await self._process.stdin.send_all(line.encode() + b"\n")

    async def _hear(self, seconds: float) -> Any:
        assert self._process.stdout is not None
        who = f"{self.job.subject} {self.job.role}"
        try:
            with trio.fail_after(seconds):
                while b"\n" not in self._received:
                    if not (data := await self._process.stdout.receive_some()):
                        raise WorkerFailed(f"{who} ended early")
                    self._received += data
        except trio.TooSlowError:
            raise WorkerFailed(f"{who} gave no answer in {seconds:.0f} s") from None
        line, _, self._received = self._received.partition(b"\n")
        return json.loads(line)

    async def start(self) -> None:
        await self._tell(self.job.encode())
        self.port = (await self._hear(START_SECONDS))["ready"]

    async def ask(self, do: str, **arguments: object) -> Any:
        try:
            await self._tell(json.dumps({"do": do, **arguments}))
        except trio.BrokenResourceError:
            raise WorkerFailed(f"{self.job.subject} {self.job.role} is gone") from None
        return (await self._hear(ANSWER_SECONDS))["value"]


@asynccontextmanager
async def worker(job: Job, *, steady: bool = False) -> AsyncIterator[Worker]:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", f"{__package__}.worker"],
        env=os.environ | (STEADY if steady else {}),
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        started = Worker(job, process)
        await started.start()
        yield started
    finally:
        with trio.CancelScope(shield=True):
            assert process.stdin is not None
            assert process.stdout is not None
            await process.stdin.aclose()  # the worker ends at the end of its input
            with trio.move_on_after(STOP_SECONDS):
                await process.wait()
            if process.returncode is None:
                process.kill()
                await process.wait()
            await process.stdout.aclose()


@asynccontextmanager
async def pair(
    subject: str, directory: str, *, traced: bool = False, steady: bool = False
) -> AsyncIterator[tuple[Worker, Worker]]:
    """A server and a client that knows the server's port."""
    async with worker(Job(subject=subject, role="server", directory=directory, traced=traced), steady=steady) as server:
        job = Job(subject=subject, role="client", directory=directory, port=server.port, traced=traced)
        async with worker(job, steady=steady) as client:
            yield server, client
