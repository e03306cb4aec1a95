"""On-the-wire compression of one transmit transaction (gao-07 8.8, M44): LZ4 blocks that refer to those before them.

The stream on the wire is a sequence of blocks, each with its length in 4 octets, least significant first.  A block has
131,072 octets of the application's, the last one those that remain.
"""

from __future__ import annotations

from collections.abc import Callable

from lz4.block import LZ4BlockError, compress, decompress

BLOCK = 131_072
"""Octets of the application's in a block, fewer in the last."""
HISTORY = 65_536
"""Octets before a block that it may refer to."""
LARGEST_BLOCK = BLOCK + BLOCK // 255 + 16
"""Octets that LZ4 makes of a block at the most: what cannot be compressed grows a little."""
PREFIX = 4
"""Octets of the length."""


class CompressionError(ValueError):
    """The octets are no compressed stream, or would be more than they may."""


class Compressor:
    """Makes the stream of one transaction.  Nothing comes out before a block is full, or the transaction ends."""

    __slots__ = ("_history", "_parts", "held", "plain")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.held = 0
        """Octets that wait for their block to be filled."""
        self._history = b""
        self.plain = 0
        """Octets of the application's so far."""

    def feed(self, data: bytes) -> bytes:
        """Take octets; what can go on the wire now."""
        self.plain += len(data)
        self._parts.append(data)
        self.held += len(data)
        if self.held < BLOCK:
            return b""
        whole = b"".join(self._parts)
        end = len(whole) - len(whole) % BLOCK
        self._parts = [whole[end:]]
        self.held = len(whole) - end
        return b"".join(self._block(whole[at : at + BLOCK]) for at in range(0, end, BLOCK))

    def finish(self) -> bytes:
        """The transaction ends: the rest."""
        rest = b"".join(self._parts)
        self._parts = []
        self.held = 0
        return self._block(rest) if rest else b""

    def _block(self, plain: bytes) -> bytes:
        before = {"dict": self._history} if self._history else {}
        packed: bytes = compress(plain, mode="fast", acceleration=1, store_size=False, **before)
        self._history = (self._history + plain)[-HISTORY:]
        return len(packed).to_bytes(PREFIX, "little") + packed


class Decompressor:
    """Reads the stream of one transaction, holding one block of it at the most."""

    __slots__ = ("_history", "_output", "_position", "_prefix", "_waiting", "_wanted")

    def __init__(self) -> None:
        self._history = b""
        self._waiting = b""
        self._wanted = PREFIX
        """Octets after which it goes on."""
        self._prefix = True
        """They are a length, and not a block."""
        self._output = b""
        self._position = 0

    @property
    def pending(self) -> int:
        """Octets that can be taken."""
        return len(self._output) - self._position

    @property
    def held(self) -> int:
        """Octets inside, compressed or not."""
        return self.pending + len(self._waiting)

    @property
    def complete(self) -> bool:
        """The stream may end here."""
        return self._prefix and not self._waiting

    def draw(self, read: Callable[[int], bytes]) -> None:
        """Read from the stream until there is something to take, or nothing more to read.

        `read(n)` gives up to n octets, b"" if there are none now.  Raises CompressionError.
        """
        while not self.pending:
            data = read(self._wanted - len(self._waiting))
            if not data:
                return
            self._waiting += data
            if len(self._waiting) == self._wanted:
                self._go_on()

    def _go_on(self) -> None:
        whole, self._waiting = self._waiting, b""
        if self._prefix:
            self._wanted = int.from_bytes(whole, "little")
            if not 0 < self._wanted <= LARGEST_BLOCK:
                raise CompressionError(f"a block of {self._wanted} octets")
        else:
            self._unpack(whole)
            self._wanted = PREFIX
        self._prefix = not self._prefix

    def _unpack(self, block: bytes) -> None:
        try:
            self._output = decompress(block, uncompressed_size=BLOCK, dict=self._history)
        except (LZ4BlockError, ValueError) as error:
            raise CompressionError("a block that cannot be decompressed") from error
        self._position = 0
        self._history = (self._history + self._output)[-HISTORY:]

    def take(self, max_octets: int) -> bytes:
        """At most so many octets of the application's."""
        data = self._output[self._position : self._position + max_octets]
        self._position += len(data)
        if self._position == len(self._output):
            self._output = b""
            self._position = 0
        return data
