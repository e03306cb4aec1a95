"""What leaks in reference-2020: one nonce serves most packets of a transaction (docs/security.md)."""

from __future__ import annotations

from collections import Counter

from fsp_trio.revisions import REFERENCE_2020
from fsp_trio.testing.nonces import NonceLedger
from fsp_trio.wire.codec import NORMAL_HEADER, ULTID_PAIR
from fsp_trio.wire.packets import Op
from tests.core.pair import Pair, Side
from tests.core.talk import KEY, QUIET, drain

FILE = b"PUBLIC HEADER OF THE FORMAT, THE SAME IN EVERY FILE".ljust(1024, b".") + b"".join(
    b"secret line %06d\n" % number for number in range(6_000)
)
"""The first two blocks are known to everybody."""


def test_whoever_knows_one_block_reads_the_others() -> None:
    pair = Pair.connecting(revision=REFERENCE_2020)
    pair.run_for(QUIET)
    with NonceLedger(collect=True) as ledger:
        for end in (pair.client, pair.server):
            end.install_key(KEY)
        pair.client.send(FILE)
        pair.client.commit()
        for _ in range(40):
            pair.run_for(QUIET)
            drain(pair.server)
        sealed, distinct, reuses = ledger.sealed, len(ledger), len(ledger.reuses)
        ledger.reuses.clear()
    assert pair.client.committed == 1
    codec = REFERENCE_2020.codec
    hidden = [
        flight.datagram
        for flight in pair.record
        if flight.sender is Side.CLIENT and codec.ops.get(flight.datagram[ULTID_PAIR]) is Op.PURE_DATA
    ]
    nonces = Counter(datagram[ULTID_PAIR : ULTID_PAIR + 8] for datagram in hidden)
    ((_, most),) = nonces.most_common(1)
    start = ULTID_PAIR + NORMAL_HEADER
    known = FILE[512:1024]  # of the first PURE_DATA
    stream = bytes(a ^ b for a, b in zip(hidden[0][start:], known, strict=True))
    same = [each for each in hidden if each[ULTID_PAIR : ULTID_PAIR + 8] == hidden[0][ULTID_PAIR : ULTID_PAIR + 8]]
    read = b"".join(bytes(a ^ b for a, b in zip(each[start:], stream, strict=False)) for each in same)
    share = len(read) / len(FILE)
    print(f"{sealed} packets, {distinct} nonces, {reuses} of them used again, one for {most}; read {share:.1%}")
    assert b"secret line 000000\nsecret line 000001\n" in read
    assert share > 0.9
    assert reuses > 0.9 * len(hidden)
