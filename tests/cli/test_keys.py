from __future__ import annotations

from pathlib import Path

import pytest

from fsp_trio.cli.exits import CommandError, Exit
from fsp_trio.cli.keys import LARGEST, choose_key, read_psk
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


def test_choice(tmp_path: Path) -> None:
    warnings: list[str] = []
    assert choose_key(write_key(tmp_path / "psk"), False, warnings.append) == KEY
    assert not warnings
    assert choose_key(None, True, warnings.append) is None
    assert len(warnings) == 1
    with pytest.raises(CommandError, match="exclude") as caught:
        choose_key(tmp_path / "psk", True, warnings.append)
    assert caught.value.code is Exit.USAGE
    with pytest.raises(CommandError, match="--psk FILE, or --insecure") as caught:
        choose_key(None, False, warnings.append)
    assert caught.value.code is Exit.KEY
