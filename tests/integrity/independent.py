"""Slow second implementations; of the libraries that the package uses they share only AES on one block."""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import ECB

_GCM_REDUCTION = 0xE1 << 120
_CRC64_POLYNOMIAL = 0x42F0E1EBA9EA3693
_M64 = 2**64 - 1


def aes_block(key: bytes, block: bytes) -> bytes:
    return Cipher(AES(key), ECB()).encryptor().update(block)


def _multiply(x: int, y: int) -> int:
    """Product in GCM's field; the leftmost bit is the coefficient of 1 (NIST SP 800-38D 6.3)."""
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ _GCM_REDUCTION if y & 1 else y >> 1
    return product


def _blocks(octets: bytes) -> list[bytes]:
    return [octets[i : i + 16] for i in range(0, len(octets), 16)]


def gcm_encrypt(key: bytes, nonce: bytes, plaintext: bytes, aad: bytes) -> tuple[bytes, bytes]:
    """Ciphertext and the whole tag of 16 octets, for a nonce of 12 (NIST SP 800-38D 7.1)."""
    subkey = int.from_bytes(aes_block(key, bytes(16)), "big")
    ciphertext = b""
    for counter, block in enumerate(_blocks(plaintext), start=2):
        keystream = aes_block(key, nonce + counter.to_bytes(4, "big"))
        ciphertext += bytes(a ^ b for a, b in zip(block, keystream, strict=False))
    lengths = (8 * len(aad)).to_bytes(8, "big") + (8 * len(ciphertext)).to_bytes(8, "big")
    ghash = 0
    for block in [*_blocks(aad), *_blocks(ciphertext), lengths]:
        ghash = _multiply(ghash ^ int.from_bytes(block.ljust(16, b"\0"), "big"), subkey)
    mask = aes_block(key, nonce + (1).to_bytes(4, "big"))
    return ciphertext, bytes(a ^ b for a, b in zip(ghash.to_bytes(16, "big"), mask, strict=True))


def crc64(octets: bytes, start: int = 0) -> int:
    """CRC-64/ECMA-182, one bit at a time: most significant bit first, nothing inverted."""
    remainder = start
    for octet in octets:
        remainder ^= octet << 56
        for _ in range(8):
            overflow = remainder >> 63
            remainder = remainder << 1 & _M64
            if overflow:
                remainder ^= _CRC64_POLYNOMIAL
    return remainder


_BLAKE2B_IV = (
    0x6A09E667F3BCC908,
    0xBB67AE8584CAA73B,
    0x3C6EF372FE94F82B,
    0xA54FF53A5F1D36F1,
    0x510E527FADE682D1,
    0x9B05688C2B3E6C1F,
    0x1F83D9ABFB41BD6B,
    0x5BE0CD19137E2179,
)
_BLAKE2B_SIGMA = (
    (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
    (14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3),
    (11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4),
    (7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8),
    (9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13),
    (2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9),
    (12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11),
    (13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10),
    (6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5),
    (10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0),
)
_BLAKE2B_LANES = (
    (0, 4, 8, 12),
    (1, 5, 9, 13),
    (2, 6, 10, 14),
    (3, 7, 11, 15),
    (0, 5, 10, 15),
    (1, 6, 11, 12),
    (2, 7, 8, 13),
    (3, 4, 9, 14),
)


def _rotate(word: int, bits: int) -> int:
    return word >> bits | word << (64 - bits) & _M64


def _blake2b_block(state: list[int], block: bytes, count: int, last: bool) -> list[int]:
    words = [int.from_bytes(block[i : i + 8], "little") for i in range(0, 128, 8)]
    v = [*state, *_BLAKE2B_IV]
    v[12] ^= count
    v[14] ^= _M64 if last else 0
    for turn in range(12):
        sigma = _BLAKE2B_SIGMA[turn % 10]
        for lane, (a, b, c, d) in enumerate(_BLAKE2B_LANES):
            v[a] = v[a] + v[b] + words[sigma[2 * lane]] & _M64
            v[d] = _rotate(v[d] ^ v[a], 32)
            v[c] = v[c] + v[d] & _M64
            v[b] = _rotate(v[b] ^ v[c], 24)
            v[a] = v[a] + v[b] + words[sigma[2 * lane + 1]] & _M64
            v[d] = _rotate(v[d] ^ v[a], 16)
            v[c] = v[c] + v[d] & _M64
            v[b] = _rotate(v[b] ^ v[c], 63)
    return [h ^ low ^ high for h, low, high in zip(state, v[:8], v[8:], strict=True)]


def blake2b(octets: bytes, size: int, key: bytes = b"") -> bytes:
    """RFC 7693, keyed or not."""
    if key:
        octets = key.ljust(128, b"\0") + octets
    state: list[int] = [*_BLAKE2B_IV]
    state[0] ^= 0x01010000 ^ len(key) << 8 ^ size
    whole = max(0, (len(octets) - 1) // 128)
    for i in range(whole):
        state = _blake2b_block(state, octets[128 * i : 128 * (i + 1)], 128 * (i + 1), last=False)
    state = _blake2b_block(state, octets[128 * whole :].ljust(128, b"\0"), len(octets), last=True)
    return b"".join(word.to_bytes(8, "little") for word in state)[:size]
