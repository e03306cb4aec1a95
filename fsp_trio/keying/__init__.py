"""Key agreement: the applications' part of a secure session (gao-07 7).

FSP leaves it to the applications to agree upon key material (7.1).  Here are two ways that are meant to be used, with a
secret that both ends share and with public keys, and in `fsp_trio.keying.chaka` that of the author's sample programs.
"""

from fsp_trio.keying.errors import (
    KEY_AGREEMENT_FAILED,
    KeyAgreementError,
    KeyAgreementTimeout,
    UntrustedPeerError,
)
from fsp_trio.keying.psk import GREETING, MINIMUM_SECRET, agree_psk
from fsp_trio.keying.x25519 import GREETING as _PUBLIC_GREETING
from fsp_trio.keying.x25519 import Trust, agree_x25519, anyone, fingerprint, only

GREETINGS = (GREETING, _PUBLIC_GREETING)
"""How the first transaction of each agreement begins: who meets one without expecting it was offered a key."""

__all__ = [
    "GREETING",
    "GREETINGS",
    "KEY_AGREEMENT_FAILED",
    "MINIMUM_SECRET",
    "KeyAgreementError",
    "KeyAgreementTimeout",
    "Trust",
    "UntrustedPeerError",
    "agree_psk",
    "agree_x25519",
    "anyone",
    "fingerprint",
    "only",
]
