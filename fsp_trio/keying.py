"""Key agreement for two ends that already share a secret.

FSP leaves it to the applications to agree upon key material (gao-07 7.1).  The shared secret itself must never be
that material: sequence numbers, and with them nonces, would meet again in the next session.  Here both ends
contribute a fresh random value, and everything is derived from all three::

    K(purpose) = BLAKE2b-512(key = BLAKE2b-512(shared secret), person = "fsp-trio psk v1", salt = purpose,
                             initiator nonce | responder nonce | initiator ULTID | responder ULTID)

What travels, one transmit transaction each:

====================  ==========================================  =============
from                  content                                     protected by
====================  ==========================================  =============
initiator             "fsp-trio psk v1" LF, nonce (32)            CRC64
responder             nonce (32), K("answer") cut to 32           CRC64
initiator             K("proof") cut to 32                        CRC64
both                  K("initiator"), K("responder") cut to 32    the new key
====================  ==========================================  =============

The two values in the clear prove knowledge of the secret before any key is installed, so that an end with another
secret can still be told so by a RESET that it believes; the two under the key prove that the key works both ways.
There is no forward secrecy, and who overhears the exchange can try guesses: the secret has to be random, not a word.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, Literal

import trio

from fsp_trio._groups import unwrapped
from fsp_trio._halves import octets_of
from fsp_trio.core.failure import FailureKind
from fsp_trio.errors import CommitTimeout, FSPBrokenError, FSPClosedError, FSPError, KeyInstallationError
from fsp_trio.session import FSPSession
from fsp_trio.transactions import SendTransaction

__all__ = [
    "GREETING",
    "KEY_AGREEMENT_FAILED",
    "MINIMUM_SECRET",
    "KeyAgreementError",
    "KeyAgreementTimeout",
    "agree_psk",
]

MINIMUM_SECRET: Final = 16
"""Octets of the shortest secret that is accepted."""
KEY_AGREEMENT_FAILED: Final = 0x70736B
"""Reason of the RESET that tells a peer that its secret is another one, or that a secret is expected at all."""

LABEL: Final = b"fsp-trio psk v1"
GREETING: Final = LABEL + b"\n"
"""How the initiator's first transaction begins; who meets it without expecting it was offered a key agreement."""
NONCE_SIZE: Final = 32
PROOF_SIZE: Final = 32


class KeyAgreementError(FSPError):
    """The two ends did not agree upon a key; the session was reset."""


class KeyAgreementTimeout(KeyAgreementError, trio.TooSlowError):
    """The peer did not answer in time; the session was reset."""


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
    if not timeout > 0:
        raise ValueError(f"timeout must be a positive number of seconds, not {timeout}")
    if mode not in ("aead", "mac"):
        raise ValueError(f"mode must be 'aead' or 'mac', not {mode!r}")
    if mode == "aead":
        session._connection.revision.integrity.aead(bytes(key_bits // 8), key_bits)  # the revision knows the sizes
    agreement = _Agreement(session, psk, initiator=initiator, accept_repeated_nonces=accept_repeated_nonces)
    try:
        with unwrapped(), trio.fail_after(timeout):
            async with trio.open_nursery() as nursery:
                if initiator:
                    await agreement.lead(nursery, random(NONCE_SIZE), mode, key_bits)
                else:
                    await agreement.follow(nursery, random(NONCE_SIZE), mode, key_bits)
            await _patiently(session.wait_acknowledged)
    except trio.TooSlowError:
        session.reset(KEY_AGREEMENT_FAILED)
        raise KeyAgreementTimeout(f"the peer did not complete the key agreement in {timeout:g} seconds") from None
    except trio.EndOfChannel:
        session.reset(KEY_AGREEMENT_FAILED)
        raise KeyAgreementError("the peer ended the session instead of agreeing upon a key") from None
    except FSPBrokenError as error:
        session.reset(KEY_AGREEMENT_FAILED)
        if error.kind is FailureKind.RESET_BY_PEER and error.reason == KEY_AGREEMENT_FAILED:
            raise KeyAgreementError("the peer has another pre-shared key, or uses none") from None
        raise
    except BaseException:
        session.reset(KEY_AGREEMENT_FAILED)
        raise


async def _patiently(wait: Callable[[], Awaitable[None]]) -> None:
    """Wait for an acknowledgement for as long as the agreement may take, and not for 30 seconds (gao-07 8.4.4)."""
    while True:
        try:
            await wait()
        except CommitTimeout:
            continue
        return


class _Agreement:
    def __init__(self, session: FSPSession, psk: bytes, *, initiator: bool, accept_repeated_nonces: bool) -> None:
        self._session = session
        self._accept_repeated_nonces = accept_repeated_nonces
        self._root = hashlib.blake2b(psk).digest()
        ultids = session.local_ultid, session.remote_ultid
        self._ultids = b"".join(ultids if initiator else reversed(ultids))
        self._nonces = b""

    def _derive(self, purpose: bytes) -> bytes:
        material = self._nonces + self._ultids
        return hashlib.blake2b(material, key=self._root, salt=purpose, person=LABEL).digest()

    def _proof(self, purpose: bytes) -> bytes:
        return self._derive(purpose)[:PROOF_SIZE]

    def _check(self, claimed: bytes, purpose: bytes) -> None:
        if not hmac.compare_digest(claimed, self._proof(purpose)):
            raise KeyAgreementError("the peer has another pre-shared key")

    async def lead(self, nursery: trio.Nursery, nonce: bytes, mode: Literal["aead", "mac"], key_bits: int) -> None:
        session = self._session
        self._deliver(nursery, GREETING + nonce)
        answer = await self._receive(NONCE_SIZE + PROOF_SIZE)
        self._nonces = nonce + answer[:NONCE_SIZE]
        self._check(answer[NONCE_SIZE:], b"answer")
        transaction = session.send_transaction()
        await transaction.send_all(self._proof(b"proof"))
        # gao-07 7.3 (B13, M29): while the last unprotected transaction is open, and before waiting for its
        # acknowledgement
        self._install(mode, key_bits)
        await _patiently(transaction.commit)
        self._deliver(nursery, self._proof(b"initiator"))
        self._check(await self._receive(PROOF_SIZE), b"responder")

    async def follow(self, nursery: trio.Nursery, nonce: bytes, mode: Literal["aead", "mac"], key_bits: int) -> None:
        greeting = await self._receive(len(GREETING) + NONCE_SIZE, GREETING)
        self._nonces = greeting[len(GREETING) :] + nonce
        self._deliver(nursery, nonce + self._proof(b"answer"))
        self._check(await self._receive(PROOF_SIZE), b"proof")
        self._install(mode, key_bits)  # before anything is awaited (M29)
        self._deliver(nursery, self._proof(b"responder"))
        self._check(await self._receive(PROOF_SIZE), b"initiator")

    def _install(self, mode: Literal["aead", "mac"], key_bits: int) -> None:
        try:
            material = self._derive(b"ikm")
            if mode == "aead":
                material = material[: key_bits // 8]  # some revisions take it as it is
            self._session.install_key(
                material, mode=mode, key_bits=key_bits, accept_repeated_nonces=self._accept_repeated_nonces
            )
        except KeyInstallationError as error:
            raise KeyAgreementError(f"the key cannot be installed: {error}") from error

    def _deliver(self, nursery: trio.Nursery, message: bytes) -> None:
        """Send a message beside what goes on."""
        nursery.start_soon(self._deliver_in, self._session.send_transaction(), message)

    async def _deliver_in(self, transaction: SendTransaction, message: bytes) -> None:
        # whoever receives, or waits for the acknowledgement at the end, reports a session that broke or was closed
        with suppress(FSPBrokenError, FSPClosedError):
            await transaction.send_all(message)
            await _patiently(transaction.commit)

    async def _receive(self, size: int, beginning: bytes = b"") -> bytes:
        """The peer's next transaction, which must have exactly `size` octets."""
        transaction = await self._session.receive_transaction()
        message = b""
        while len(message) <= size:
            data = await transaction.receive_some(size + 1 - len(message))
            if not data:
                break
            message += data
        if not message.startswith(beginning):
            raise KeyAgreementError("the peer does not offer to agree upon a key")
        if len(message) != size:
            raise KeyAgreementError("the peer does not speak this key agreement")
        return message
