"""What cases ask of a draft's wire, whichever draft it is."""

from __future__ import annotations

from typing import Final, TypeAlias

from spec_conformance.wire.gao import GaoWire
from spec_conformance.wire.jason import JasonWire
from spec_conformance.wire.keys import Frame, Protection
from spec_conformance.wire.packet import Op, Packet
from spec_conformance.wire.reference import ReferenceWire

Wire: TypeAlias = GaoWire | JasonWire

WIRES: Final[dict[str, Wire]] = {"gao-07": GaoWire(), "jason-00": JasonWire(), "reference-2020": ReferenceWire()}
"""By the names of the drafts, and of what departs from one."""

__all__ = ["WIRES", "Frame", "Op", "Packet", "Protection", "Wire"]
