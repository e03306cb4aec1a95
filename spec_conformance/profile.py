"""What a target is said to have: draft, services, key, capabilities."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from spec_conformance.verdict import Unsupported

CAPABILITIES: Final = frozenset(
    {"aead", "mac", "multiply", "mobility", "compression", "minimal-delay", "ipv6", "ecn", "closing", "keyed"}
)
WIRES: Final = {"reference-2020": "gao-07"}
"""Wires that depart from a draft, and the draft whose rules their targets are compared with."""
SERVICES: Final = ("echo", "keyed", "mac", "closing", "compressed", "messages")


class BadProfile(ValueError):
    """A profile that cannot be used; the message is one line for the user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A target, as whoever runs the suite describes it; see docs/conformance.md."""

    name: str = "target"
    revision: str = "gao-07"
    services: dict[str, int] = field(default_factory=lambda: {"echo": 18003})
    """ULTIDs: "echo" sends back what comes; "keyed" does so too and installs the key for AEAD when its first
    transaction has gone both ways, "mac" installs it for authentication only; "closing" echoes one transaction and
    then closes the session first; "compressed" echoes with on-the-wire compression; "messages" echoes
    transactions, and messages with minimal delay as such."""
    key: bytes = b""
    key_bits: int = 128
    capabilities: frozenset[str] = frozenset()
    wire: str = ""
    """How the target writes packets, if not as the draft of `revision` has it: "reference-2020"."""
    answers_to: int | None = None
    """UDP port to which the target answers wherever a packet comes from; it may answer from any port then."""

    @property
    def wire_name(self) -> str:
        return self.wire or self.revision

    def ultid(self, service: str) -> bytes:
        """Octets of a service's ULTID (gao-07 13.1).  Unsupported if the target does not offer it."""
        number = self.services.get(service)
        if number is None:
            raise Unsupported(f"the target's profile has no service {service!r}")
        return number.to_bytes(4, "big")

    @classmethod
    def load(cls, path: Path) -> Profile:
        """Read a TOML file.  BadProfile says what is wrong with it."""
        try:
            data = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise BadProfile(f"{path}: {error}") from None
        return cls.of(data, str(path))

    @classmethod
    def of(cls, data: dict[str, Any], where: str = "profile") -> Profile:
        known = {"name", "revision", "services", "key", "key_bits", "capabilities", "wire", "answers_to"}
        if unknown := sorted(set(data) - known):
            raise BadProfile(f"{where}: unknown entries: {', '.join(unknown)}")
        values = dict(data)
        try:
            if "key" in values:
                values["key"] = bytes.fromhex(values["key"])
            if "capabilities" in values:
                values["capabilities"] = frozenset(values["capabilities"])
        except (TypeError, ValueError) as error:
            raise BadProfile(f"{where}: {error}") from None
        profile = cls(**values)
        if profile.revision not in ("gao-07", "jason-00"):
            raise BadProfile(f"{where}: unknown revision {profile.revision!r}")
        if profile.wire and WIRES.get(profile.wire) != profile.revision:
            raise BadProfile(f"{where}: {profile.revision} is not written as {profile.wire!r}")
        port = 1 if profile.answers_to is None else profile.answers_to
        if not isinstance(port, int) or not 0 < port < 65_536:
            raise BadProfile(f"{where}: answers_to is a port")
        if not isinstance(profile.services, dict):
            raise BadProfile(f"{where}: services is a table")
        if profile.key_bits not in (128, 192, 256):
            raise BadProfile(f"{where}: key_bits is 128, 192 or 256")
        if strange := sorted(profile.capabilities - CAPABILITIES):
            raise BadProfile(f"{where}: unknown capabilities: {', '.join(strange)}")
        if strange := sorted(set(profile.services) - set(SERVICES)):
            raise BadProfile(f"{where}: unknown services: {', '.join(strange)}")
        if not all(isinstance(number, int) and 0 < number < 2**32 for number in profile.services.values()):
            raise BadProfile(f"{where}: a service is a number between 1 and 2^32 - 1")
        return profile
