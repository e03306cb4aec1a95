"""The commands in this process, with another process at the other end."""

from __future__ import annotations

import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fsp_trio.cli import main
from fsp_trio.cli.exits import Exit
from tests.cli.tools import LOOPBACK, write_key

pytestmark = pytest.mark.realnet

COMMAND = [sys.executable, "-m", "fsp_trio.cli"]


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((LOOPBACK, 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


@pytest.fixture
def psk(tmp_path: Path) -> str:
    return str(write_key(tmp_path / "psk"))


def other(*arguments: str) -> subprocess.Popen[bytes]:
    # the responsive timers ask again after a second, in case the other end starts later
    return subprocess.Popen([*COMMAND, *arguments, "--timers", "responsive"], stdout=subprocess.PIPE)


def test_receive(tmp_path: Path, psk: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    port = free_port()
    with other("send", "--psk", psk, psk, f"{LOOPBACK}:{port}") as sender:
        arguments = ["receive", "--psk", psk, "--once", "--out", str(out), "--bind", LOOPBACK, "--port", str(port)]
        assert main(arguments) == Exit.OK
        assert sender.wait(30) == Exit.OK
    assert (out / "psk").read_bytes() == Path(psk).read_bytes()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("there_already", [False, True])
@pytest.mark.parametrize("checksum", ["on", "off"])
def test_send(tmp_path: Path, psk: str, capsys: pytest.CaptureFixture[str], there_already: bool, checksum: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if there_already:
        (out / "psk").touch()
    with other("receive", "--psk", psk, "--once", "--out", str(out), "--bind", LOOPBACK, "--port", "0") as receiver:
        assert receiver.stdout is not None
        address = receiver.stdout.readline().decode().split()[-1]
        code = main(["send", "--psk", psk, "--udp-checksum", checksum, psk, address])
        assert code == (Exit.FAILED if there_already else Exit.OK)
        assert receiver.wait(30) == code
    captured = capsys.readouterr()
    assert "rate" in captured.out
    assert ("a file of that name exists" in captured.err) is there_already


def test_echo(psk: str) -> None:
    port = free_port()
    with other("ping", "--psk", psk, "-c", "1", f"{LOOPBACK}:{port}") as pinging:

        def interrupt() -> None:
            pinging.wait(60)
            os.kill(os.getpid(), signal.SIGINT)

        thread = threading.Thread(target=interrupt)
        thread.start()
        assert main(["echo", "--psk", psk, "--bind", LOOPBACK, "--port", str(port)]) == Exit.INTERRUPTED
        thread.join()
        assert pinging.returncode == Exit.OK


def test_ping(psk: str, capsys: pytest.CaptureFixture[str]) -> None:
    with other("echo", "--psk", psk, "--bind", LOOPBACK, "--port", "0") as echoing:
        assert echoing.stdout is not None
        address = echoing.stdout.readline().decode().split()[-1]
        assert main(["ping", "--psk", psk, "-c", "2", "-i", "0", address]) == Exit.OK
        echoing.terminate()
    assert "2 round trips" in capsys.readouterr().out


def test_module(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["fsp-trio", "--version"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("fsp_trio.cli", run_name="__main__")
    assert caught.value.code == Exit.OK
    assert "fsp-trio" in capsys.readouterr().out
