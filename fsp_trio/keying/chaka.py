"""CHAKA, the key agreement of the author's sample programs: for interoperation with them, and for nothing else.

From his programs of 2020, as they are, in revision reference-2020.  Client and server know a password::

    server   ACK_CONNECT_REQ   welcome text, NUL, X25519 key (32)
    client   transaction       X25519 key (32), nonce (8), identity, encrypted
    server   transaction       salt (16), nonce (8), random (8), response (64)
    client   transaction       response (64); then both install the shared X25519 key

    salted = SHA-512(salt | password)
    response(key, nonce) = SHA-512(salted | SHA-512((key | nonce) XOR random, repeated))

The server's response is of the client's key and nonce, the client's of the server's; a nonce is the time in
microseconds.

Do not use it for anything of your own:

* Whoever overhears a response, or is answered as a client or a server with an invented password, can try passwords at
  the full speed of SHA-512.
* The password does not enter the key of the session, and the transcript is not confirmed under it.
* A server keeps its key for all its sessions: when that is lost, so is what was recorded before (no forward secrecy).
* The identity is encrypted with a home-made cipher that fails beyond 32 octets, and that nothing authenticates.
* The revision it is made for reveals what it encrypts.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Callable
from hashlib import sha256, sha512
from itertools import cycle
from typing import Final

import trio
from nacl.exceptions import CryptoError
from nacl.public import Box, PrivateKey, PublicKey

from fsp_trio.errors import KeyInstallationError
from fsp_trio.keying.errors import KeyAgreementError
from fsp_trio.keying.exchange import patiently, receive_message, resetting
from fsp_trio.session import FSPSession

__all__ = ["agree_chaka_client", "agree_chaka_server", "chaka_welcome", "salted_password"]

KEY_SIZE: Final = 32
NONCE_SIZE: Final = 8
SALT_SIZE: Final = 16
RESPONSE_SIZE: Final = 64
LONGEST_IDENTITY: Final = 31
"""Octets, without the NUL that ends it: what the cipher bears."""
CLOCK_SKEW: Final = 300
"""Seconds by which the clocks of both ends may differ."""
REFUSED: Final = "the peer does not accept the identity or the password"

Lookup = Callable[[bytes], tuple[bytes, bytes] | None]
"""From an identity to salt (16 octets) and salted password (64), or None for one that is not known."""


def chaka_welcome(private_key: PrivateKey, text: bytes = b"") -> bytes:
    """The welcome that a server's listener has to send."""
    if 0 in text:
        raise ValueError("the welcome text must not contain NUL")
    return text + b"\x00" + bytes(private_key.public_key)


def salted_password(salt: bytes, password: bytes) -> bytes:
    """What a server keeps of a password, beside 16 octets of salt."""
    if len(salt) != SALT_SIZE:
        raise ValueError(f"the salt has {SALT_SIZE} octets, not {len(salt)}")
    return sha512(salt + password).digest()


async def agree_chaka_client(
    session: FSPSession,
    identity: bytes,
    password: bytes,
    *,
    timeout: float = 30.0,  # noqa: ASYNC109 (the error it leads to is KeyAgreementError)
    unix_time: Callable[[], float] = time.time,
) -> bytes:
    """Agree with a server whose welcome nobody has read yet; its welcome text.

    `identity` has at most 31 octets and no NUL.  Errors as for `agree_psk`.  `unix_time`: seconds since 1970.
    """
    if len(identity) > LONGEST_IDENTITY or 0 in identity:
        raise ValueError(f"the identity must have at most {LONGEST_IDENTITY} octets, and no NUL")
    async with resetting(session, timeout, REFUSED):
        text, nul, server_key = (await receive_message(session)).partition(b"\x00")
        if not nul or len(server_key) != KEY_SIZE:
            raise KeyAgreementError("the peer's welcome offers no key")
        private_key = PrivateKey.generate()
        own_key = bytes(private_key.public_key)
        shared = _shared(private_key, server_key)
        nonce = _nonce(unix_time())
        await _send(session, own_key + nonce + _identity_cipher(identity + b"\x00", nonce, shared))
        challenge = await receive_message(session)
        if len(challenge) != SALT_SIZE + 2 * NONCE_SIZE + RESPONSE_SIZE:
            raise KeyAgreementError("the peer does not speak this key agreement")
        salt, rest = challenge[:SALT_SIZE], challenge[SALT_SIZE:]
        server_nonce, random, claimed = rest[:NONCE_SIZE], rest[NONCE_SIZE : 2 * NONCE_SIZE], rest[2 * NONCE_SIZE :]
        _check_clock(server_nonce, unix_time())
        salted = salted_password(salt, password)
        if not hmac.compare_digest(claimed, response_to(salted, own_key, nonce, random)):
            raise KeyAgreementError("the peer does not know the password")
        transaction = session.send_transaction()
        await transaction.send_all(response_to(salted, server_key, server_nonce, random))
        _install(session, shared)  # before the transaction is ended: what follows it is under the key
        await patiently(transaction.commit)
    return text


async def agree_chaka_server(
    session: FSPSession,
    private_key: PrivateKey,
    lookup: Lookup,
    *,
    timeout: float = 30.0,  # noqa: ASYNC109 (the error it leads to is KeyAgreementError)
    unix_time: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = os.urandom,
) -> bytes:
    """Agree with a client of a listener whose welcome was `chaka_welcome(private_key)`; its identity.

    Errors as for `agree_psk`, the session is reset then.  `unix_time`: seconds since 1970.
    """
    async with resetting(session, timeout, REFUSED):
        message = await receive_message(session)
        sealed = message[KEY_SIZE + NONCE_SIZE :]
        if not 0 < len(sealed) <= LONGEST_IDENTITY + 1:
            raise KeyAgreementError("the peer does not speak this key agreement")
        client_key, nonce = message[:KEY_SIZE], message[KEY_SIZE : KEY_SIZE + NONCE_SIZE]
        _check_clock(nonce, unix_time())
        shared = _shared(private_key, client_key)
        identity = _identity_cipher(sealed, nonce, shared).partition(b"\x00")[0]
        known = lookup(identity)
        if known is None:
            raise KeyAgreementError(f"the peer calls itself {identity!r}, who is not known")
        salt, salted = known
        own_nonce, mask = _nonce(unix_time()), random(NONCE_SIZE)
        await _send(session, salt + own_nonce + mask + response_to(salted, client_key, nonce, mask))
        own_key = bytes(private_key.public_key)
        if not hmac.compare_digest(await receive_message(session), response_to(salted, own_key, own_nonce, mask)):
            raise KeyAgreementError("the peer does not know the password")
        _install(session, shared)
        await trio.lowlevel.checkpoint()
    return identity


def response_to(salted: bytes, public_key: bytes, nonce: bytes, random: bytes) -> bytes:
    """The proof that its sender knows the password."""
    masked = bytes(octet ^ mask for octet, mask in zip(public_key + nonce, cycle(random), strict=False))
    return sha512(salted + sha512(masked).digest()).digest()


def _identity_cipher(octets: bytes, nonce: bytes, key: bytes) -> bytes:
    """Encrypts and decrypts at most 32 octets."""
    first = (int.from_bytes(nonce, "big") ^ 1).to_bytes(NONCE_SIZE, "big")
    return bytes(octet ^ mask for octet, mask in zip(octets, sha256(first + key).digest(), strict=False))


def _shared(private_key: PrivateKey, public_key: bytes) -> bytes:
    try:
        return Box(private_key, PublicKey(public_key)).shared_key()
    except CryptoError:  # a point of low order
        raise KeyAgreementError("the peer's key is none") from None


def _nonce(unix_time: float) -> bytes:
    return (int(unix_time * 1_000_000) & 2**64 - 1).to_bytes(NONCE_SIZE, "big")


def _check_clock(nonce: bytes, unix_time: float) -> None:
    if abs(int.from_bytes(nonce, "big") / 1_000_000 - unix_time) > CLOCK_SKEW:
        raise KeyAgreementError(
            "the clocks of both ends differ by more than five minutes, or somebody repeats a message"
        )


async def _send(session: FSPSession, message: bytes) -> None:
    transaction = session.send_transaction()
    await transaction.send_all(message)
    await patiently(transaction.commit)


def _install(session: FSPSession, shared: bytes) -> None:
    try:
        session.install_key(shared, accept_repeated_nonces=True)
    except KeyInstallationError as error:
        raise KeyAgreementError(f"the key cannot be installed: {error}") from error
