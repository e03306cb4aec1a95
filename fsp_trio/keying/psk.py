"""Key agreement for two ends that already share a secret.

The shared secret itself must never be key material: sequence numbers, and with them nonces, would meet again in the
next session.  Here both ends contribute a fresh random value, and everything is derived from all three::

    K(purpose) = BLAKE2b-512(key = BLAKE2b-512(shared secret), person = "fsp-trio psk v1", salt = purpose,
                             initiator nonce | responder nonce | initiator ULTID | responder ULTID)

=========  ==========================================
greeting   "fsp-trio psk v1" LF, nonce (32)
answer     nonce (32), K("answer") cut to 32
proof      K("proof") cut to 32
=========  ==========================================

There is no forward secrecy, and who overhears the exchange can try guesses: the secret has to be random, not a word.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable
from typing import Final, Literal

from fsp_trio._halves import octets_of
from fsp_trio.keying.errors import KeyAgreementError
from fsp_trio.keying.exchange import Exchange, Terms, agree
from fsp_trio.session import FSPSession

__all__ = ["GREETING", "MINIMUM_SECRET", "agree_psk"]

MINIMUM_SECRET: Final = 16
"""Octets of the shortest secret that is accepted."""
LABEL: Final = b"fsp-trio psk v1"
GREETING: Final = LABEL + b"\n"
"""How the initiator's first transaction begins; who meets it without expecting it was offered a key agreement."""
NONCE_SIZE: Final = 32
PROOF_SIZE: Final = 32


async def agree_psk(
    session: FSPSession,
    psk: bytes,
    *,
    initiator: bool,
    timeout: float = 30.0,  # noqa: ASYNC109 (the error it leads to is KeyAgreementError)
    mode: Literal["aead", "mac"] = "aead",
    key_bits: int = 256,
    accept_repeated_nonces: bool = False,
    random: Callable[[int], bytes] = os.urandom,
) -> None:
    """Agree upon a fresh key with the peer, from a secret that both know, and install it.

    `psk`: at least 16 random octets.  `initiator`: True at exactly one end, best the one that opened the session.
    `timeout`: seconds for the whole exchange.  `mode`, `key_bits` and `accept_repeated_nonces`: as for
    `FSPSession.install_key`, the first two the same at both ends.  `random`: gives so many random octets; only tests
    have a reason to set it.

    Both ends call it while no transaction is open in either direction, first of all that they do with the
    session.  When it returns both ends have shown that they know the secret, and everything from then on is
    protected by the key.  KeyAgreementError if the peer has another secret, does something else or ends the
    session, KeyAgreementTimeout if it is silent, FSPBrokenError if the session breaks for another reason,
    FSPBusyError if a transaction, stream or channel is open; then the session is reset, and so it is by cancellation.
    ValueError for a secret that is too short or another argument out of its range, TypeError for one that is none:
    nothing has happened then.
    """
    psk = octets_of(psk)
    if len(psk) < MINIMUM_SECRET:
        raise ValueError(f"the secret has {len(psk)} octets, fewer than {MINIMUM_SECRET}")
    terms = Terms(session, timeout=timeout, mode=mode, key_bits=key_bits, accept_repeated_nonces=accept_repeated_nonces)
    ultids = session.local_ultid, session.remote_ultid
    exchange = PskExchange(psk, b"".join(ultids if initiator else reversed(ultids)), random(NONCE_SIZE))
    await agree(session, exchange, terms, initiator=initiator)


class PskExchange(Exchange):
    """`ultids` are the initiator's and the responder's, `nonce` this end's random octets."""

    opening = GREETING
    refused = "the peer has another pre-shared key, or uses none"

    def __init__(self, psk: bytes, ultids: bytes, nonce: bytes) -> None:
        self._root = hashlib.blake2b(psk).digest()
        self._ultids = ultids
        self._nonce = nonce
        self._nonces = b""

    def derive(self, purpose: bytes) -> bytes:
        material = self._nonces + self._ultids
        return hashlib.blake2b(material, key=self._root, salt=purpose, person=LABEL).digest()

    def greet(self) -> bytes:
        return GREETING + self._nonce

    def answer(self, greeting: bytes) -> bytes:
        if len(greeting) != len(GREETING) + NONCE_SIZE:
            raise KeyAgreementError("the peer does not speak this key agreement")
        self._nonces = greeting[len(GREETING) :] + self._nonce
        return self._nonce + self._proof(b"answer")

    def prove(self, answer: bytes) -> bytes:
        if len(answer) != NONCE_SIZE + PROOF_SIZE:
            raise KeyAgreementError("the peer does not speak this key agreement")
        self._nonces = self._nonce + answer[:NONCE_SIZE]
        self._check(answer[NONCE_SIZE:], b"answer")
        return self._proof(b"proof")

    def check(self, proof: bytes) -> None:
        if len(proof) != PROOF_SIZE:
            raise KeyAgreementError("the peer does not speak this key agreement")
        self._check(proof, b"proof")

    def _proof(self, purpose: bytes) -> bytes:
        return self.derive(purpose)[:PROOF_SIZE]

    def _check(self, claimed: bytes, purpose: bytes) -> None:
        if not hmac.compare_digest(claimed, self._proof(purpose)):
            raise KeyAgreementError("the peer has another pre-shared key")
