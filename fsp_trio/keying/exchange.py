"""How two ends exchange messages, install the key that follows from them, and show each other that it works.

=============  ========================================  =============
from           transmit transaction                      protected by
=============  ========================================  =============
initiator      greeting                                  CRC64
responder      answer                                    CRC64
initiator      proof                                     CRC64
responder      verdict (32)                              CRC64
both           confirmation (32)                         the new key
=============  ========================================  =============

What the first three say is the business of an `Exchange`.  Each end has made sure of the other before it installs
anything: until then a refusal can be told by a RESET that is believed.  Verdict and confirmations are derived from all
that was said; the confirmations show that the key works both ways, and that nobody has feigned acknowledgements (M30).
"""

from __future__ import annotations

import hmac
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Final, Literal

import trio

from fsp_trio._groups import unwrapped
from fsp_trio.core.failure import FailureKind
from fsp_trio.errors import CommitTimeout, FSPBrokenError, FSPClosedError, KeyInstallationError
from fsp_trio.keying.errors import KEY_AGREEMENT_FAILED, KeyAgreementError, KeyAgreementTimeout
from fsp_trio.session import FSPSession
from fsp_trio.transactions import SendTransaction

__all__ = ["LARGEST_MESSAGE", "Exchange", "Terms", "agree", "patiently", "receive_message", "resetting"]

LARGEST_MESSAGE: Final = 512
"""Octets that no message of a key agreement exceeds; no more are read of one that does."""
CONFIRMATION_SIZE: Final = 32


class Exchange(ABC):
    """The messages of one key agreement, at one end; made anew for each session.

    Each method that takes a message raises KeyAgreementError if it is not what it should be.
    """

    opening: bytes
    """How the greeting begins: who meets it without expecting it was offered a key agreement."""
    refused: str
    """What it means that the peer has reset the session."""

    @abstractmethod
    def greet(self) -> bytes:
        """The initiator's first message."""

    @abstractmethod
    def answer(self, greeting: bytes) -> bytes:
        """The responder's."""

    @abstractmethod
    def prove(self, answer: bytes) -> bytes:
        """The initiator's second message, which ends the exchange for it."""

    @abstractmethod
    def check(self, proof: bytes) -> None:
        """The responder has everything."""

    @abstractmethod
    def derive(self, purpose: bytes) -> bytes:
        """64 octets for a purpose, from everything that was said; once the exchange is over."""


class Terms:
    """What both ends want to have installed; checked before anything is sent."""

    __slots__ = ("accept_repeated_nonces", "key_bits", "mode", "timeout")

    def __init__(
        self,
        session: FSPSession,
        *,
        timeout: float,
        mode: Literal["aead", "mac"],
        key_bits: int,
        accept_repeated_nonces: bool,
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout must be a positive number of seconds, not {timeout}")
        if mode not in ("aead", "mac"):
            raise ValueError(f"mode must be 'aead' or 'mac', not {mode!r}")
        if mode == "aead":
            session._connection.revision.integrity.aead(bytes(key_bits // 8), key_bits)  # the revision knows the sizes
        self.timeout = timeout
        self.mode: Literal["aead", "mac"] = mode
        self.key_bits = key_bits
        self.accept_repeated_nonces = accept_repeated_nonces


async def agree(session: FSPSession, exchange: Exchange, terms: Terms, *, initiator: bool) -> None:
    """Carry out an exchange and install its key; whatever goes wrong resets the session."""
    conduct = _Conduct(session, exchange, terms)
    async with resetting(session, terms.timeout, exchange.refused):
        async with trio.open_nursery() as nursery:
            await (conduct.lead if initiator else conduct.follow)(nursery)
        await patiently(session.wait_acknowledged)


@asynccontextmanager
async def resetting(session: FSPSession, seconds: float, refused: str) -> AsyncGenerator[None, None]:
    """A key agreement, at most so many seconds of it: as a whole, or KeyAgreementError and a session that was reset."""
    try:
        with unwrapped(), trio.fail_after(seconds):
            yield
    except trio.TooSlowError:
        session.reset(KEY_AGREEMENT_FAILED)
        message = f"the peer did not complete the key agreement in {seconds:g} seconds"
        raise KeyAgreementTimeout(message) from None
    except trio.EndOfChannel:
        session.reset(KEY_AGREEMENT_FAILED)
        raise KeyAgreementError("the peer ended the session instead of agreeing upon a key") from None
    except FSPBrokenError as error:
        session.reset(KEY_AGREEMENT_FAILED)
        if error.kind is FailureKind.RESET_BY_PEER and error.reason == KEY_AGREEMENT_FAILED:
            raise KeyAgreementError(refused) from None
        raise
    except BaseException:
        session.reset(KEY_AGREEMENT_FAILED)
        raise


async def patiently(wait: Callable[[], Awaitable[None]]) -> None:
    """Wait for an acknowledgement for as long as the agreement may take, and not for 30 seconds (gao-07 8.4.4)."""
    while True:
        try:
            await wait()
        except CommitTimeout:
            continue
        return


class _Conduct:
    def __init__(self, session: FSPSession, exchange: Exchange, terms: Terms) -> None:
        self._session = session
        self._exchange = exchange
        self._terms = terms

    async def lead(self, nursery: trio.Nursery) -> None:
        exchange, session = self._exchange, self._session
        self._deliver(nursery, exchange.greet())
        self._deliver(nursery, exchange.prove(await receive_message(session)))
        self._check(await receive_message(session), b"verdict")
        self._install()  # before anything is awaited (M29)
        self._deliver(nursery, self._confirmation(b"initiator"))
        self._check(await receive_message(session), b"responder")

    async def follow(self, nursery: trio.Nursery) -> None:
        exchange, session = self._exchange, self._session
        greeting = await receive_message(session)
        if not greeting.startswith(exchange.opening):
            raise KeyAgreementError("the peer does not offer to agree upon a key")
        self._deliver(nursery, exchange.answer(greeting))
        exchange.check(await receive_message(session))
        transaction = session.send_transaction()
        await transaction.send_all(self._confirmation(b"verdict"))
        # gao-07 7.3 (B13, M29): while the last unprotected transaction is open, and before waiting for its
        # acknowledgement
        self._install()
        await patiently(transaction.commit)
        self._deliver(nursery, self._confirmation(b"responder"))
        self._check(await receive_message(session), b"initiator")

    def _confirmation(self, purpose: bytes) -> bytes:
        return self._exchange.derive(purpose)[:CONFIRMATION_SIZE]

    def _check(self, claimed: bytes, purpose: bytes) -> None:
        if not hmac.compare_digest(claimed, self._confirmation(purpose)):
            raise KeyAgreementError("the peer has arrived at another key")

    def _install(self) -> None:
        terms = self._terms
        material = self._exchange.derive(b"ikm")
        if terms.mode == "aead":
            material = material[: terms.key_bits // 8]  # some revisions take it as it is
        try:
            self._session.install_key(
                material,
                mode=terms.mode,
                key_bits=terms.key_bits,
                accept_repeated_nonces=terms.accept_repeated_nonces,
            )
        except KeyInstallationError as error:
            raise KeyAgreementError(f"the key cannot be installed: {error}") from error

    def _deliver(self, nursery: trio.Nursery, message: bytes) -> None:
        """Send a message beside what goes on."""
        nursery.start_soon(_deliver_in, self._session.send_transaction(), message)


async def receive_message(session: FSPSession) -> bytes:
    """The peer's next transaction, or an octet more than any message has of one that is too long."""
    transaction = await session.receive_transaction()
    message = b""
    while len(message) <= LARGEST_MESSAGE:
        data = await transaction.receive_some(LARGEST_MESSAGE + 1 - len(message))
        if not data:
            break
        message += data
    return message


async def _deliver_in(transaction: SendTransaction, message: bytes) -> None:
    # whoever receives, or waits for the acknowledgement at the end, reports a session that broke or was closed
    with suppress(FSPBrokenError, FSPClosedError):
        await transaction.send_all(message)
        await patiently(transaction.commit)
