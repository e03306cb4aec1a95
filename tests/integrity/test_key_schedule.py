"""Extraction, expansion, re-keying and branches (gao-07 7.4, 7.5, 11.5; G8, G10, M23)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp_trio.integrity import AeadSchedule
from fsp_trio.integrity.schedule import BATCHES_KEPT, hash_subkey

from .independent import aes_block, blake2b
from .known import KNOWN, unhex

IKM = bytes(range(0x80, 0xA0))


def chain(ikm: bytes, key_bits: int, count: int) -> list[tuple[bytes, bytes]]:
    """Keys and salts of the first batches, by the text of 7.4 and 7.5."""
    master = blake2b(bytes(32) + ikm, 32)
    size = key_bits // 8 + 4
    octets = blake2b(b"Establishes an FSP session" + bytes.fromhex("00000001"), size, master)
    found = [(octets[:-4], octets[-4:])]
    for index in range(2, count + 1):
        subkey = aes_block(found[-1][0], bytes(16))
        octets = blake2b(subkey + b"Sustains an FSP connection" + index.to_bytes(4, "big"), size, master)
        found.append((octets[:-4], octets[-4:]))
    return found


@pytest.mark.parametrize("case", KNOWN["aead"])
def test_known_chain(case: dict[str, Any]) -> None:
    schedule = AeadSchedule(unhex(case["ikm"]), case["key_bits"])
    assert schedule.master_key.hex() == case["master_key"]
    for index, batch in enumerate(case["batches"], start=1):
        protection = schedule.batch(index)
        assert protection.key.hex() == batch["key"]
        assert protection.salt.hex() == batch["salt"]
        if batch["hash_subkey"] is not None:
            assert hash_subkey(protection.key).hex() == batch["hash_subkey"]


@settings(max_examples=20, deadline=None)
@given(st.binary(min_size=1, max_size=200), st.sampled_from([128, 256]))
def test_chain_agrees_with_the_slow_hash(ikm: bytes, key_bits: int) -> None:
    schedule = AeadSchedule(ikm, key_bits)
    for index, expected in enumerate(chain(ikm, key_bits, 4), start=1):
        protection = schedule.batch(index)
        assert (protection.key, protection.salt) == expected


def test_short_key_is_no_part_of_a_long_one() -> None:
    """The length goes into the hash, even for the same installed octets (G10)."""
    short, long = AeadSchedule(IKM, 128).batch(1), AeadSchedule(IKM, 256).batch(1)
    assert (len(short.key), len(long.key)) == (16, 32)
    assert (len(short.salt), len(long.salt)) == (4, 4)
    assert short.key not in long.key + long.salt


@pytest.mark.parametrize("key_bits", [0, 16, 32, 64, 127, 192, 512, -128])
def test_key_sizes_that_do_not_exist(key_bits: int) -> None:
    with pytest.raises(ValueError, match="128 or 256"):
        AeadSchedule(IKM, key_bits)


def test_no_key_material() -> None:
    with pytest.raises(ValueError, match="no key material"):
        AeadSchedule(b"", 256)


@pytest.mark.parametrize("index", [0, -1])
def test_batches_begin_with_one(index: int) -> None:
    with pytest.raises(ValueError, match="no batch"):
        AeadSchedule(IKM, 128).batch(index)


def test_same_batch_is_the_same_object() -> None:
    schedule = AeadSchedule(IKM, 128)
    assert schedule.batch(1) is schedule.batch(1)
    assert schedule.batch(5) is schedule.batch(5)
    assert schedule.batch(4).key != schedule.batch(5).key


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 40), max_size=60))
def test_batches_in_any_order(indexes: list[int]) -> None:
    """Two directions move along one chain at their own speeds, and only so many keys are remembered."""
    expected = chain_of_forty()
    schedule = AeadSchedule(IKM, 128)
    for index in indexes:
        protection = schedule.batch(index)
        assert (protection.key, protection.salt) == expected[index - 1]
        assert len(schedule._batches) <= BATCHES_KEPT


_FORTY: list[tuple[bytes, bytes]] = []


def chain_of_forty() -> list[tuple[bytes, bytes]]:
    if not _FORTY:
        _FORTY.extend(chain(IKM, 128, 40))
    return _FORTY


def test_one_direction_far_ahead() -> None:
    schedule = AeadSchedule(IKM, 256)
    for index in range(1, 200):
        schedule.batch(index)
    assert len(schedule._batches) == BATCHES_KEPT
    assert schedule.batch(2).key == AeadSchedule(IKM, 256).batch(2).key
    assert schedule.batch(199) is schedule.batch(199)


def test_next_batch_takes_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Walking along the chain does not begin again at its start."""
    steps: list[bytes] = []

    def counting(key: bytes) -> bytes:
        steps.append(key)
        return hash_subkey(key)

    monkeypatch.setattr("fsp_trio.integrity.schedule.hash_subkey", counting)
    schedule = AeadSchedule(IKM, 256)
    for index in range(1, 30):
        schedule.batch(index)
    assert len(steps) == 28


def test_both_ends_open_what_the_other_sealed() -> None:
    ours, theirs = AeadSchedule(IKM, 256), AeadSchedule(IKM, 256)
    datagram = ours.batch(3).seal(bytes(8), bytes(16), b"body")
    assert theirs.batch(3).open(datagram) == b"body"
    assert theirs.batch(2).open(datagram) is None
