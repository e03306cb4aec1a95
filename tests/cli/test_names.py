from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fsp_trio.cli.names import LONGEST_NAME, UnusableName, printable, safe_name


@pytest.mark.parametrize(
    ("suggested", "stored"),
    [
        ("report.pdf", "report.pdf"),
        ("Größe der Häuser.txt", "Größe der Häuser.txt"),
        ("../../etc/passwd", "passwd"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\windows\\system.ini", "system.ini"),
        ("C:\\autoexec.bat", "autoexec.bat"),
        ("C:autoexec.bat", "C_autoexec.bat"),
        (".bashrc", "_bashrc"),
        ("..hidden", "__hidden"),
        ("trailing. .", "trailing___"),
        ("a\x00b\x1b[31mc\nd", "a_b_[31mc_d"),
        ("innocent\u202etxt.exe", "innocent_txt.exe"),
        ("what?.txt", "what_.txt"),
        ("nul.txt", "_nul.txt"),
        ("COM1", "_COM1"),
        ("A\u030angstro\u0308m", "\u00c5ngstr\u00f6m"),
    ],
)
def test_name_is_made_safe(suggested: str, stored: str) -> None:
    assert safe_name(suggested) == stored


@pytest.mark.parametrize("suggested", ["", ".", "..", "/", "a/", "a/..", "\\", "   ", "...", "\n", "\x00", "x" * 300])
def test_nothing_usable(suggested: str) -> None:
    with pytest.raises(UnusableName):
        safe_name(suggested)


@given(st.text(max_size=250))
@example("\ud800")
@example("..\u2044..")
def test_any_name_stays_in_the_directory(suggested: str) -> None:
    try:
        name = safe_name(suggested)
    except UnusableName:
        return
    directory = Path("/somewhere/out")
    path = directory / name
    assert path.parent == directory
    assert path.name == name
    assert not name.startswith((".", "-.", " "))
    assert len(name.encode()) <= LONGEST_NAME
    assert printable(name) == name
    assert safe_name(name) == name


@given(st.text())
def test_printable_text_is_one_harmless_line(text: str) -> None:
    shown = printable(text)
    assert len(shown) == len(text)
    assert len(shown.splitlines()) <= 1
    assert "\x1b" not in shown
