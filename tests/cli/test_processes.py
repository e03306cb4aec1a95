"""The command as its users meet it: processes, signals, exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from fsp_trio.cli import demo
from fsp_trio.cli.exits import Exit
from tests.cli.tools import write_key

pytestmark = pytest.mark.realnet

COMMAND = [sys.executable, "-m", "fsp_trio.cli"]


@asynccontextmanager
async def serving(*arguments: str) -> AsyncGenerator[tuple[trio.Process, str], None]:
    """A server process and the address at which it listens."""
    command = [*COMMAND, *arguments, "--bind", "127.0.0.1", "--port", "0", "--timers", "responsive"]
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        said = b""
        with trio.fail_after(30):
            while b"\n" not in said:
                data = await process.stdout.receive_some()
                assert data, await process.stderr.receive_some()
                said += data
        yield process, said.decode().splitlines()[0].removeprefix("listening on ")
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            await process.stdout.aclose()
            await process.stderr.aclose()


async def run(*arguments: str, stdout: int | None = None) -> tuple[int, str, str]:
    command = [*COMMAND, *arguments, "--timers", "responsive"]
    with trio.fail_after(60):
        if stdout is None:
            done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
        else:
            done = await trio.run_process(command, stdout=stdout, capture_stderr=True, check=False)
    return done.returncode, (done.stdout or b"").decode(), done.stderr.decode()


async def finish(process: trio.Process) -> tuple[int, str]:
    """Exit code and what is left on stderr."""
    assert process.stderr is not None
    errors = b""
    with trio.fail_after(30):
        async for data in process.stderr:
            errors += data
        return await process.wait(), errors.decode()


async def test_a_file_between_processes(tmp_path: Path) -> None:
    psk = str(write_key(tmp_path / "psk"))
    (tmp_path / "file").write_bytes(os.urandom(300_000))
    out = tmp_path / "out"
    out.mkdir()
    async with serving("receive", "--psk", psk, "--out", str(out), "--once") as (receiver, address):
        code, said, errors = await run("send", "--psk", psk, "--json", str(tmp_path / "file"), address)
        assert code == Exit.OK, errors
        statistics = json.loads(said)
        assert statistics["octets"] == 300_000
        assert statistics["protection"] == "aead"
        assert await finish(receiver) == (Exit.OK, "")
    assert (out / "file").read_bytes() == (tmp_path / "file").read_bytes()


async def test_other_key_other_exit_code(tmp_path: Path) -> None:
    psk, other = write_key(tmp_path / "psk"), write_key(tmp_path / "other", b"another key of some length")
    async with serving("receive", "--psk", str(psk), "--out", str(tmp_path), "--once") as (receiver, address):
        code, said, errors = await run("send", "--psk", str(other), str(psk), address)
        assert (code, said) == (Exit.KEY, "")
        assert errors == "fsp-trio: the peer has another pre-shared key\n"
        code, errors = await finish(receiver)
        assert code == Exit.KEY
        assert len(errors.splitlines()) == 1


async def test_refused_file_is_a_failure_at_both_ends(tmp_path: Path) -> None:
    psk = str(write_key(tmp_path / "psk"))
    async with serving("receive", "--psk", psk, "--out", str(tmp_path), "--once") as (receiver, address):
        code, _, errors = await run("send", "--psk", psk, psk, address)
        assert code == Exit.FAILED
        assert errors == "fsp-trio: psk: refused: a file of that name exists\n"
        assert await finish(receiver) == (Exit.FAILED, "fsp-trio: psk: a file of that name exists\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_interrupted(tmp_path: Path, number: signal.Signals) -> None:
    psk = str(write_key(tmp_path / "psk"))
    async with serving("echo", "--psk", psk) as (server, address):
        code, said, errors = await run("ping", "--psk", psk, "-c", "2", "-i", "0", address)
        assert code == Exit.OK, errors
        assert "2 round trips" in said
        server.send_signal(number)
        assert await finish(server) == (Exit.INTERRUPTED, "fsp-trio: interrupted\n")


async def test_interrupted_peer_is_told(tmp_path: Path) -> None:
    psk = str(write_key(tmp_path / "psk"))
    async with serving("echo", "--psk", psk) as (server, address):
        command = [*COMMAND, "ping", "--psk", psk, "-c", "1000", "-i", "0.01", address]
        process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout is not None
        assert await process.stdout.receive_some()
        server.send_signal(signal.SIGINT)
        await finish(server)
        with trio.fail_after(30):
            async for _ in process.stdout:
                pass
        code, errors = await finish(process)
        assert code == Exit.FAILED
        assert "reset by the peer" in errors
        await process.stdout.aclose()
        assert process.stderr is not None
        await process.stderr.aclose()


async def test_nobody_reads_stdout(tmp_path: Path) -> None:
    psk = str(write_key(tmp_path / "psk"))
    async with serving("echo", "--psk", psk) as (_, address):
        reading, writing = os.pipe()
        os.close(reading)
        try:
            code, _, errors = await run("ping", "--psk", psk, "-c", "1", address, stdout=writing)
        finally:
            os.close(writing)
        assert (code, errors) == (Exit.FAILED, "")


async def test_demo_in_small(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    await demo.run_demo(tmp_path, size=1)
    said = capfd.readouterr().out
    for words in ("rate", "packets:", "retransmissions", "states:", "protection aead", "they are the same"):
        assert words in said


async def test_demo_notices_a_mismatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "sha256", lambda path: str(path))
    with pytest.raises(RuntimeError, match="the digests differ"):
        await demo.run_demo(tmp_path, size=1)


async def test_demo_notices_an_end_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "_COMMAND", (sys.executable, "-c", "import sys; sys.exit('no')"))
    with pytest.raises((RuntimeError, BaseExceptionGroup)):
        await demo.run_demo(tmp_path, size=1)


def test_demo_fails_loudly(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def fail(directory: Path) -> None:
        raise RuntimeError("as it must")

    monkeypatch.setattr(demo, "run_demo", fail)
    assert demo.main() == 1
    assert capsys.readouterr().err == "demo failed: as it must\n"

    async def succeed(directory: Path) -> None:
        assert directory.is_dir()

    monkeypatch.setattr(demo, "run_demo", succeed)
    assert demo.main() == 0
