"""N5: the ledger itself."""

from __future__ import annotations

import pytest

from fsp_trio.integrity import AeadProtection
from fsp_trio.testing.nonces import NonceLedger, NonceReuse

IDS = b"AAAABBBB"
ORIGINAL = AeadProtection.seal


def head(sn: int, expected: int, window: int = 7) -> bytes:
    return b"\x09\x00\x00\x18" + window.to_bytes(4, "big") + sn.to_bytes(4, "big") + expected.to_bytes(4, "big")


def protection(octet: int = 1) -> AeadProtection:
    return AeadProtection(bytes([octet]) * 16, bytes(4))


def test_the_same_packet_twice_is_no_reuse() -> None:
    with NonceLedger() as ledger:
        first = protection().seal(IDS, head(1, 2), b"payload")
        assert protection().seal(IDS, head(1, 2), b"payload") == first
    assert ledger.sealed == 2
    assert len(ledger) == 1
    assert ORIGINAL is AeadProtection.seal


@pytest.mark.parametrize(
    ("ids", "second", "body"),
    [(IDS, head(1, 2), b"Payload"), (IDS, head(1, 2, window=8), b"payload"), (b"AAAABBBC", head(1, 2), b"payload")],
)
def test_another_packet_is(ids: bytes, second: bytes, body: bytes) -> None:
    with NonceLedger():
        protection().seal(IDS, head(1, 2), b"payload")
        with pytest.raises(NonceReuse, match="two packets"):
            protection().seal(ids, second, body)
    assert ORIGINAL is AeadProtection.seal


def test_other_keys_numbers_and_kinds_are_none() -> None:
    with NonceLedger() as ledger:
        protection(1).seal(IDS, head(1, 2), b"a")
        protection(2).seal(IDS, head(1, 2), b"b")
        protection(1).seal(IDS, head(2, 2), b"c")
        protection(1).seal(IDS, head(1, 3), b"d")
        protection(1).seal(IDS, head(1, 2), b"e", True)  # the second salt keeps it apart (8.1.4)
    assert len(ledger) == 5


def test_collecting() -> None:
    ledger = NonceLedger(collect=True)

    def use() -> None:
        with ledger:
            for body in (b"a", b"b", b"c"):
                protection().seal(IDS, head(1, 2), body)

    with pytest.raises(NonceReuse, match="2 nonces"):
        use()
    assert len(ledger.reuses) == 2
    assert ORIGINAL is AeadProtection.seal


def test_an_error_inside_is_not_covered_up() -> None:
    def use() -> None:
        with NonceLedger(collect=True):
            for body in (b"a", b"b"):
                protection().seal(IDS, head(1, 2), body)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        use()


def test_memory_is_bounded() -> None:
    with NonceLedger(limit=10) as ledger:
        for sn in range(25):
            protection().seal(IDS, head(sn, 0), b"")
        assert len(ledger) == 10
        assert ledger.forgotten == 15
        with pytest.raises(NonceReuse):
            protection().seal(IDS, head(24, 0), b"another")
        protection().seal(IDS, head(0, 0), b"forgotten")


def test_ledgers_nest() -> None:
    with NonceLedger() as outer:
        with NonceLedger() as inner:
            protection().seal(IDS, head(1, 0), b"")
        protection().seal(IDS, head(2, 0), b"")
    assert (outer.sealed, inner.sealed) == (2, 1)
