"""Key agreement with public keys: ephemeral X25519, signed with Ed25519.

Every message, and both ULTIDs, enter a transcript; what is signed, encrypted, or derived depends on all that was said
before.  `H` is BLAKE2b with a digest of 32 octets, `|` concatenation, `E` ChaCha20-Poly1305 with a key that serves once
and the transcript as additional data; keys come of HKDF-SHA256 with the transcript as its salt::

    T0 = H("fsp-trio x25519 v1" | initiator ULTID | responder ULTID | greeting)
    T1 = H(T0 | responder ephemeral key)            T2 = H(T1 | answer)            T3 = H(T2 | proof)

=========  ====================================================================================
greeting   "fsp-trio x25519 v1" LF, ephemeral key (32)
answer     ephemeral key (32), E(T1: Ed25519 key (32), signature of "responder" | T1 | key (64))
proof      E(T2: the same of the initiator, with "initiator" | T2, or nothing)
=========  ====================================================================================

An initiator may stay anonymous, a responder may not.  Ephemeral keys are thrown away, so that what was said stays
secret when the keys that sign are lost (forward secrecy).  Identities are encrypted: who only listens does not learn
them.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from fsp_trio.keying.errors import KeyAgreementError, UntrustedPeerError
from fsp_trio.keying.exchange import Exchange, Terms, agree
from fsp_trio.session import FSPSession

__all__ = ["Trust", "agree_x25519", "anyone", "fingerprint", "only"]

LABEL: Final = b"fsp-trio x25519 v1"
GREETING: Final = LABEL + b"\n"
KEY_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64
TAG_SIZE: Final = 16
_ONCE: Final = bytes(12)
"""The nonce: every key of E serves one message."""

Trust = Callable[[bytes | None], bool]
"""Decides about a peer's Ed25519 key, 32 octets, or None if it has given none."""


def only(*public_keys: bytes) -> Trust:
    """Trust the owners of these keys, and nobody else.  ValueError for one that has not 32 octets."""
    for key in public_keys:
        if len(key) != KEY_SIZE:
            raise ValueError(f"an Ed25519 key has {KEY_SIZE} octets, not {len(key)}")
    return lambda public_key: public_key is not None and any(hmac.compare_digest(public_key, k) for k in public_keys)


def anyone(public_key: bytes | None) -> bool:
    """Trust whoever it is: protects against who only listens, and lets the application look at the key afterwards."""
    return True


def fingerprint(public_key: bytes) -> str:
    """A short name for a key, for people to compare: 16 groups of four hexadecimal digits of its BLAKE2b digest."""
    digits = hashlib.blake2b(public_key, digest_size=32).hexdigest()
    return " ".join(digits[at : at + 4] for at in range(0, len(digits), 4))


async def agree_x25519(
    session: FSPSession,
    *,
    initiator: bool,
    trust: Trust,
    identity: SigningKey | None = None,
    timeout: float = 30.0,  # noqa: ASYNC109 (the error it leads to is KeyAgreementError)
    mode: Literal["aead", "mac"] = "aead",
    key_bits: int = 256,
    accept_repeated_nonces: bool = False,
) -> bytes | None:
    """Agree upon a fresh key with the peer and make sure who it is; the peer's Ed25519 key, or None if it gave none.

    `initiator`: True at exactly one end, best the one that opened the session.  `trust`: is asked about the peer's
    key, once that has proved to be its own: `only(key)`, `anyone`, or a function of the application's.  `identity`:
    this end's `nacl.signing.SigningKey`; the initiator may do without.  The others are as for `agree_psk`, and so are
    the errors; beside these UntrustedPeerError if `trust` says no, and ValueError if a responder has no identity.  An
    exception of `trust` comes out as itself, after the session was reset.
    """
    if identity is None and not initiator:
        raise ValueError("a responder needs an identity")
    terms = Terms(session, timeout=timeout, mode=mode, key_bits=key_bits, accept_repeated_nonces=accept_repeated_nonces)
    ultids = session.local_ultid, session.remote_ultid
    exchange = X25519Exchange(b"".join(ultids if initiator else reversed(ultids)), identity, trust)
    await agree(session, exchange, terms, initiator=initiator)
    return exchange.peer


class X25519Exchange(Exchange):
    """`ultids` are the initiator's and the responder's."""

    opening = GREETING
    refused = "the peer does not trust this end, or uses no public keys"

    def __init__(self, ultids: bytes, identity: SigningKey | None, trust: Trust) -> None:
        self._identity = identity
        self._trust = trust
        self._transcript = LABEL + ultids
        self._ephemeral = X25519PrivateKey.generate()
        self._public = self._ephemeral.public_key().public_bytes_raw()
        self._shared = b""
        self.peer: bytes | None = None
        """The peer's Ed25519 key."""

    def _take(self, said: bytes) -> None:
        self._transcript = hashlib.blake2b(self._transcript + said, digest_size=32).digest()

    def _share(self, theirs: bytes) -> None:
        if theirs == self._public:
            raise KeyAgreementError("the peer sends back what was sent to it")
        try:
            self._shared = self._ephemeral.exchange(X25519PublicKey.from_public_bytes(theirs))
        except ValueError:  # a point of low order
            raise KeyAgreementError("the peer's ephemeral key is none") from None

    def derive(self, purpose: bytes) -> bytes:
        kdf = HKDF(algorithm=SHA256(), length=64, salt=self._transcript, info=LABEL + b" " + purpose)
        return kdf.derive(self._shared)

    def _cipher(self, purpose: bytes) -> ChaCha20Poly1305:
        return ChaCha20Poly1305(self.derive(purpose)[:KEY_SIZE])

    def _sign(self, role: bytes) -> bytes:
        identity = self._identity
        if identity is None:
            return b""
        public = bytes(identity.verify_key)
        return public + identity.sign(role + self._transcript + public).signature

    def _seal(self, role: bytes) -> bytes:
        return self._cipher(role + b" seals").encrypt(_ONCE, self._sign(role), self._transcript)

    def _open(self, role: bytes, sealed: bytes) -> None:
        """Make sure who the peer is."""
        try:
            claim = self._cipher(role + b" seals").decrypt(_ONCE, sealed, self._transcript)
        except InvalidTag:
            raise KeyAgreementError("the peer's message belongs to another exchange, or was changed") from None
        if claim or role == b"responder":
            public, signature = claim[:KEY_SIZE], claim[KEY_SIZE:]
            try:
                VerifyKey(public).verify(role + self._transcript + public, signature)
            except (BadSignatureError, ValueError):
                raise KeyAgreementError("the peer's signature is wrong") from None
            self.peer = public
        if not self._trust(self.peer):
            name = (
                "gives no key" if self.peer is None else f"has the key {fingerprint(self.peer)}, which is not trusted"
            )
            raise UntrustedPeerError(f"the peer {name}", self.peer)

    def greet(self) -> bytes:
        greeting = GREETING + self._public
        self._take(greeting)
        return greeting

    def answer(self, greeting: bytes) -> bytes:
        if len(greeting) != len(GREETING) + KEY_SIZE:
            raise KeyAgreementError("the peer does not speak this key agreement")
        self._take(greeting)
        self._share(greeting[len(GREETING) :])
        self._take(self._public)
        sealed = self._seal(b"responder")
        self._take(self._public + sealed)
        return self._public + sealed

    def prove(self, answer: bytes) -> bytes:
        if len(answer) != KEY_SIZE + KEY_SIZE + SIGNATURE_SIZE + TAG_SIZE:
            raise KeyAgreementError("the peer does not speak this key agreement")
        self._share(answer[:KEY_SIZE])
        self._take(answer[:KEY_SIZE])
        self._open(b"responder", answer[KEY_SIZE:])
        self._take(answer)
        proof = self._seal(b"initiator")
        self._take(proof)
        return proof

    def check(self, proof: bytes) -> None:
        if len(proof) not in (TAG_SIZE, KEY_SIZE + SIGNATURE_SIZE + TAG_SIZE):
            raise KeyAgreementError("the peer does not speak this key agreement")
        self._open(b"initiator", proof)
        self._take(proof)
