from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from fsp_trio.cli.storage import CannotStore, IncomingFile, Store


def put(store: Store, name: str, content: bytes, mode: int = 0o644) -> None:
    with store.begin(name, len(content), mode) as file:
        file.write(content)
        assert file.digest == hashlib.blake2b(content, digest_size=32).digest()
        assert not (store.directory / name).exists() or store.overwrite
        file.finish()


def test_complete_file_has_its_name_and_nothing_else_is_left(tmp_path: Path) -> None:
    put(Store(tmp_path), "a", b"content")
    assert (tmp_path / "a").read_bytes() == b"content"
    assert os.listdir(tmp_path) == ["a"]


def test_unfinished_file_leaves_nothing(tmp_path: Path) -> None:
    def abandon() -> None:
        with Store(tmp_path).begin("a", 10, 0o644) as file:
            file.write(b"cont")
            raise KeyError

    with pytest.raises(KeyError):
        abandon()
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(("mode", "stored"), [(0o644, 0o644), (0o777, 0o755), (0o000, 0o600), (0o4755, 0o755)])
def test_permissions_respect_the_umask(tmp_path: Path, mode: int, stored: int) -> None:
    before = os.umask(0o022)
    try:
        put(Store(tmp_path), "a", b"", mode)
    finally:
        os.umask(before)
    assert (tmp_path / "a").stat().st_mode & 0o7777 == stored


def test_existing_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("mine")
    with pytest.raises(CannotStore, match="exists"):
        Store(tmp_path).begin("a", 1, 0o644)
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(CannotStore, match="exists"):
        Store(tmp_path).begin("dangling", 1, 0o644)
    assert (tmp_path / "a").read_text() == "mine"


def test_name_taken_meanwhile(tmp_path: Path) -> None:
    with Store(tmp_path).begin("a", 1, 0o644) as file:
        (tmp_path / "a").write_text("mine")
        with pytest.raises(CannotStore, match="exists"):
            file.finish()
    assert (tmp_path / "a").read_text() == "mine"
    assert os.listdir(tmp_path) == ["a"]


def test_overwriting_when_wanted(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("keep")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a").write_text("old")
    (out / "link").symlink_to(outside)
    store = Store(out, overwrite=True)
    put(store, "a", b"new")
    put(store, "link", b"new")
    assert (out / "a").read_bytes() == b"new"
    assert (out / "link").read_bytes() == b"new"
    assert outside.read_text() == "keep"


def test_directory_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with Store(tmp_path, overwrite=True).begin("a", 1, 0o644) as file, pytest.raises(CannotStore, match="directory"):
        file.finish()
    assert os.listdir(tmp_path) == ["a"]


def test_directory_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(CannotStore, match="No such file"):
        Store(tmp_path / "gone").begin("a", 1, 0o644)


def test_too_large_for_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    def usage(path: object) -> Usage:
        return Usage(99)

    monkeypatch.setattr(shutil, "disk_usage", usage)
    store = Store(tmp_path)
    for _ in range(2):  # what was promised and not written is free again
        store.begin("a", 95, 0o644).__exit__(None, None, None)
    with pytest.raises(CannotStore, match="not enough room"):
        store.begin("a", 96, 0o644)  # one in twenty stays free
    assert os.listdir(tmp_path) == []


class FullDisk:
    def write(self, data: memoryview) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        pass


def test_disk_that_fills_up(tmp_path: Path) -> None:
    path = tmp_path / "unfinished"
    path.touch()
    with (
        IncomingFile(Store(tmp_path), FullDisk(), path, tmp_path / "a", size=7, permissions=0o644) as file,  # type: ignore[arg-type]
        pytest.raises(CannotStore, match="no room left"),
    ):
        file.write(b"content")
    assert os.listdir(tmp_path) == []


def test_disk_that_takes_a_little_at_a_time(tmp_path: Path) -> None:
    class Hesitant(FullDisk):
        def __init__(self) -> None:
            self.taken = b""

        def write(self, data: memoryview) -> int:
            self.taken += data[:3]
            return min(len(data), 3)

    disk = Hesitant()
    store = Store(tmp_path)
    file = IncomingFile(store, disk, tmp_path / "u", tmp_path / "a", size=7, permissions=0o644)  # type: ignore[arg-type]
    file.write(b"content")
    assert disk.taken == b"content"


def test_name_that_cannot_be_replaced_is_free_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(source: object, target: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    with Store(tmp_path).begin("a", 1, 0o644) as file, pytest.raises(CannotStore, match="Input/output error"):
        file.finish()
    assert os.listdir(tmp_path) == []
