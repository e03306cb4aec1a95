"""AES-GCM with the nonces, the additional data and the cut tag of gao-07 (8.1.3, 8.1.4, G11, G12)."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import GCM
from hypothesis import given, settings
from hypothesis import strategies as st

from fsp_trio.integrity import AeadProtection, Protection

from .independent import gcm_encrypt

IDS = bytes.fromhex("a1a2a3a4b1b2b3b4")
HEAD = bytes.fromhex("07000050180fffff010203060000abcd")
SALT = bytes.fromhex("5a17c0de")
KEYS = {128: bytes(range(16)), 256: bytes(range(32))}
# around every block boundary that matters, and the largest UDP payload
LENGTHS = [*range(50), 127, 128, 129, 255, 256, 1000, 1023, 1024, 1025]


def body_of(length: int) -> bytes:
    return bytes((7 * i + length) & 0xFF for i in range(length))


def expected_datagram(key: bytes, salt: bytes, ids: bytes, head: bytes, body: bytes, out_of_band: bool) -> bytes:
    """A sealed packet, put together from the text of the draft with the slow GCM."""
    if out_of_band:
        salt = bytes(a ^ b for a, b in zip(salt, head[:4], strict=True))
    ciphertext, tag = gcm_encrypt(key, salt + head[8:12] + head[12:16], body, head + ids[:4] + ids[4:])
    return ids + head + tag[:8] + ciphertext


@pytest.fixture(params=KEYS, ids=str)
def key(request: pytest.FixtureRequest) -> bytes:
    return KEYS[request.param]


@pytest.fixture
def protection(key: bytes) -> AeadProtection:
    return AeadProtection(key, SALT)


@pytest.mark.parametrize("out_of_band", [False, True])
def test_agrees_with_the_slow_gcm(key: bytes, protection: AeadProtection, out_of_band: bool) -> None:
    for length in LENGTHS:
        body = body_of(length)
        datagram = protection.seal(IDS, HEAD, body, out_of_band)
        assert datagram == expected_datagram(key, SALT, IDS, HEAD, body, out_of_band), length
        assert protection.open(datagram, out_of_band) == body, length


def test_largest_datagram(protection: AeadProtection) -> None:
    body = body_of(65507 - 32)
    assert protection.open(protection.seal(IDS, HEAD, body)) == body


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([16, 32]).flatmap(lambda n: st.binary(min_size=n, max_size=n)),
    st.binary(min_size=4, max_size=4),
    st.binary(min_size=8, max_size=8),
    st.binary(min_size=16, max_size=16),
    st.binary(max_size=80),
    st.booleans(),
)
def test_agrees_with_the_slow_gcm_on_anything(
    key: bytes, salt: bytes, ids: bytes, head: bytes, body: bytes, out_of_band: bool
) -> None:
    protection: Protection = AeadProtection(key, salt)
    datagram = protection.seal(ids, head, body, out_of_band)
    assert datagram == expected_datagram(key, salt, ids, head, body, out_of_band)
    assert protection.open(datagram, out_of_band) == body


def test_a_library_that_takes_short_tags_opens_it(key: bytes, protection: AeadProtection) -> None:
    body = body_of(100)
    datagram = protection.seal(IDS, HEAD, body)
    decryptor = Cipher(AES(key), GCM(SALT + HEAD[8:16], datagram[24:32], min_tag_length=8)).decryptor()
    decryptor.authenticate_additional_data(HEAD + IDS)
    assert decryptor.update(datagram[32:]) + decryptor.finalize() == body


@pytest.mark.parametrize("out_of_band", [False, True])
@pytest.mark.parametrize("length", [0, 1, 16, 40])
def test_every_flipped_bit_is_noticed(protection: AeadProtection, length: int, out_of_band: bool) -> None:
    """ULTIDs, signature, flags, window, numbers, tag, ciphertext: all of it."""
    datagram = protection.seal(IDS, HEAD, body_of(length), out_of_band)
    for bit in range(8 * len(datagram)):
        forged = bytearray(datagram)
        forged[bit // 8] ^= 0x80 >> bit % 8
        assert protection.open(bytes(forged), out_of_band) is None, bit


def test_tags_that_nearly_fit(key: bytes, protection: AeadProtection) -> None:
    body = body_of(33)
    datagram = protection.seal(IDS, HEAD, body)
    ciphertext, tag = gcm_encrypt(key, SALT + HEAD[8:16], body, HEAD + IDS)
    assert datagram[24:32] == tag[:8]
    without_aad = gcm_encrypt(key, SALT + HEAD[8:16], body, b"")[1]
    unswapped = gcm_encrypt(key, SALT + HEAD[8:16], body, IDS + HEAD)[1]
    with_tag = gcm_encrypt(key, SALT + HEAD[8:16], body, HEAD + tag[:8])[1]
    for wrong in (tag[8:], tag[1:9], bytes(8), b"\xff" * 8, without_aad[:8], unswapped[:8], with_tag[:8]):
        assert protection.open(IDS + HEAD + wrong + ciphertext) is None, wrong


def test_shortened_lengthened_and_rearranged(protection: AeadProtection) -> None:
    body = body_of(48)
    datagram = protection.seal(IDS, HEAD, body)
    changed = [datagram[:end] for end in range(32, len(datagram))]
    changed += [datagram + bytes(n) for n in (1, 8, 16)]
    changed += [datagram[:32] + datagram[48:64] + datagram[32:48] + datagram[64:], datagram[:32] + body]
    changed += [datagram[4:8] + datagram[:4] + datagram[8:]]  # reflected to its sender
    for forged in changed:
        assert protection.open(forged) is None


def test_in_band_and_out_of_band_are_different(protection: AeadProtection) -> None:
    body = body_of(20)
    assert protection.open(protection.seal(IDS, HEAD, body), True) is None
    assert protection.open(protection.seal(IDS, HEAD, body, True)) is None


def test_key_and_salt_matter(key: bytes, protection: AeadProtection) -> None:
    datagram = protection.seal(IDS, HEAD, b"secret")
    assert AeadProtection(key[::-1], SALT).open(datagram) is None
    assert AeadProtection(key, SALT[::-1]).open(datagram) is None


def test_nonces() -> None:
    """Salt, then octets 8 to 15; the second salt makes those of two kinds of packets different (8.1.4)."""
    protection = AeadProtection(KEYS[128], SALT)
    assert protection.nonce(HEAD, False).hex() == "5a17c0de010203060000abcd"
    assert protection.nonce(HEAD, True).hex() == "5d17c08e010203060000abcd"
    ack_flush = bytes.fromhex("0a000028") + HEAD[4:]
    assert protection.nonce(ack_flush, True).hex() == "5017c0f6010203060000abcd"
    assert protection.nonce(ack_flush, False) == protection.nonce(HEAD, False)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=32, max_size=300), st.booleans())
def test_opening_any_datagram(datagram: bytes, out_of_band: bool) -> None:
    assert AeadProtection(KEYS[256], SALT).open(datagram, out_of_band) is None


def test_empty_body(protection: AeadProtection) -> None:
    """NULCOMMIT and RELEASE: nothing but a tag."""
    datagram = protection.seal(IDS, HEAD, b"")
    assert len(datagram) == 32
    assert protection.open(datagram) == b""
    assert protection.open(IDS + HEAD + bytes(8)) is None
