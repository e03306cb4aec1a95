"""What goes wrong in a key agreement."""

from __future__ import annotations

from typing import Final

import trio

from fsp_trio.errors import FSPError

__all__ = ["KEY_AGREEMENT_FAILED", "KeyAgreementError", "KeyAgreementTimeout", "UntrustedPeerError"]

KEY_AGREEMENT_FAILED: Final = 0x70736B
"""Reason of the RESET that tells a peer that its secret or its key is not accepted, or that one is expected at all."""


class KeyAgreementError(FSPError):
    """The two ends did not agree upon a key; the session was reset."""


class KeyAgreementTimeout(KeyAgreementError, trio.TooSlowError):
    """The peer did not answer in time; the session was reset."""


class UntrustedPeerError(KeyAgreementError):
    """The peer has shown that it is who it says, and that is nobody whom this end trusts."""

    def __init__(self, message: str, public_key: bytes | None) -> None:
        super().__init__(message)
        self.public_key = public_key
        """Its Ed25519 key, 32 octets; None if it has not given one."""
