"""Violations of gao-07, section 8.8."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant
from .places import INCOMING, OUTGOING

COMPRESSOR: Final = "core.compression:Compressor."
DECOMPRESSOR: Final = "core.compression:Decompressor."

COMPRESSION: Final = [
    Mutant(
        "compressed transactions are not noticed",
        INCOMING + "_take_in_order",
        "if flags & self.revision.compressed_flag and payload and (confirming or not self._peer_open):",
        "if False:",
        "8.8/first-packet-decides",
    ),
    Mutant(
        "decompression begins at any packet",
        INCOMING + "_take_in_order",
        "payload and (confirming or not self._peer_open)",
        "payload",
        "8.8/late-flag-ignored",
    ),
    Mutant(
        "no history of earlier blocks",
        DECOMPRESSOR + "_unpack",
        "self._history = (self._history + self._output)[-HISTORY:]",
        "pass",
        "8.8/earlier-blocks-as-history",
    ),
    Mutant(
        "a length is taken as it comes",
        DECOMPRESSOR + "draw",
        "if len(self._waiting) == self._wanted:",
        "if self._waiting:",
        "8.8/blocks-cross-packets",
    ),
    Mutant(
        "history of the transaction before",
        "core.compressing:Compressing._end_compression",
        "compressor, self._compressor = self._compressor, None",
        "compressor = self._compressor",
        "8.8/transactions-independent",
    ),
    Mutant(
        "any length of a block",
        DECOMPRESSOR + "_go_on",
        "if not 0 < self._wanted <= LARGEST_BLOCK:",
        "if not self._wanted:",
        "8.8/block-too-long",
    ),
    Mutant(
        "blocks of any size when decompressed",
        DECOMPRESSOR + "_unpack",
        "uncompressed_size=BLOCK",
        "uncompressed_size=100 * BLOCK",
        "8.8/inflated-output-refused",
    ),
    Mutant(
        "blocks that are cut off",
        "core.compressing:Compressing._inflate",
        "if received.at_end and not decompressor.pending and not decompressor.complete:",
        "if False:",
        "8.8/block-cut-by-eot",
    ),
    Mutant(
        "lengths that are cut off",
        DECOMPRESSOR + "complete",
        "return self._prefix and not self._waiting",
        "return self._prefix",
        "8.8/block-cut-by-eot:length",
    ),
    Mutant("lengths in the other order", COMPRESSOR + "_block", '"little"', '"big"', "8.8/lz4-blocks"),
    Mutant(
        "no CPR",
        OUTGOING + "_fill",
        "self._transaction_flags = self.queue.pieces[0].flags",
        "self._transaction_flags = 0",
        "8.8/lz4-blocks",
    ),
    Mutant(
        "blocks of another size",
        COMPRESSOR + "feed",
        "if self.held < BLOCK:",
        "BLOCK = 100_000\n    if self.held < BLOCK:",
        "8.8/blocks-of-128-kib",
    ),
]
