from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fsp_trio.cli.protocol import DIGEST_SIZE, Header, ProtocolViolation, Verdict, VerdictKind

names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60)


@given(names, st.integers(0, 2**64 - 1), st.integers(0, 0o777))
def test_header_comes_back(name: str, size: int, mode: int) -> None:
    header = Header(name, size, mode)
    message = header.encode()
    assert len(message) <= Header.LARGEST
    assert Header.decode_untrusted(message) == header


@given(st.sampled_from(VerdictKind), names, st.binary(min_size=DIGEST_SIZE, max_size=DIGEST_SIZE))
def test_verdict_comes_back(kind: VerdictKind, remark: str, digest: bytes) -> None:
    verdict = Verdict(kind, remark, digest)
    message = verdict.encode()
    assert len(message) <= Verdict.LARGEST
    assert Verdict.decode_untrusted(message) == verdict


def test_what_is_too_long_is_cut_between_characters() -> None:
    header = Header("ö" * 200, 1)
    assert len(header.encode()) <= Header.LARGEST
    assert Header.decode_untrusted(header.encode()).name == "ö" * 127
    verdict = Verdict(VerdictKind.REFUSED, "ü" * 1000)
    assert Verdict.decode_untrusted(verdict.encode()).remark == "ü" * 256


def test_privileges_do_not_travel() -> None:
    assert Header.decode_untrusted(Header("tool", 1, 0o4755).encode()).mode == 0o755
    message = bytearray(Header("tool", 1, 0o755).encode())
    message[5] = 0x0F
    assert Header.decode_untrusted(bytes(message)).mode & ~0o777 == 0


@given(st.binary(max_size=64) | st.binary(max_size=60).map(lambda rest: b"FSPF" + rest))
def test_any_octets_are_a_header_or_a_violation(message: bytes) -> None:
    try:
        header = Header.decode_untrusted(message)
    except ProtocolViolation:
        return
    assert Header.decode_untrusted(header.encode()) == header


@given(st.binary(max_size=64))
def test_any_octets_are_a_verdict_or_a_violation(message: bytes) -> None:
    try:
        verdict = Verdict.decode_untrusted(message)
    except ProtocolViolation:
        return
    assert verdict.encode() == message


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (b"GET / HTTP/1.1", "does not send files"),
        (b"FSPF\x01", "too short"),
        (b"FSPF\x02" + bytes(10) + b"x", "version 2"),
        (b"FSPF\x01" + bytes(10) + b"\xff", "UTF-8"),
    ],
)
def test_why_a_header_is_none(message: bytes, words: str) -> None:
    with pytest.raises(ProtocolViolation, match=words):
        Header.decode_untrusted(message)
