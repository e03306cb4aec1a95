"""What cases ask of a draft's wire, whichever draft it is."""

from __future__ import annotations

from typing import Final, TypeAlias

from spec_conformance.wire.gao import GaoWire
from spec_conformance.wire.jason import JasonWire
from spec_conformance.wire.keys import Frame, Protection
from spec_conformance.wire.packet import Op, Packet

Wire: TypeAlias = GaoWire | JasonWire

WIRES: Final[dict[str, Wire]] = {"gao-07": GaoWire(), "jason-00": JasonWire()}
"""By the names of the drafts."""

__all__ = ["WIRES", "Frame", "Op", "Packet", "Protection", "Wire"]
