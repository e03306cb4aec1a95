"""A ledger of nonces: AES-GCM dies with one repeated nonce, so tests watch every packet that is sealed (N5)."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from types import TracebackType
from typing import Final, Self

from fsp_trio.integrity import AeadProtection
from fsp_trio.integrity.jason import HeaderInClearAead

__all__ = ["NonceLedger", "NonceReuse"]

LIMIT: Final = 2**20
"""Entries remembered by default; one takes about 250 octets, however long the packet."""


class NonceReuse(AssertionError):
    """One key and nonce served two different packets."""


class NonceLedger:
    """Watches `AeadProtection.seal` from `__enter__` to `__exit__`, for all connections of the process.

    Sealing the same packet again is allowed: a retransmission repeats its octets (N1).  A second, different use of
    a key and nonce raises NonceReuse where it happens; with `collect` it is noted in `reuses` instead, and NonceReuse
    is raised at the end of the context.

    Memory is bounded: of each packet a digest is kept, of all packets the newest `limit`.  `forgotten` tells how many
    entries were given up, so a ledger with `forgotten == 0` has compared everything.  Ledgers may be nested.
    """

    def __init__(self, *, collect: bool = False, limit: int = LIMIT) -> None:
        self.sealed = 0
        """Packets seen."""
        self.forgotten = 0
        """Entries given up because there were more than `limit`."""
        self.reuses: list[tuple[bytes, bytes, bytes]] = []
        """(nonce, digest of the first packet, digest of the second); the key stays out of test reports."""
        self._collect = collect
        self._limit = limit
        self._entries: dict[tuple[bytes, bytes], bytes] = {}
        self._originals: dict[type[AeadProtection], Callable[..., bytes]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def __enter__(self) -> Self:
        for kind in (AeadProtection, HeaderInClearAead):
            self._watch(kind)
        return self

    def _watch(self, kind: type[AeadProtection]) -> None:
        original = kind.seal
        self._originals[kind] = original

        def seal(protection: AeadProtection, ids: bytes, head: bytes, body: bytes, out_of_band: bool = False) -> bytes:
            self._note(protection.key, protection.nonce_of(head, body, out_of_band), ids + head + body)
            return original(protection, ids, head, body, out_of_band)

        setattr(kind, "seal", seal)  # noqa: B010 (a patch, which the types rightly forbid)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for watched, original in self._originals.items():
            setattr(watched, "seal", original)  # noqa: B010
        if self.reuses and error is None:
            raise NonceReuse(f"{len(self.reuses)} nonces were used twice")

    def _note(self, key: bytes, nonce: bytes, packet: bytes) -> None:
        self.sealed += 1
        digest = blake2b(packet, digest_size=16).digest()
        entries = self._entries
        first = entries.setdefault((key, nonce), digest)
        if first != digest:
            if not self._collect:
                raise NonceReuse(f"nonce {nonce.hex()} was used for two packets")
            self.reuses.append((nonce, first, digest))
            del self.reuses[self._limit :]
        if len(entries) > self._limit:
            del entries[next(iter(entries))]
            self.forgotten += 1
