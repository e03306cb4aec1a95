"""Sessions of every revision: streams, transactions, keys, the end; and what only some of them have."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from fsp_trio import _insecure, keying, keylog
from fsp_trio._insecure import InsecureRevisionWarning
from fsp_trio.core.settings import Settings
from fsp_trio.endpoint import open_fsp_endpoint
from fsp_trio.errors import FSPBrokenError, KeyInstallationError
from fsp_trio.keylog import parse_key_log
from fsp_trio.revisions import REVISIONS
from fsp_trio.session import FSPSession
from fsp_trio.testing import Impairment, SimulatedNetwork, open_pair_maker, session_pair, stream_pair
from fsp_trio.testing.streams import CLOGGABLE

ALL = list(REVISIONS)
POOR = Impairment(delay=0.02, jitter=0.01, loss=0.1, duplicate=0.05, reorder=0.1, corrupt=0.02)
SECRET = b"sixteen octets and more"


async def transfer(sender: FSPSession, receiver: FSPSession, data: bytes) -> None:
    async def send() -> None:
        async with sender.send_transaction() as transaction:
            await transaction.send_all(data)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        transaction = await receiver.receive_transaction()
        received = bytearray()
        while octets := await transaction.receive_some():
            received += octets
    assert received == data


async def test_stream_checks(autojump_clock: MockClock) -> None:
    """Not for reference-2020, which holds back what does not fill a block."""
    async with open_pair_maker(revision="jason-00", settings=CLOGGABLE) as maker:
        await trio.testing.check_half_closeable_stream(maker.streams, maker.clogged_streams)


@pytest.mark.parametrize("mode", ["crc64", "mac", "aead"])
@pytest.mark.parametrize("revision", ALL)
async def test_both_ways_over_a_poor_network(revision: str, mode: str, autojump_clock: MockClock) -> None:
    async with SimulatedNetwork(3, POOR) as network, session_pair(network, revision=revision) as (a, b):
        if mode != "crc64":
            async with trio.open_nursery() as nursery:
                for end, initiator in ((a, True), (b, False)):
                    nursery.start_soon(agree, end, initiator, mode)
        assert a.protection == b.protection == mode
        for size in (1, 100_000, 512, 513):
            await transfer(a, b, bytes(range(256)) * (size // 256 + 1))
            await transfer(b, a, b"x" * size)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(a.aclose)
            nursery.start_soon(b.aclose)


async def agree(end: FSPSession, initiator: bool, mode: str) -> None:
    assert mode in ("mac", "aead")
    await keying.agree_psk(
        end,
        SECRET,
        initiator=initiator,
        mode=mode,  # type: ignore[arg-type]
        accept_repeated_nonces=True,
    )


@pytest.mark.parametrize("revision", ALL)
async def test_the_end_is_confirmed(revision: str, autojump_clock: MockClock) -> None:
    """gao-07 9.3; jason-00 8.3: RELEASE is answered by RELEASE, and the first to ask knows it."""
    async with session_pair(revision=revision) as (a, b):
        await transfer(a, b, b"the last words")
        await transfer(b, a, b"of both")
        await a.aclose()
        assert a.closed_confirmed
        await b.aclose()
        assert b.closed_confirmed


@pytest.mark.parametrize("revision", ALL)
async def test_the_revisions_do_not_understand_each_other(revision: str, autojump_clock: MockClock) -> None:
    other = ALL[(ALL.index(revision) + 1) % len(ALL)]
    async with (
        SimulatedNetwork(0) as network,
        open_fsp_endpoint(transport=network.port("server"), revision=other) as server,
        open_fsp_endpoint(transport=network.port("client"), revision=revision) as client,
        server.listen(80),
    ):
        with pytest.raises(OSError, match="no session"):
            await client.open_session_to("server", service=80)


async def test_reference_2020_needs_words_to_take_a_key(autojump_clock: MockClock) -> None:
    async with session_pair(revision="reference-2020") as (a, _):
        for mode in ("aead", "mac"):
            with pytest.raises(KeyInstallationError, match="repeats nonces"):
                a.install_key(bytes(16), key_bits=128, mode=mode)
        assert a.protection == "crc64"
        a.install_key(bytes(16), key_bits=128, accept_repeated_nonces=True)
        assert a.protection == "aead"


async def test_reference_2020_warns_once(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_insecure, "_warned", set())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            async with (
                SimulatedNetwork(0) as network,
                open_fsp_endpoint(transport=network.port("here"), revision="reference-2020"),
            ):
                pass
    assert [warning.category for warning in caught] == [InsecureRevisionWarning]
    assert "repeats nonces" in str(caught[0].message)


async def test_reference_2020_holds_back_what_does_not_fill_a_block(autojump_clock: MockClock) -> None:
    """That program takes a short packet for the end of what it was given: only the last one may be short."""
    async with stream_pair(revision="reference-2020") as (a, b):
        await a.send_all(b"a" * 500)
        await trio.sleep(1)
        assert b.session.statistics().packets.payload_received == 0
        await a.send_all(b"b" * 600)
        await trio.sleep(1)
        assert b.session.statistics().packets.payload_received == 1024
        await a.send_eof()
        received = b""
        while octets := await b.receive_some():
            received += octets
        assert received == b"a" * 500 + b"b" * 600


async def test_reference_2020_has_few_packets_under_way(autojump_clock: MockClock) -> None:
    """Not more than the program's socket buffer holds, however long the path."""
    most = 0
    async with (
        SimulatedNetwork(5, Impairment(delay=0.2)) as network,
        session_pair(network, revision="reference-2020") as (a, b),
        trio.open_nursery() as nursery,
    ):
        blocks = a._connection.sent.blocks
        nursery.start_soon(transfer, a, b, bytes(400_000))
        for _ in range(600):
            await trio.sleep(0.01)
            most = max(most, len(blocks))
    assert most == REVISIONS["reference-2020"].most_outstanding == 96


@pytest.mark.parametrize(("mine", "yours"), [(512, 1024), (1024, 512), (100, 600)])
async def test_jason_00_blocks_are_no_larger_than_the_peers(mine: int, yours: int, autojump_clock: MockClock) -> None:
    """3.7: the block size of both ends' Sink Parameters, in units of 512 octets."""
    async with (
        SimulatedNetwork(0) as network,
        open_fsp_endpoint(
            transport=network.port("server"), revision="jason-00", settings=Settings(max_payload=yours)
        ) as server,
        open_fsp_endpoint(
            transport=network.port("client"), revision="jason-00", settings=Settings(max_payload=mine)
        ) as client,
        server.listen(80) as listener,
        await client.open_session_to("server", service=80) as a,
        await listener.accept_session() as b,
    ):
        await transfer(a, b, bytes(5000))
        await transfer(b, a, bytes(5000))
        largest = max(len(record.datagram) for record in network.record)
        sectors = min(-(-mine // 512), -(-yours // 512)) * 512
        assert largest - 32 <= max(min(mine, sectors), min(yours, sectors))


async def test_jason_00_keys_are_as_long_as_their_material(autojump_clock: MockClock) -> None:
    async with session_pair(revision="jason-00") as (a, _):
        with pytest.raises(ValueError, match="key material"):
            a.install_key(bytes(17), key_bits=128)
        a.install_key(bytes(16), key_bits=128)


@pytest.mark.parametrize("revision", ALL)
async def test_key_log(
    revision: str, autojump_clock: MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line for each end; both name the same numbers, each from its own side."""
    monkeypatch.setattr(keylog, "_writers", [])
    monkeypatch.setenv(keylog.FSPKEYLOGFILE, str(tmp_path / "keys"))
    async with session_pair(revision=revision) as (a, b):
        for end in (a, b):
            end.install_key(bytes(range(16)), key_bits=128, accept_repeated_nonces=True)
        await transfer(a, b, b"secret")
        ultids = a.local_ultid, b.local_ultid
    first, second = parse_key_log((tmp_path / "keys").read_text().splitlines())
    assert (first.revision, first.mode, first.bits, first.ikm) == (revision, "gcm", 128, bytes(range(16)))
    assert (first.ultid_a, first.ultid_b) == ultids
    assert (second.ultid_a, second.ultid_b) == ultids[::-1]
    assert (first.first_sn_a, first.first_sn_b) == (second.first_sn_b, second.first_sn_a)


@pytest.mark.parametrize("mode", ["aead", "mac"])
@pytest.mark.parametrize("reason", [0, 5, 0xDFFFFFFF])
async def test_the_reason_of_a_reset_arrives(
    mode: Literal["aead", "mac"], reason: int, autojump_clock: MockClock
) -> None:
    """In jason-00 it stands where a MAC has its flag (A50)."""
    async with session_pair(revision="jason-00") as (a, b):
        for end in (a, b):
            end.install_key(bytes(16), key_bits=128, mode=mode)
        for sender, receiver in ((a, b), (b, a)):
            async with sender.send_transaction() as transaction:
                await transaction.send_all(b"under the key")
            received = await receiver.receive_transaction()
            assert [piece async for piece in received] == [b"under the key"]
        a.reset(reason)
        with pytest.raises(FSPBrokenError) as broken:
            await b.receive_transaction()
        assert broken.value.reason == reason
