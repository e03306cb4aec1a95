"""Keys of branches (gao-07 11.5, M23; jason-00 10.2, A22; reference-2020): known answers and what they depend on."""

from __future__ import annotations

from dataclasses import replace
from hashlib import blake2b

import pytest

from fsp_trio.integrity.branch import Branching, branch_mac, branch_schedule
from fsp_trio.integrity.jason import JASON, RawKey
from fsp_trio.integrity.mac import MacProtection
from fsp_trio.integrity.reference import REFERENCE, RepeatingAead
from fsp_trio.integrity.schedule import AeadSchedule, hash_subkey, mac_schedule
from fsp_trio.integrity.suite import GAO

IKM = bytes(range(0x80, 0xA0))
BRANCHING = Branching(bytes.fromhex("51525354"), bytes.fromhex("a1a2a3a4"), 1005, 9001)
# 01, the label, 00, the two ULTIDs; what follows is the length of the key in bits
INFO = bytes.fromhex("01" + "4d756c7469706c7920616e2046535020636f6e6e656374696f6e" + "00" + "51525354" + "a1a2a3a4")
JASON_KEYS = {  # computed with the author's program of 2017
    128: "f47a43e12d0e058c9c88f0bd20a9ed87",
    256: "ab3fdba30fa25852b0fac14a6fccac9aeee37e79175dda5802fff60311345e28",
}


@pytest.mark.parametrize(("bits", "length"), [(128, "00000080"), (256, "00000100")])
def test_aead(bits: int, length: str) -> None:
    parent = AeadSchedule(IKM, bits)
    branch = branch_schedule(parent, 1, BRANCHING)
    octets = blake2b(INFO + bytes.fromhex(length), key=parent.master_key, digest_size=bits // 8 + 4).digest()
    assert (branch.batch(1).key, branch.batch(1).salt) == (octets[:-4], octets[-4:])
    assert (branch.master_key, branch.key_bits) == (parent.master_key, bits)


def test_the_chain_of_a_branch_goes_on_from_its_own_key() -> None:
    """7.5 with the master key of the parent and the hash subkey of the branch's key before."""
    parent = AeadSchedule(IKM, 128)
    branch = branch_schedule(parent, 3, BRANCHING)
    info = hash_subkey(branch.batch(1).key) + b"Sustains an FSP connection" + bytes([0, 0, 0, 2])
    octets = blake2b(info, key=parent.master_key, digest_size=20).digest()
    assert branch.batch(2).key == octets[:16]
    assert branch.batch(2).key != parent.batch(2).key


def test_mac() -> None:
    parent = MacProtection(IKM)
    branch = branch_mac(parent, BRANCHING)
    assert branch.key == blake2b(INFO + bytes.fromhex("00000200"), key=mac_schedule(IKM), digest_size=64).digest()
    datagram = branch.seal(bytes(8), bytes(16), b"body")
    assert branch.open(datagram) == b"body"
    assert parent.open(datagram) is None
    assert MacProtection(branch.key).open(datagram) is None  # it is not extracted once more


@pytest.mark.parametrize(
    "change",
    [{"initiator_ultid": b"1234"}, {"responder_ultid": b"1234"}],
    ids=["initiator", "responder"],
)
def test_each_branch_has_a_key_of_its_own(change: dict[str, bytes]) -> None:
    other = replace(BRANCHING, **change)  # type: ignore[arg-type]
    parent = AeadSchedule(IKM, 256)
    assert branch_schedule(parent, 1, other).batch(1).key != branch_schedule(parent, 1, BRANCHING).batch(1).key
    assert branch_mac(MacProtection(IKM), other).key != branch_mac(MacProtection(IKM), BRANCHING).key


@pytest.mark.parametrize("bits", JASON_KEYS)
def test_jason_00(bits: int) -> None:
    branch = JASON.branch_aead(RawKey(IKM[: bits // 8], bits), 1, BRANCHING)
    assert isinstance(branch, RawKey)
    assert branch.batch(1).key == bytes.fromhex(JASON_KEYS[bits])


@pytest.mark.parametrize("change", [{"multiply_sn": 1006}, {"responder_sn": 9002}], ids=["multiply", "responder"])
def test_numbers_make_the_key_in_jason_00(change: dict[str, int]) -> None:
    parent = RawKey(IKM[:16], 128)
    other = JASON.branch_aead(parent, 1, replace(BRANCHING, **change))  # type: ignore[arg-type]
    assert isinstance(other, RawKey)
    assert other.batch(1).key.hex() != JASON_KEYS[128]


def test_a_mac_has_no_branches_in_jason_00() -> None:
    with pytest.raises(ValueError, match="a MAC has no branches"):
        JASON.branch_mac(JASON.mac(IKM), BRANCHING)


def test_reference_2020_departs() -> None:
    """The hash subkey in front, of the batch that MULTIPLY is under; no length for a MAC."""
    parent = REFERENCE.aead(IKM[:16], 128)
    assert isinstance(parent, AeadSchedule)
    for index in (1, 2):
        branch = REFERENCE.branch_aead(parent, index, BRANCHING)
        info = hash_subkey(parent.batch(index).key) + INFO + bytes.fromhex("00000080")
        octets = blake2b(info, key=parent.master_key, digest_size=20).digest()
        first = branch.batch(1)
        assert isinstance(first, RepeatingAead)
        assert (first.key, first.salt) == (octets[:16], octets[16:])
    mac = REFERENCE.branch_mac(REFERENCE.mac(IKM), BRANCHING)
    assert isinstance(mac, MacProtection)
    assert mac.key == blake2b(INFO + bytes(4), key=mac_schedule(IKM), digest_size=64).digest()
    drafted = GAO.branch_mac(GAO.mac(IKM), BRANCHING)
    assert isinstance(drafted, MacProtection)
    assert drafted.key != mac.key
