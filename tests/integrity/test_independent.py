"""The second implementations are right themselves."""

from __future__ import annotations

from typing import Any

import pytest

from .independent import blake2b, crc64, gcm_encrypt
from .known import KNOWN, unhex


@pytest.mark.parametrize("case", KNOWN["blake2b"])
def test_blake2b(case: dict[str, Any]) -> None:
    assert blake2b(unhex(case["input"]), case["outlen"], unhex(case["key"])).hex() == case["out"]


@pytest.mark.parametrize("case", KNOWN["crc64"])
def test_crc64(case: dict[str, Any]) -> None:
    assert f"{crc64(unhex(case['input']), int(case['init'], 16)):016x}" == case["crc"]


PLAINTEXT = (
    "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
    "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
)


@pytest.mark.parametrize(
    ("key", "nonce", "plaintext", "aad", "ciphertext", "tag"),
    [  # test cases 1, 2, 4 and 14 of McGrew and Viega, "The Galois/Counter Mode of Operation"
        ("00" * 16, "00" * 12, "", "", "", "58e2fccefa7e3061367f1d57a4e7455a"),
        (
            "00" * 16,
            "00" * 12,
            "00" * 16,
            "",
            "0388dace60b6a392f328c2b971b2fe78",
            "ab6e47d42cec13bdf53a67b21257bddf",
        ),
        (
            "feffe9928665731c6d6a8f9467308308",
            "cafebabefacedbaddecaf888",
            PLAINTEXT,
            "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e"
            "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
            "5bc94fbc3221a5db94fae95ae7121a47",
        ),
        (
            "00" * 32,
            "00" * 12,
            "00" * 16,
            "",
            "cea7403d4d606b6e074ec5d3baf39d18",
            "d0d1c8a799996bf0265b98b5d48ab919",
        ),
    ],
)
def test_gcm(key: str, nonce: str, plaintext: str, aad: str, ciphertext: str, tag: str) -> None:
    found = gcm_encrypt(unhex(key), unhex(nonce), unhex(plaintext), unhex(aad))
    assert (found[0].hex(), found[1].hex()) == (ciphertext, tag)
