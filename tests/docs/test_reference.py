"""The reference is what signatures, docstrings and commands say, and has every public name."""

from __future__ import annotations

import importlib
import re

import pytest

from .pages import ROOT, anchors

PAGE = ROOT / "docs" / "reference.md"
PUBLIC_MODULES = (
    "fsp_trio",
    "fsp_trio.keying",
    "fsp_trio.ports",
    "fsp_trio.testing",
    "fsp_trio.testing.nonces",
)


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_every_public_name_has_an_entry(module: str) -> None:
    entries = anchors(PAGE)
    for public in importlib.import_module(module).__all__:
        assert public.lower() in entries, f"{module}.{public}"


def test_every_reason_of_drops_is_explained() -> None:
    """Reasons are short strings in the code, where they are given to `drop` or to MalformedPacket."""
    reasons = set()
    for path in (ROOT / "fsp_trio").rglob("*.py"):
        reasons |= set(re.findall(r'\b_?(?:drop|MalformedPacket)\("([a-z-]+)"', path.read_text()))
    explained = set(re.findall(r"^\| `([a-z-]+)` \|", PAGE.read_text(), flags=re.MULTILINE))
    assert "icc" in reasons
    assert reasons <= explained
