"""`fsp-trio receive` and a hostile sender."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from fsp_trio.cli.names import safe_name
from fsp_trio.cli.storage import CannotStore, Store


def test_the_same_room_is_not_promised_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two files of 60 octets are announced at the same time, for a disk with 100 left."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    store = Store(tmp_path)
    with store.begin("first", 60, 0o600), pytest.raises(CannotStore), store.begin("second", 60, 0o600):
        pass


def test_the_disk_is_not_filled_to_the_last_octet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a sender can make grow has a named limit: some room is left for everybody else."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(total=2**40, used=0, free=2**30))
    with pytest.raises(CannotStore), Store(tmp_path).begin("large", 2**30, 0o600):
        pass


@pytest.mark.parametrize("name", ["COM¹", "lpt².txt", "CON .txt", "aux .", "CONIN$"])
def test_names_of_devices_in_disguise(name: str) -> None:
    """Superscript digits, and spaces before the dot, mean the same device to Windows."""
    assert safe_name(name).startswith("_")


def test_a_name_that_reads_like_an_option() -> None:
    """`rm *` in the directory must not take it for one."""
    assert not safe_name("-rf").startswith("-")
