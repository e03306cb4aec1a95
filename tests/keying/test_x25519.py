"""Key agreement with public keys: who trusts whom, and what an attacker between two ends can do about it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from trio.testing import MockClock

from fsp_trio import FSPBrokenError, FSPBusyError, FSPSession
from fsp_trio.keying import (
    KeyAgreementError,
    KeyAgreementTimeout,
    UntrustedPeerError,
    agree_psk,
    agree_x25519,
    anyone,
    fingerprint,
    only,
)
from fsp_trio.keying.x25519 import GREETING, X25519Exchange
from fsp_trio.testing import Impairment, SimulatedNetwork, open_pair_maker, session_pair

NEAR = Impairment(delay=0.01)
ALICE, BOB, EVE = (SigningKey(bytes([n]) * 32) for n in (1, 2, 3))
ULTIDS = b"\xa0\xa1\xa2\xa3\xb0\xb1\xb2\xb3"


def public(key: SigningKey) -> bytes:
    return bytes(key.verify_key)


@asynccontextmanager
async def pair(revision: str = "gao-07") -> AsyncGenerator[tuple[FSPSession, FSPSession], None]:
    async with SimulatedNetwork(0, NEAR) as network, session_pair(network, revision=revision) as sessions:
        yield sessions


async def write(session: FSPSession, octets: bytes) -> None:
    async with session.send_transaction() as transaction:
        await transaction.send_all(octets)


async def read(session: FSPSession) -> bytes:
    return b"".join([piece async for piece in await session.receive_transaction()])


# the way it goes


@pytest.mark.parametrize("revision", ["gao-07", "jason-00", "reference-2020"])
@pytest.mark.parametrize("bits", [128, 256])
async def test_both_know_each_other(autojump_clock: MockClock, revision: str, bits: int) -> None:
    async with pair(revision) as (a, b), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def respond() -> None:
            peer = await agree_x25519(
                b,
                initiator=False,
                trust=only(public(ALICE)),
                identity=BOB,
                key_bits=256 if revision == "reference-2020" else bits,
                accept_repeated_nonces=True,
            )
            assert peer == public(ALICE)
            await write(b, b"welcome")

        peer = await agree_x25519(
            a,
            initiator=True,
            trust=only(public(EVE), public(BOB)),
            identity=ALICE,
            key_bits=256 if revision == "reference-2020" else bits,
            accept_repeated_nonces=True,
        )
        assert peer == public(BOB)
        assert await read(a) == b"welcome"
        assert a.protection == b.protection == "aead"


async def test_an_initiator_may_stay_anonymous(autojump_clock: MockClock) -> None:
    async with pair() as (a, b), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def respond() -> None:
            assert await agree_x25519(b, initiator=False, trust=anyone, identity=BOB, mode="mac") is None

        await agree_x25519(a, initiator=True, trust=only(public(BOB)), mode="mac")
    assert a.protection == "mac"


async def test_the_session_can_be_multiplied(autojump_clock: MockClock) -> None:
    async with pair() as (a, b), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def respond() -> None:
            await agree_x25519(b, initiator=False, trust=anyone, identity=BOB)
            assert await read(await b.accept_branch()) == b"x"

        await agree_x25519(a, initiator=True, trust=anyone)
        await a.multiply(b"x")


def test_names() -> None:
    assert fingerprint(public(ALICE)) != fingerprint(public(BOB))
    assert len(fingerprint(public(ALICE)).split()) == 16
    with pytest.raises(ValueError, match="32 octets"):
        only(b"short")


# no agreement: one clear error at each end, and no keyed session


async def outcomes(
    a: FSPSession, b: FSPSession, client: Callable[[], object], server: Callable[[], object]
) -> list[BaseException | None]:
    found: list[BaseException | None] = [None, None]

    async def run(index: int, way: Callable[[], object]) -> None:
        try:
            await way()  # type: ignore[misc]
        except BaseException as error:
            found[index] = error
            if isinstance(error, trio.Cancelled):
                raise

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run, 0, client)
        nursery.start_soon(run, 1, server)
    for session in (a, b):
        assert session._connection.is_over
    return found


@pytest.mark.parametrize(
    ("client_trust", "client_identity", "server_trust", "untrusting"),
    [
        (only(public(EVE)), ALICE, anyone, 0),
        (anyone, EVE, only(public(ALICE)), 1),
        (anyone, None, only(public(ALICE)), 1),
    ],
    ids=["unknown server", "unknown client", "anonymous client"],
)
async def test_an_unknown_key(
    autojump_clock: MockClock,
    client_trust: Callable[[bytes | None], bool],
    client_identity: SigningKey | None,
    server_trust: Callable[[bytes | None], bool],
    untrusting: int,
) -> None:
    async with pair() as (a, b):
        errors = await outcomes(
            a,
            b,
            lambda: agree_x25519(a, initiator=True, trust=client_trust, identity=client_identity),
            lambda: agree_x25519(b, initiator=False, trust=server_trust, identity=BOB),
        )
        error, other = errors[untrusting], errors[1 - untrusting]
        assert isinstance(error, UntrustedPeerError)
        assert "\n" not in str(error)
        expected = public(BOB) if untrusting == 0 else (None if client_identity is None else public(client_identity))
        assert error.public_key == expected
        assert isinstance(other, KeyAgreementError | FSPBrokenError)
        if isinstance(other, KeyAgreementError):
            assert "does not trust" in str(other)


class Middle:
    """Somebody between two sessions, one with each end, who knows the protocol and has a key of their own."""

    def __init__(self, to_client: FSPSession, to_server: FSPSession) -> None:
        self.to_client = to_client
        self.to_server = to_server

    async def relay(self, change: Callable[[int, bytes], bytes] = lambda number, octets: octets) -> None:
        """Greeting, answer, proof, each as `change` wants it; then whatever comes."""
        try:
            for number, (source, sink) in enumerate(
                [(self.to_client, self.to_server), (self.to_server, self.to_client), (self.to_client, self.to_server)]
            ):
                await write(sink, change(number, await read(source)))
        except (FSPBrokenError, trio.EndOfChannel, trio.TooSlowError):
            return


@asynccontextmanager
async def in_the_middle() -> AsyncGenerator[tuple[FSPSession, FSPSession, Middle], None]:
    async with (
        SimulatedNetwork(0, NEAR) as network,
        open_pair_maker(network, addresses=(("client", 1), ("eve", 2)), seed=1) as one,
        open_pair_maker(network, addresses=(("eve", 3), ("server", 4)), seed=2) as two,
    ):
        a, to_client = await one.sessions()
        to_server, b = await two.sessions()
        yield a, b, Middle(to_client, to_server)


async def run_middle(change: Callable[[int, bytes], bytes]) -> list[BaseException | None]:
    async with in_the_middle() as (a, b, middle):
        found: list[BaseException | None] = [None, None]

        async def run(index: int, session: FSPSession) -> None:
            try:
                if index == 0:
                    await agree_x25519(session, initiator=True, trust=only(public(BOB)), identity=ALICE, timeout=5)
                else:
                    await agree_x25519(session, initiator=False, trust=only(public(ALICE)), identity=BOB, timeout=5)
            except Exception as error:
                found[index] = error
                await trio.sleep(0.5)
                (middle.to_client if index == 0 else middle.to_server).reset()

        with trio.move_on_after(30):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(run, 0, a)
                nursery.start_soon(run, 1, b)
                nursery.start_soon(middle.relay, change)
        assert a._connection.is_over or a.protection == "crc64"
        assert b._connection.is_over or b.protection == "crc64"
        return found


async def test_relayed_octet_for_octet(autojump_clock: MockClock) -> None:
    """The two sessions have other ULTIDs: what fits one does not fit the other."""
    errors = await run_middle(lambda number, octets: octets)
    assert isinstance(errors[0], KeyAgreementError)
    assert "another exchange" in str(errors[0])
    assert isinstance(errors[1], KeyAgreementError | FSPBrokenError)


async def test_a_man_in_the_middle_with_ephemeral_keys_of_his_own(autojump_clock: MockClock) -> None:
    """He agrees with each end, but cannot sign for the other."""
    async with in_the_middle() as (a, b, middle):
        found: dict[str, BaseException] = {}

        async def run(name: str, session: FSPSession, initiator: bool, key: SigningKey, trusted: bytes | None) -> None:
            try:
                trust = anyone if trusted is None else only(trusted)
                await agree_x25519(session, initiator=initiator, trust=trust, identity=key, timeout=5)
            except (KeyAgreementError, FSPBrokenError) as error:
                found[name] = error

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "alice", a, True, ALICE, public(BOB))
            nursery.start_soon(run, "bob", b, False, BOB, public(ALICE))
            nursery.start_soon(run, "eve to alice", middle.to_client, False, EVE, None)
            nursery.start_soon(run, "eve to bob", middle.to_server, True, EVE, None)
        assert isinstance(found["alice"], UntrustedPeerError)
        assert isinstance(found["bob"], UntrustedPeerError)


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize("place", [20, 40, 60, 100, 130])
async def test_an_altered_message(autojump_clock: MockClock, number: int, place: int) -> None:
    def change(which: int, octets: bytes) -> bytes:
        if which != number or place >= len(octets):
            return octets
        return octets[:place] + bytes([octets[place] ^ 1]) + octets[place + 1 :]

    errors = await run_middle(change)
    assert any(isinstance(error, KeyAgreementError) for error in errors)
    assert None not in errors


async def test_a_reflected_message(autojump_clock: MockClock) -> None:
    """The initiator gets its own ephemeral key back."""
    async with pair() as (a, b):
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def reflect() -> None:
                greeting = await read(b)
                with trio.move_on_after(5):
                    await write(b, greeting[len(GREETING) :] + bytes(112))

            with pytest.raises(KeyAgreementError, match="sends back"):
                await agree_x25519(a, initiator=True, trust=anyone)
            nursery.cancel_scope.cancel()
        assert a._connection.is_over


async def test_a_replayed_transcript(autojump_clock: MockClock) -> None:
    """What Alice has said to Bob before does not convince him again."""
    said: list[bytes] = []
    async with pair() as (a, b), trio.open_nursery() as nursery:
        alice = X25519Exchange(a.local_ultid + a.remote_ultid, ALICE, only(public(BOB)))

        @nursery.start_soon
        async def respond() -> None:
            with suppress(FSPBrokenError):
                await agree_x25519(b, initiator=False, trust=only(public(ALICE)), identity=BOB)

        said.append(alice.greet())
        await write(a, said[0])
        said.append(alice.prove(await read(a)))
        a.reset()
    async with pair() as (a, b):  # with other ULTIDs; the test that follows has the same

        async def replay() -> None:
            with suppress(FSPBrokenError):
                await write(a, said[0])
                await read(a)
                await write(a, said[1])
                await read(a)

        errors = await outcomes(
            a, b, replay, lambda: agree_x25519(b, initiator=False, trust=only(public(ALICE)), identity=BOB)
        )
        assert isinstance(errors[1], KeyAgreementError)
        assert "another exchange" in str(errors[1])


def test_a_replayed_transcript_between_the_same_ultids() -> None:
    """Then only the responder's fresh ephemeral key tells the exchanges apart."""
    alice = X25519Exchange(ULTIDS, ALICE, only(public(BOB)))
    bob = X25519Exchange(ULTIDS, BOB, only(public(ALICE)))
    greeting = alice.greet()
    proof = alice.prove(bob.answer(greeting))
    bob.check(proof)
    again = X25519Exchange(ULTIDS, BOB, only(public(ALICE)))
    again.answer(greeting)
    with pytest.raises(KeyAgreementError, match="another exchange"):
        again.check(proof)


@pytest.mark.parametrize("role", ["responder", "initiator"])
def test_a_wrong_signature(role: str) -> None:
    """Somebody claims a key that he cannot sign with."""

    class Impostor(X25519Exchange):
        def _sign(self, role: bytes) -> bytes:
            claim = super()._sign(role)
            return public(ALICE) + claim[32:]

    trust = only(public(ALICE))
    client = (Impostor if role == "initiator" else X25519Exchange)(
        ULTIDS, EVE, trust if role == "responder" else anyone
    )
    server = (Impostor if role == "responder" else X25519Exchange)(
        ULTIDS, EVE, trust if role == "initiator" else anyone
    )
    answer = server.answer(client.greet())
    if role == "responder":
        with pytest.raises(KeyAgreementError, match="signature is wrong"):
            client.prove(answer)
    else:
        proof = client.prove(answer)
        with pytest.raises(KeyAgreementError, match="signature is wrong"):
            server.check(proof)


def test_a_signature_of_the_other_role() -> None:
    """Bob's answer cannot be made the proof of somebody who connects to him."""

    class Confused(X25519Exchange):
        def _sign(self, role: bytes) -> bytes:
            return super()._sign(b"responder")

    client = Confused(ULTIDS, ALICE, anyone)
    server = X25519Exchange(ULTIDS, BOB, anyone)
    proof = client.prove(server.answer(client.greet()))
    with pytest.raises(KeyAgreementError, match="signature is wrong"):
        server.check(proof)


@pytest.mark.parametrize("point", [bytes(32), b"\x01" + bytes(31)])
def test_an_ephemeral_key_of_low_order(point: bytes) -> None:
    server = X25519Exchange(ULTIDS, BOB, anyone)
    with pytest.raises(KeyAgreementError, match="is none"):
        server.answer(GREETING + point)


def test_everything_enters_the_key() -> None:
    """Both ephemeral keys, both identities, both ULTIDs."""

    def keys(ultids: bytes = ULTIDS, client: SigningKey | None = ALICE, server: SigningKey = BOB) -> bytes:
        one, other = X25519Exchange(ultids, client, anyone), X25519Exchange(ultids, server, anyone)
        other.check(one.prove(other.answer(one.greet())))
        assert one.derive(b"ikm") == other.derive(b"ikm")
        assert one.derive(b"ikm") != one.derive(b"initiator") != one.derive(b"responder")
        return one.derive(b"ikm")

    assert len({keys(), keys(), keys(client=None), keys(server=EVE), keys(ULTIDS[::-1])}) == 5
    client, server = X25519Exchange(ULTIDS, ALICE, anyone), X25519Exchange(ULTIDS[::-1], BOB, anyone)
    with pytest.raises(KeyAgreementError, match="another exchange"):
        client.prove(server.answer(client.greet()))


def test_identities_are_not_on_the_wire() -> None:
    client, server = X25519Exchange(ULTIDS, ALICE, anyone), X25519Exchange(ULTIDS, BOB, anyone)
    greeting = client.greet()
    answer = server.answer(greeting)
    proof = client.prove(answer)
    for key in (ALICE, BOB):
        assert public(key) not in greeting + answer + proof
    server.check(proof)
    assert (server.peer, client.peer) == (public(ALICE), public(BOB))


@settings(max_examples=200, deadline=None)
@given(octets=st.binary(max_size=300), which=st.sampled_from(["greeting", "answer", "proof"]))
def test_octets_that_are_no_message(octets: bytes, which: str) -> None:
    """One clear error, and nothing else."""
    client, server = X25519Exchange(ULTIDS, ALICE, anyone), X25519Exchange(ULTIDS, BOB, anyone)
    greeting = client.greet()
    if which == "greeting":
        with suppress(KeyAgreementError):  # any 32 octets are a key, as far as anybody can see
            server.answer(GREETING + octets)
    if which == "proof":
        server.answer(greeting)
    with pytest.raises(KeyAgreementError):
        client.prove(octets) if which == "answer" else server.check(octets)


# misuse and other trouble


async def test_arguments(autojump_clock: MockClock) -> None:
    async with pair() as (a, b):
        with pytest.raises(ValueError, match="needs an identity"):
            await agree_x25519(b, initiator=False, trust=anyone)
        with pytest.raises(ValueError, match="timeout"):
            await agree_x25519(a, initiator=True, trust=anyone, timeout=0)
        with pytest.raises(ValueError, match="mode"):
            await agree_x25519(a, initiator=True, trust=anyone, mode="rot13")  # type: ignore[arg-type]
        await write(a, b"still usable")


async def test_an_exception_of_trust(autojump_clock: MockClock) -> None:
    def trust(key: bytes | None) -> bool:
        raise LookupError("no database")

    async with pair() as (a, b):
        errors = await outcomes(
            a,
            b,
            lambda: agree_x25519(a, initiator=True, trust=trust),
            lambda: agree_x25519(b, initiator=False, trust=anyone, identity=BOB),
        )
        assert isinstance(errors[0], LookupError)


async def test_silence(autojump_clock: MockClock) -> None:
    async with pair() as (a, _):
        with pytest.raises(KeyAgreementTimeout):
            await agree_x25519(a, initiator=True, trust=anyone, timeout=3)


async def test_a_peer_with_another_agreement(autojump_clock: MockClock) -> None:
    async with pair() as (a, b):
        errors = await outcomes(
            a,
            b,
            lambda: agree_x25519(a, initiator=True, trust=anyone),
            lambda: agree_psk(b, bytes(32), initiator=False),
        )
        assert isinstance(errors[0], KeyAgreementError)
        assert isinstance(errors[1], KeyAgreementError)
        assert "does not offer" in str(errors[1])


async def test_while_a_transaction_is_open(autojump_clock: MockClock) -> None:
    async with pair() as (a, _):
        a.send_transaction()
        with pytest.raises(FSPBusyError):
            await agree_x25519(a, initiator=True, trust=anyone)
        assert a._connection.is_over
