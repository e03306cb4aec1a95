"""Programs in namespaces, and what they say."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import trio

from tests.netns import inside

ROOT: Final = Path(__file__).parents[2]


class Program:
    """A module of this package that runs in a namespace, and says what it does in lines of JSON."""

    def __init__(self, name: str, process: trio.Process, errors: tempfile._TemporaryFileWrapper[bytes]) -> None:
        self.name = name
        self._process = process
        self._errors = errors
        self._said = b""
        self._heard: dict[str, dict[str, Any]] = {}

    async def heard(self, event: str) -> dict[str, Any]:
        """Wait until it says that; RuntimeError if it ends before."""
        stdout = self._process.stdout
        assert stdout is not None
        while event not in self._heard:
            part = await stdout.receive_some()
            if not part:
                raise RuntimeError(f"{self.name} ended before it was {event}:\n{self.complaints()}")
            *lines, self._said = (self._said + part).split(b"\n")
            for line in lines:
                said = json.loads(line)
                self._heard[said.pop("event")] = said
        return self._heard[event]

    async def tell(self, command: str) -> None:
        assert self._process.stdin is not None
        try:
            await self._process.stdin.send_all(f"{command}\n".encode())
        except trio.BrokenResourceError:
            raise RuntimeError(f"{self.name} ended before it was told to {command}:\n{self.complaints()}") from None

    def complaints(self) -> str:
        self._errors.seek(0)
        return "\n".join(self._errors.read().decode(errors="replace").splitlines()[-12:])

    async def stop(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
        with trio.CancelScope(shield=True):
            await self._process.wait()


@asynccontextmanager
async def program(namespace: str, module: str, plan: dict[str, Any]) -> AsyncGenerator[Program, None]:
    """Runs while the block does, and is killed if it still runs then."""
    command = inside(namespace, sys.executable, "-m", f"tests.namespaces.{module}", json.dumps(plan))
    with tempfile.NamedTemporaryFile() as errors:
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors.fileno(), cwd=ROOT
        )
        running = Program(module, process, errors)
        try:
            yield running
        finally:
            await running.stop()
