"""CHAKA: known answers of the author's programs, both roles, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from nacl.public import PrivateKey
from trio.testing import MockClock

from fsp_trio import FSPBrokenError, FSPSession, open_fsp_endpoint
from fsp_trio.keying import KeyAgreementError
from fsp_trio.keying.chaka import (
    LONGEST_IDENTITY,
    _identity_cipher,
    _shared,
    agree_chaka_client,
    agree_chaka_server,
    chaka_welcome,
    response_to,
    salted_password,
)
from fsp_trio.testing import Impairment, SimulatedNetwork

KNOWN = json.loads((Path(__file__).parent / "data" / "chaka.json").read_text())
SALT = bytes(range(16))
KEY = PrivateKey(bytes(range(32)))
NOW = 1_700_000_000.0


def known(event: str) -> list[dict[str, str]]:
    return [entry for entry in KNOWN if entry["ev"] == event]


def unhex(entry: dict[str, str], *names: str) -> list[bytes]:
    return [bytes.fromhex(entry[name]) for name in names]


# known answers


@pytest.mark.parametrize("entry", known("chaka_shared"))
def test_shared_key(entry: dict[str, str]) -> None:
    peer, own, shared = unhex(entry, "peerPub", "ownPriv", "shared")
    assert _shared(PrivateKey(own), peer) == shared


@pytest.mark.parametrize("entry", known("chaka_salted"))
def test_salted_password(entry: dict[str, str]) -> None:
    material, digest = unhex(entry, "material", "hash")
    assert salted_password(material[:16], material[16:]) == digest


@pytest.mark.parametrize("entry", known("chaka_response"))
def test_response(entry: dict[str, str]) -> None:
    public, nonce, mask, response = unhex(entry, "pub", "nonce", "mask", "response")
    (salted,) = unhex(known("chaka_salted")[0], "hash")
    assert response_to(salted, public, nonce, mask) == response


@pytest.mark.parametrize("entry", known("chaka_stream"))
def test_identity_cipher(entry: dict[str, str]) -> None:
    material, keystream, octets = unhex(entry, "km", "keystream", "in")
    nonce = (int.from_bytes(material[:8], "big") ^ 1).to_bytes(8, "big")
    result = _identity_cipher(octets, nonce, material[8:])
    assert result == bytes(a ^ b for a, b in zip(octets, keystream, strict=False))
    assert _identity_cipher(result, nonce, material[8:]) == octets


# between two of ours


@asynccontextmanager
async def pair(welcome: bytes) -> AsyncGenerator[tuple[FSPSession, FSPSession], None]:
    async with (
        SimulatedNetwork(0, Impairment(delay=0.01)) as network,
        open_fsp_endpoint(transport=network.port(("client", 1)), revision="reference-2020") as client,
        open_fsp_endpoint(transport=network.port(("server", 2)), revision="reference-2020") as server,
    ):
        listener = server.listen(welcome=welcome)
        session = await client.open_session_to(("server", 2))
        yield session, await listener.accept_session()


def lookup(identity: bytes) -> tuple[bytes, bytes] | None:
    return (SALT, salted_password(SALT, b"secret")) if identity == b"alice" else None


async def agree(
    identity: bytes = b"alice",
    password: bytes = b"secret",
    *,
    skew: float = 0.0,
    welcome: bytes = b"",
) -> tuple[list[object], list[FSPSession]]:
    """What each end gets, be it an exception."""
    found: list[object] = [None, None]
    async with pair(welcome or chaka_welcome(KEY, b"hello")) as (a, b):

        async def client() -> None:
            try:
                found[0] = await agree_chaka_client(a, identity, password, unix_time=lambda: NOW)
            except (KeyAgreementError, FSPBrokenError) as error:
                found[0] = error

        async def server() -> None:
            try:
                found[1] = await agree_chaka_server(b, KEY, lookup, unix_time=lambda: NOW + skew)
            except (KeyAgreementError, FSPBrokenError) as error:
                found[1] = error

        async with trio.open_nursery() as nursery:
            nursery.start_soon(client)
            nursery.start_soon(server)
        if found == [b"hello", b"alice"]:
            assert a.protection == b.protection == "aead"
            for sender, receiver in ((a, b), (b, a)):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_say, sender)
                    transaction = await receiver.receive_transaction()
                    assert b"".join([piece async for piece in transaction]) == b"under the key"
        else:
            assert a._connection.is_over
            assert b._connection.is_over
        return found, [a, b]


async def _say(session: FSPSession) -> None:
    async with session.send_transaction() as transaction:
        await transaction.send_all(b"under the key")


async def test_agreement(autojump_clock: MockClock) -> None:
    found, _ = await agree()
    assert found == [b"hello", b"alice"]


@pytest.mark.parametrize(
    ("identity", "password", "skew", "words"),
    [
        (b"mallory", b"secret", 0.0, "not known"),
        (b"alice", b"guess", 0.0, "does not know the password"),
        (b"alice", b"secret", 400.0, "clocks"),
        (b"alice", b"secret", -400.0, "clocks"),
    ],
    ids=["identity", "password", "clock ahead", "clock behind"],
)
async def test_refusals(autojump_clock: MockClock, identity: bytes, password: bytes, skew: float, words: str) -> None:
    found, _ = await agree(identity, password, skew=skew)
    assert all(isinstance(error, KeyAgreementError | FSPBrokenError) for error in found)
    assert any(words in str(error) for error in found)


@pytest.mark.parametrize("welcome", [b"no key", b"text\x00" + bytes(31), b"\x00" + bytes(32)])
async def test_a_welcome_without_a_good_key(autojump_clock: MockClock, welcome: bytes) -> None:
    found, _ = await agree(welcome=welcome)
    assert isinstance(found[0], KeyAgreementError)


async def test_messages_that_are_none(autojump_clock: MockClock) -> None:
    for message in (b"", bytes(40), bytes(41), bytes(100), bytes(1000)):
        async with pair(chaka_welcome(KEY)) as (a, b), trio.open_nursery() as nursery:

            @nursery.start_soon
            async def say() -> None:
                await a.receive_transaction()
                transaction = a.send_transaction()
                await transaction.send_all(message)  # noqa: B023
                transaction.end()

            with pytest.raises(KeyAgreementError):
                await agree_chaka_server(b, KEY, lookup, timeout=5)
            nursery.cancel_scope.cancel()


async def test_arguments(autojump_clock: MockClock) -> None:
    with pytest.raises(ValueError, match="NUL"):
        chaka_welcome(KEY, b"a\x00b")
    with pytest.raises(ValueError, match="16 octets"):
        salted_password(b"short", b"x")
    async with pair(chaka_welcome(KEY)) as (a, _):
        for identity in (bytes(LONGEST_IDENTITY), b"x" * (LONGEST_IDENTITY + 1)):
            with pytest.raises(ValueError, match="identity"):
                await agree_chaka_client(a, identity, b"x")
