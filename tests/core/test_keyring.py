"""Which key protects which number (gao-07 7.3, 7.5; B14, M32, M33, N2b, F7)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp_trio.core.keyring import FURTHEST_FIRST, MAXIMUM_ERAS, OLD_KEY_LIFE, Direction, Era, Keyring, Secret
from fsp_trio.integrity import AeadSchedule, Crc64Protection, MacProtection
from fsp_trio.wire.serial import add, sub

ZERO = bytes(8)
CRC64 = Crc64Protection(b"AAAA", b"BBBB", ZERO, ZERO, bytes(4), bytes(4), ZERO)
FIRSTS = st.sampled_from([0, 5, 2**31 - 7, 2**32 - 70, 2**32 - 1])


def chain(material: bytes = b"k", rekey_after: int = 64) -> Secret:
    return Secret.chain(AeadSchedule(material, 128), rekey_after)


def keyring_of(send_first: int = 0, receive_first: int = 2**31, *, budget: int = 2**32) -> Keyring:
    return Keyring(Secret.constant(CRC64), send_first, receive_first, key_life=2**30, forgery_budget=budget)


@given(FIRSTS, st.lists(st.integers(1, 200), min_size=1, max_size=2), st.lists(st.integers(-5, 700), max_size=30))
def test_every_number_has_the_key_of_its_era_and_batch(first: int, lengths: list[int], asked: list[int]) -> None:
    direction = Direction(first, Secret.constant(CRC64))
    starts, secrets = [0], [Secret.constant(CRC64)]
    for index, length in enumerate(lengths):
        starts.append(starts[-1] + length)
        secrets.append(chain(bytes([index])))
        direction.begin(add(first, starts[-1]), secrets[-1])
    for offset in asked:
        protection, run = direction.run(add(first, offset))
        era = max([i for i, start in enumerate(starts) if start <= offset], default=0)
        if era == 0:
            assert protection is CRC64
            expected_run = starts[1] - offset
        else:
            schedule = secrets[era].schedule
            assert schedule is not None
            batch, used = divmod(offset - starts[era], 64)
            assert protection is schedule.batch(batch + 1), "7.5: the next batch every `rekey_after` numbers"
            expected_run = 64 - used
            if era + 1 < len(starts):
                expected_run = min(expected_run, starts[era + 1] - offset)
        assert run == expected_run
        assert direction.protection(add(first, offset)) is protection


def test_only_so_many_eras_are_remembered() -> None:
    direction = Direction(0, Secret.constant(CRC64))
    for i in range(1, 6):
        direction.begin(i * 10, Secret.constant(MacProtection(bytes([i]))))
    assert [era.first for era in direction.eras] == [30, 40, 50]
    assert len(direction.eras) == MAXIMUM_ERAS
    assert direction.era(5) is direction.eras[0], "an earlier number belongs to the oldest"
    assert direction.newest.first == 50


@pytest.mark.parametrize("first", [0, 12345, 2**32 - 1])
def test_b14_an_era_may_be_longer_than_the_number_space(first: int) -> None:
    """B14, 7.5: numbers wrap, the batches go on."""
    rekey_after = 2**29
    era = Era(first, chain(b"k", rekey_after))
    reference = AeadSchedule(b"k", 128)
    for step in range(40):
        total = step * (rekey_after // 2) + 17
        sn = add(first, total)
        era.move_along(sn)
        assert 0 <= sub(sn, era.first) < 2**31
        protection, run = era.batch(sub(sn, era.first))
        assert run == rekey_after - total % rekey_after
        batch = total // rekey_after + 1
        if batch < 12:
            assert protection.seal(bytes(8), bytes(16), b"") == reference.batch(batch).seal(bytes(8), bytes(16), b"")


def test_moving_along_leaves_short_eras_and_single_keys_alone() -> None:
    era = Era(7, chain())
    era.move_along(7 + FURTHEST_FIRST - 1)
    assert era.first == 7
    fixed = Era(7, Secret.constant(MacProtection(b"m")))
    fixed.move_along(7 + FURTHEST_FIRST)
    assert fixed.first == 7


def test_m33_old_keys_live_a_minute_longer_than_their_last_number() -> None:
    """M33: until all of its numbers are acknowledged both ways, and 60 s more."""
    ring = keyring_of()
    ring.retire(5, add(2**31, 5), 0.0)
    assert len(ring.sending.eras) == 1
    ring.begin(ring.sending, 10, chain())
    ring.begin(ring.receiving, add(2**31, 10), chain())
    assert ring.keyed
    ring.retire(10, add(2**31, 11), 1000.0)
    ring.retire(11, add(2**31, 10), 2000.0)
    ring.retire(10, add(2**31, 11), 3000.0)
    assert len(ring.sending.eras) == 2, "both directions must have gone past"
    ring.retire(11, add(2**31, 11), 4000.0)
    ring.retire(12, add(2**31, 12), 4000.0 + OLD_KEY_LIFE - 0.1)
    assert len(ring.receiving.eras) == 2
    ring.retire(12, add(2**31, 12), 4000.0 + OLD_KEY_LIFE)
    assert len(ring.sending.eras) == len(ring.receiving.eras) == 1
    assert ring.sending.protection(3) is ring.sending.protection(10), "there is no other key any more"


def test_a_new_key_puts_the_forgetting_off() -> None:
    ring = keyring_of()
    ring.begin(ring.sending, 10, chain())
    ring.begin(ring.receiving, add(2**31, 10), chain())
    ring.retire(11, add(2**31, 11), 0.0)
    ring.begin(ring.sending, 20, chain(b"second"))
    ring.begin(ring.receiving, add(2**31, 20), chain(b"second"))
    ring.retire(21, add(2**31, 21), 61.0)
    assert len(ring.sending.eras) == 3
    ring.retire(21, add(2**31, 21), 122.0)
    assert len(ring.sending.eras) == 1


@pytest.mark.parametrize(
    ("send_first", "receive_first", "refused"),
    [
        (0, 164, False),
        (0, 163, True),
        (164, 0, False),
        (163, 0, True),
        (2**32 - 100, 64, False),
        (2**32 - 100, 63, True),
        (7, 7, True),
    ],
)
def test_n2b_distance_of_the_two_directions(send_first: int, receive_first: int, refused: bool) -> None:
    """N2b: with 64 numbers to a batch and a margin of 100."""
    ring = keyring_of(send_first, receive_first)
    assert ring.too_near(chain(), send_first, receive_first, 100) is refused
    constant = Secret.constant(MacProtection(b"m"))  # no nonce, no danger
    assert not ring.too_near(constant, send_first, receive_first, 100)


@pytest.mark.parametrize(
    ("octets", "cost"), [(32, 1), (2048, 1), (2049, 8), (8192, 8), (8193, 64), (32_768, 64), (65_000, 512)]
)
def test_f7_cost_of_a_forgery(octets: int, cost: int) -> None:
    """F7, M32: an eighth for every fourfold length (NIST SP 800-38D, appendix C)."""
    ring = keyring_of(budget=1000)
    assert ring.forged(octets) == (cost >= 1000)
    assert ring.spent == cost


def test_f7_budget_is_per_key() -> None:
    ring = keyring_of(budget=3)
    assert [ring.forged(100) for _ in range(3)] == [False, False, True]
    ring.begin(ring.receiving, 10, chain())
    assert not ring.forged(100)


def test_eras_without_a_key_are_not_keyed() -> None:
    assert not keyring_of().keyed
    assert keyring_of()._forget_at == math.inf
