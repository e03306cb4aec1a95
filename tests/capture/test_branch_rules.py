"""Keys of branches in the revisions whose connections cannot be simulated with MULTIPLY: known answers."""

from __future__ import annotations

import pytest

from fsp_trio.capture.branches import Branching, gao_branch, jason_branch, reference_branch
from fsp_trio.capture.keys import Secret
from fsp_trio.integrity import AeadProtection, MacProtection, mac_schedule
from fsp_trio.integrity.branch import branch_mac_key
from fsp_trio.integrity.protection import Protection
from fsp_trio.integrity.schedule import hash_subkey
from fsp_trio.integrity.suite import GAO, IntegritySuite

PARENT = bytes(range(0x80, 0xA0))
JASON = {  # computed with the author's program of 2017
    128: "f47a43e12d0e058c9c88f0bd20a9ed87",
    256: "ab3fdba30fa25852b0fac14a6fccac9aeee37e79175dda5802fff60311345e28",
}
BRANCHING = Branching(bytes.fromhex("51525354"), bytes.fromhex("a1a2a3a4"), 1005, 9001)


class Raw:
    """A schedule of jason-00: the key as it is, and a salt made of it (A18)."""

    def __init__(self, key: bytes, bits: int) -> None:
        assert len(key) * 8 == bits
        self.key = key

    def batch(self, index: int) -> Protection:
        salt = bytes(one ^ other for one, other in zip(hash_subkey(self.key), self.key[:4], strict=False))
        return AeadProtection(self.key, salt)


@pytest.mark.parametrize("bits", JASON)
def test_jason_00(bits: int) -> None:
    suite = IntegritySuite(crc64=GAO.crc64, mac=GAO.mac, aead=Raw)
    parent = Secret(schedule=Raw(PARENT[: bits // 8], bits), rekey_after=2**32)
    branch = jason_branch(suite, parent, 1, BRANCHING)
    assert isinstance(branch.schedule, Raw)
    assert branch.schedule.key == bytes.fromhex(JASON[bits])


def test_a_mac_has_no_branches_in_jason_00() -> None:
    with pytest.raises(ValueError, match="a MAC has no branches"):
        jason_branch(GAO, Secret(fixed=MacProtection(PARENT), rekey_after=2**32), 1, BRANCHING)


def test_mac() -> None:
    """The key of the branch is its master key too (gao-07 11.5)."""
    parent = Secret(fixed=MacProtection(PARENT), mac_key=mac_schedule(PARENT), rekey_after=2**32)
    branch = gao_branch(GAO, parent, 1, BRANCHING)
    assert branch.mac_key == branch_mac_key(parent.mac_key, BRANCHING.initiator_ultid, BRANCHING.responder_ultid)
    assert branch.fixed is not None
    datagram = branch.fixed.seal(bytes(8), bytes(16), b"body")
    assert branch.fixed.open(datagram) == b"body"
    assert MacProtection(branch.mac_key).open(datagram) is None
    assert reference_branch(GAO, parent, 1, BRANCHING).mac_key != branch.mac_key
