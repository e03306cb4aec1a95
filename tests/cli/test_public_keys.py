"""Public keys on the command line: keygen, trust on first use, and who is let in."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsp_trio.cli.app import main
from fsp_trio.cli.exits import Exit
from fsp_trio.cli.key_files import public_line, write_identity
from fsp_trio.keying import fingerprint
from tests.cli.test_processes import finish, run, serving

pytestmark = pytest.mark.realnet
PING = ("ping", "-c", "1", "-i", "0")


def test_keygen(capsys: pytest.CaptureFixture[str], configuration: Path, tmp_path: Path) -> None:
    assert main(["keygen"]) == Exit.OK
    said = capsys.readouterr().out
    path = configuration / "identity"
    assert str(path) in said
    assert path.stat().st_mode & 0o777 == 0o600
    private = path.read_text().split()[1]
    assert private not in said
    assert main(["keygen"]) == Exit.KEY
    assert "exists" in capsys.readouterr().err
    assert main(["keygen", "--force", str(tmp_path / "other")]) == Exit.OK


async def test_a_host_is_remembered_and_must_not_change(configuration: Path) -> None:
    key = write_identity(configuration / "identity", force=False)
    shown = fingerprint(bytes(key.verify_key))
    hosts = configuration / "known_hosts"
    async with serving("echo") as (server, address):
        code, said, errors = await run(*PING, "--strict", address)
        assert code == Exit.KEY
        assert errors == f"fsp-trio: {address} is not in {hosts}; its key is {shown}\n"
        code, said, _ = await run(*PING, address)
        assert code == Exit.OK
        assert f"{address} for the first time, with the key {shown}; remembered in {hosts}" in said
        assert hosts.read_text() == f"{address} {public_line(bytes(key.verify_key))}\n"
        code, said, _ = await run(*PING, "--strict", address)
        assert code == Exit.OK
        assert f"{address} has the key that is known, {shown}" in said
        hosts.write_text(f"# mine\n{address} {public_line(bytes(32))}\n")
        code, said, errors = await run(*PING, address)
        assert code == Exit.KEY
        assert errors == (
            f"fsp-trio: THE KEY OF {address} HAS CHANGED to {shown}: somebody may be in between; if it is right, remove"
            f" line 2 of {hosts}\n"
        )
        assert "seq" not in said
        server.terminate()
        await finish(server)


async def test_a_server_that_knows_its_clients(tmp_path: Path) -> None:
    server_key, friend, stranger = (tmp_path / name for name in ("server", "friend", "stranger"))
    write_identity(server_key, force=False)
    public = bytes(write_identity(friend, force=False).verify_key)
    write_identity(stranger, force=False)
    (tmp_path / "clients").write_text(f"{public_line(public)} a friend\n")
    (tmp_path / "file").write_bytes(bytes(1000))
    out = tmp_path / "out"
    out.mkdir()
    options = ("--identity", str(server_key), "--authorized", str(tmp_path / "clients"), "--out", str(out))
    async with serving("receive", *options) as (server, address):
        for identity in (["--identity", str(stranger)], []):
            code, _, errors = await run("send", *identity, str(tmp_path / "file"), address)
            assert code == Exit.KEY
            assert errors.count("\n") == 1
            assert "does not trust" in errors
        assert list(out.iterdir()) == []
        code, _, errors = await run("send", "--identity", str(friend), str(tmp_path / "file"), address)
        assert code == Exit.OK, errors
        server.terminate()
        await finish(server)
    assert (out / "file").read_bytes() == bytes(1000)


async def test_one_end_uses_public_keys_and_the_other_does_not(tmp_path: Path) -> None:
    write_identity(tmp_path / "server", force=False)
    async with serving("echo", "--insecure") as (server, address):
        code, _, errors = await run(*PING, address)
        assert (code, errors.count("\n")) == (Exit.KEY, 1)
        server.terminate()
        await finish(server)
    async with serving("echo", "--identity", str(tmp_path / "server")) as (server, address):
        code, _, errors = await run(*PING, "--insecure", address)
        assert code == Exit.KEY
        server.terminate()
        await finish(server)
