"""How a case ends."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spec_conformance.wire.packet import Packet


class Verdict(enum.StrEnum):
    PASS = "pass"  # noqa: S105
    NONSTRICT = "pass-nonstrict"
    """Not what a SHOULD asks for, or tolerant where refusing would be better; nothing breaks by it."""
    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    """The case did not get as far as its question."""
    UNSUPPORTED = "unsupported"
    """The target, or its profile, lacks what the case needs."""


class Outcome(Exception):
    """Ends a case; the message is the detail of the report."""

    verdict = Verdict.INCONCLUSIVE

    def __init__(self, detail: str, packet: Packet | None = None, *, expected: str = "", seen: str = "") -> None:
        super().__init__(detail)
        self.detail = detail
        self.packet = packet
        """The packet that gives offence."""
        self.expected = expected
        """The state, or the reaction, that the draft wants."""
        self.seen = seen


class Violation(Outcome):
    """The target breaks the rule."""

    verdict = Verdict.FAIL


class Lenient(Outcome):
    """The target does less than it should, and may."""

    verdict = Verdict.NONSTRICT


class Inconclusive(Outcome):
    """The target, or its service, did not do what the case builds upon."""


class Unsupported(Outcome):
    """The target cannot be asked."""

    verdict = Verdict.UNSUPPORTED
