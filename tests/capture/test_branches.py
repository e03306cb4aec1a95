"""Branches that MULTIPLY makes, in gao-07: written by hand, for the rules of section 11 and decision M21 to M26."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fsp_trio.capture import DecodedPacket
from fsp_trio.core.settings import Settings
from fsp_trio.core.timers import Timers
from fsp_trio.integrity import AeadSchedule, MacProtection
from fsp_trio.integrity.branch import Branching, branch_schedule
from fsp_trio.integrity.protection import Protection
from fsp_trio.keylog import KeyLogEntry
from fsp_trio.revisions import GAO_07
from fsp_trio.wire.extensions import ExtensionCodec
from fsp_trio.wire.packets import FLAG_EOT, ExtensionKind, Op, Reset, Snack
from tests.core.pair import Pair, Side
from tests.core.talk import KEY, established, transfer

from .following import all_good, entry, follow, of
from .writing import CLIENT, SERVER, Sent, recorded

BRANCH = bytes.fromhex("b4a2c401")
ANSWER = bytes.fromhex("a25e4501")
FIRST = 0xF0000000
"""The responder's first number in the branch."""
CODEC = GAO_07.codec
EXTENSIONS = ExtensionCodec({ExtensionKind.PEER_SUBNETS: 17, ExtensionKind.SELECTIVE_NACK: 18})
BITS = 128


@dataclass
class Scene:
    pair: Pair
    logged: KeyLogEntry
    packets: list[Sent]

    @property
    def parent_key(self) -> AeadSchedule:
        return AeadSchedule(KEY, BITS)

    @property
    def sn(self) -> int:
        """The client's last number, which MULTIPLY carries."""
        return (self.pair.client.sent.next_sn - 1) & 0xFFFFFFFF

    def key(
        self, branch: bytes = BRANCH, responder: bytes | None = None, schedule: AeadSchedule | None = None
    ) -> Protection:
        branching = Branching(branch, responder or of(self.pair, Side.SERVER), self.sn, FIRST)
        return branch_schedule(schedule or self.parent_key, 1, branching).batch(1)

    def say(
        self,
        ids: bytes,
        op: Op,
        key: Protection,
        sn: int,
        number: int,
        payload: bytes = b"",
        *,
        from_client: bool,
        acknowledges: int | None = None,
    ) -> None:
        chain = b"" if acknowledges is None else EXTENSIONS.snack(Snack(acknowledges, acknowledges, 0))
        flags = 0 if acknowledges is not None else FLAG_EOT
        head = CODEC.head(CODEC.op_codes[op], 24 + len(chain), flags, 64, sn & 0xFFFFFFFF, number & 0xFFFFFFFF)
        out_of_band = op is Op.MULTIPLY or acknowledges is not None
        self.put(key.seal(ids, head, chain + payload, out_of_band), from_client)

    def put(self, octets: bytes, from_client: bool) -> None:
        places = (CLIENT, SERVER) if from_client else (SERVER, CLIENT)
        self.packets.append(Sent(self.packets[-1].time + 1000, *places, octets))

    def multiply(self, branch: bytes = BRANCH) -> None:
        ids = branch + of(self.pair, Side.SERVER)
        self.say(ids, Op.MULTIPLY, self.parent_key.batch(1), self.sn, 100, b"first of the branch", from_client=True)

    def told(self, since: int = 0, rekey_threshold: int = 2**29) -> list[DecodedPacket]:
        return follow(self.packets, [self.logged], rekey_threshold=rekey_threshold)[since:]


@pytest.fixture
def scene() -> Scene:
    pair = established(Settings(timers=Timers.responsive()))
    for end in (pair.client, pair.server):
        end.install_key(KEY, key_bits=BITS)
    logged = entry(pair, KEY, bits=BITS)
    transfer(pair, Side.CLIENT, b"of the parent")
    return Scene(pair, logged, recorded(pair))


def test_a_branch(scene: Scene) -> None:
    start = len(scene.packets)
    key = scene.key()
    scene.multiply()
    scene.say(ANSWER + BRANCH, Op.NULCOMMIT, key, FIRST, scene.sn + 1, from_client=False)
    scene.say(BRANCH + ANSWER, Op.ACK_FLUSH, key, scene.sn, 101, acknowledges=FIRST + 1, from_client=True)
    scene.say(BRANCH + ANSWER, Op.PERSIST, key, scene.sn + 1, FIRST + 1, b"more", from_client=True)
    scene.say(ANSWER + BRANCH, Op.ACK_FLUSH, key, FIRST, 1, acknowledges=scene.sn + 2, from_client=False)
    scene.multiply()  # repeated
    scene.say(ANSWER + BRANCH, Op.PERSIST, key, FIRST + 1, scene.sn + 2, b"and more", from_client=False)
    told = scene.told(start)
    assert [(packet.icc_ok, packet.mode) for packet in told] == [(True, "gcm")] * 7
    assert [packet.payload for packet in told] == [
        b"first of the branch", b"", b"", b"more", b"", b"first of the branch", b"and more",
    ]  # fmt: skip
    assert told[0].oob_serial == 100
    assert told[0].expected_sn is None


def test_out_of_band_packets_may_come_first(scene: Scene) -> None:
    start = len(scene.packets)
    scene.multiply()
    scene.say(ANSWER + BRANCH, Op.ACK_FLUSH, scene.key(), FIRST, 1, acknowledges=scene.sn + 1, from_client=False)
    scene.say(ANSWER + BRANCH, Op.NULCOMMIT, scene.key(), FIRST, scene.sn + 1, from_client=False)
    assert all_good(scene.told(start))


def test_the_answer_may_be_missing_in_the_capture(scene: Scene) -> None:
    start = len(scene.packets)
    scene.multiply()
    scene.say(BRANCH + ANSWER, Op.PERSIST, scene.key(), scene.sn + 1, FIRST + 1, b"more", from_client=True)
    scene.say(ANSWER + BRANCH, Op.PERSIST, scene.key(), FIRST + 1, scene.sn + 2, b"and more", from_client=False)
    assert all_good(scene.told(start))


def test_an_initiator_that_goes_on_with_the_key_of_the_parent(scene: Scene) -> None:
    """Out of band, before its first packet in the branch, as the author's program does."""
    start = len(scene.packets)
    scene.multiply()
    scene.say(ANSWER + BRANCH, Op.NULCOMMIT, scene.key(), FIRST, scene.sn + 1, from_client=False)
    parent = scene.parent_key.batch(1)
    scene.say(BRANCH + ANSWER, Op.ACK_FLUSH, parent, scene.sn, 101, acknowledges=FIRST + 1, from_client=True)
    assert all_good(scene.told(start))


def test_rejection(scene: Scene) -> None:
    """RESET from the parent's ULTID, under the key of the branch (M26)."""
    start = len(scene.packets)
    scene.multiply()
    numbers = (100).to_bytes(4, "big") + scene.sn.to_bytes(4, "big")
    head = CODEC.encode(Reset(5, numbers, bytes(8)))[:16]
    scene.put(scene.key().seal(of(scene.pair, Side.SERVER) + BRANCH, head, b""), False)
    told = scene.told(start)
    assert all_good(told)
    assert told[1].fields == {"reason": "5"}


def test_rekeying_in_a_branch_counts_from_its_own_first_number(scene: Scene) -> None:
    start = len(scene.packets)
    scene.multiply()
    scene.say(ANSWER + BRANCH, Op.NULCOMMIT, scene.key(), FIRST, scene.sn + 1, from_client=False)
    told = scene.told(start, rekey_threshold=50)
    assert all_good(told)
    before = len(scene.packets)
    scene.say(ANSWER + BRANCH, Op.PERSIST, scene.key(), FIRST + 49, scene.sn + 1, b"last", from_client=False)
    scene.say(ANSWER + BRANCH, Op.PERSIST, scene.key(), FIRST + 51, scene.sn + 1, b"too late", from_client=False)
    assert [packet.icc_ok for packet in scene.told(before, rekey_threshold=50)] == [True, False]


def test_a_branch_of_a_branch(scene: Scene) -> None:
    start = len(scene.packets)
    scene.multiply()
    scene.say(ANSWER + BRANCH, Op.NULCOMMIT, scene.key(), FIRST, scene.sn + 1, from_client=False)
    twig, answer = bytes.fromhex("b4a2c402"), bytes.fromhex("a25e4502")
    scene.say(twig + ANSWER, Op.MULTIPLY, scene.key(), scene.sn, 102, b"twig", from_client=True)
    key = scene.key(twig, ANSWER)
    scene.say(answer + twig, Op.PERSIST, key, 77, scene.sn + 1, b"leaf", from_client=False)
    told = scene.told(start)
    assert all_good(told)
    assert told[-1].payload == b"leaf"


def test_a_key_installed_in_a_branch(scene: Scene) -> None:
    start = len(scene.packets)
    scene.multiply()
    scene.say(ANSWER + BRANCH, Op.NULCOMMIT, scene.key(), FIRST, scene.sn + 1, from_client=False)
    later = AeadSchedule(b"later", 256).batch(1)
    scene.say(ANSWER + BRANCH, Op.PERSIST, later, FIRST + 1, scene.sn + 1, b"later", from_client=False)
    installed = KeyLogEntry("gao-07", BRANCH, ANSWER, scene.sn + 1, FIRST + 1, "gcm", 256, b"later")
    told = follow(scene.packets, [scene.logged, installed])[start:]
    assert all_good(told)
    assert told[-1].payload == b"later"


def test_forged_multiply_begins_nothing(scene: Scene) -> None:
    start = len(scene.packets)
    ids = BRANCH + of(scene.pair, Side.SERVER)
    scene.say(ids, Op.MULTIPLY, MacProtection(b"x"), scene.sn, 100, b"forged", from_client=True)
    scene.say(ANSWER + BRANCH, Op.NULCOMMIT, scene.key(), FIRST, scene.sn + 1, from_client=False)
    told = scene.told(start)
    assert [packet.icc_ok for packet in told] == [False, None]
    assert told[0].payload is None
