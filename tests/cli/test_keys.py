from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fsp_trio.cli.exits import CommandError, Exit
from fsp_trio.cli.key_files import (
    LARGEST,
    public_line,
    read_identity,
    read_psk,
    read_public_keys,
    write_identity,
)
from fsp_trio.cli.keys import KeySource, PublicKeys, SharedKey, choose_key
from fsp_trio.cli.known_hosts import KnownHosts
from tests.cli.tools import KEY, write_key


def read(path: Path) -> tuple[bytes, list[str]]:
    warnings: list[str] = []
    return read_psk(path, warnings.append), warnings


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n", b"\n\n"])
def test_line_ends_do_not_count(tmp_path: Path, ending: bytes) -> None:
    assert read(write_key(tmp_path / "psk", KEY + ending)) == (KEY, [])


def test_others_may_read_it(tmp_path: Path) -> None:
    path = write_key(tmp_path / "psk")
    path.chmod(0o644)
    key, warnings = read(path)
    assert key == KEY
    assert len(warnings) == 1
    assert "everybody" in warnings[0]


@pytest.mark.parametrize(
    ("content", "words"), [(b"", "fewer than 16"), (b"x" * 15 + b"\n", "15 octets"), (bytes(LARGEST + 1), "more than")]
)
def test_useless_files(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(CommandError, match=words) as caught:
        read(write_key(tmp_path / "psk", content))
    assert caught.value.code is Exit.KEY
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(CommandError, match="cannot read") as caught:
            read(path)
        assert caught.value.code is Exit.KEY


def choose(*, serves: bool = False, said: list[str] | None = None, **options: Any) -> KeySource | None:
    given: dict[str, Any] = dict.fromkeys(("psk", "identity", "known_hosts", "authorized"))
    given |= {"insecure": False, "strict": False} | options
    said = [] if said is None else said
    return choose_key(**given, serves=serves, warn=said.append, info=said.append)


def test_choice(tmp_path: Path) -> None:
    said: list[str] = []
    assert choose(psk=write_key(tmp_path / "psk"), said=said) == SharedKey(KEY)
    assert not said
    assert choose(insecure=True, said=said) is None
    assert len(said) == 1
    public = choose()
    assert isinstance(public, PublicKeys)
    assert public.identity is None


@pytest.mark.parametrize(
    "options",
    [
        {"psk": Path("psk"), "insecure": True},
        {"psk": Path("psk"), "identity": Path("identity")},
        {"insecure": True, "strict": True},
        {"insecure": True, "authorized": Path("clients")},
        {"psk": Path("psk"), "known_hosts": Path("hosts")},
    ],
)
def test_options_that_exclude_each_other(options: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match="exclude") as caught:
        choose(**options)
    assert caught.value.code is Exit.USAGE


def test_a_server_needs_a_key(configuration: Path) -> None:
    with pytest.raises(CommandError, match="keygen, or use --psk FILE, or --insecure") as caught:
        choose(serves=True)
    assert caught.value.code is Exit.KEY
    identity = write_identity(configuration / "identity", force=False)
    found = choose(serves=True)
    assert isinstance(found, PublicKeys)
    assert found.identity == identity


def test_a_private_key_is_for_oneself(tmp_path: Path) -> None:
    path = tmp_path / "new" / "identity"
    identity = write_identity(path, force=False)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert read_identity(path, print) == identity
    with pytest.raises(CommandError, match="exists") as caught:
        write_identity(path, force=False)
    assert caught.value.code is Exit.KEY
    path.chmod(0o644)
    other = write_identity(path, force=True)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_identity(path, print) == other != identity
    with pytest.raises(CommandError, match="cannot write"):
        write_identity(Path("/proc/identity"), force=False)


@pytest.mark.parametrize(
    "content",
    [b"", b"ed25519 " + b"A" * 43 + b"=", b"fsp-trio-private-ed25519 AAAA", b"fsp-trio-private-ed25519 \xff\xff"],
)
def test_what_is_no_private_key(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(CommandError, match="no private key") as caught:
        read_identity(write_key(tmp_path / "identity", content), print)
    assert caught.value.code is Exit.KEY


def test_public_keys_of_clients(tmp_path: Path) -> None:
    keys = [bytes([n]) * 32 for n in (1, 2)]
    lines = ["# friends", "", *(public_line(key) + " somebody" for key in keys)]
    path = write_key(tmp_path / "clients", "\n".join(lines).encode())
    assert read_public_keys(path) == keys
    for wrong in ("ed25519", "rsa AAAA", "ed25519 short", "nonsense"):
        path.write_text(lines[0] + "\n" + wrong)
        with pytest.raises(CommandError, match="line 2") as caught:
            read_public_keys(path)
        assert caught.value.code is Exit.KEY


def test_known_hosts(tmp_path: Path) -> None:
    hosts = KnownHosts(tmp_path / "new" / "known_hosts")
    assert hosts.find("a:1") is None
    for n, name in enumerate(("a:1", "b:1", "a:2")):
        hosts.add(name, bytes([n]) * 32)
    assert hosts.find("b:1") == (bytes([1]) * 32, 2)
    assert hosts.find("a:2") == (bytes([2]) * 32, 3)
    assert hosts.find("c:1") is None
    assert hosts.path.stat().st_mode & 0o777 == 0o600
    hosts.path.write_text("# mine\n\na:1 ed25519 wrong\n")
    with pytest.raises(CommandError, match="line 3"):
        hosts.find("b:1")
    with pytest.raises(CommandError, match="cannot read"):
        KnownHosts(tmp_path).find("a:1")
    with pytest.raises(CommandError, match="cannot write"):
        KnownHosts(tmp_path).add("a:1", bytes(32))
