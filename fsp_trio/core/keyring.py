"""Which key protects which number, in each direction (gao-07 7.2, 7.3, 7.5).

A direction's numbers are divided into eras: CRC64 from the start, then one era per installed key.  Within an AEAD
era a new batch key begins every `rekey_after` numbers.
"""

from __future__ import annotations

import math

from fsp_trio.core.lineage import Lineage
from fsp_trio.integrity import Protection, Schedule
from fsp_trio.integrity.branch import Branching
from fsp_trio.integrity.suite import IntegritySuite
from fsp_trio.wire.serial import sub

OLD_KEY_LIFE = 60.0
"""Seconds that a key outlives its last unacknowledged number (M33)."""

LIMBO = 8
"""Packets under a new key that are kept unopened until the application has installed it here, too (F2), and that are
sent under one before the first of them is acknowledged (F26)."""

MASK = 0xFFFFFFFF
FURTHEST_FIRST = 2**30
"""How far behind the numbers in use the first one of an AEAD era may lie; serial arithmetic ends at 2^31."""
NEVER = 2**31
"""Numbers after which a key is followed by another where none is: serial arithmetic ends there."""
MAXIMUM_ERAS = 3
"""Keys remembered in one direction, the newest included."""


class Secret:
    """What protects an era: CRC64, or a MAC, which are never changed, or a chain of keys that follow each other."""

    __slots__ = ("accepted", "fixed", "lineage", "mode", "reach", "rekey_after", "schedule")

    def __init__(
        self,
        mode: str,
        fixed: Protection | None,
        schedule: Schedule | None,
        *,
        rekey_after: int,
        reach: int,
        lineage: Lineage | None = None,
    ) -> None:
        self.mode = mode
        self.fixed = fixed
        self.schedule = schedule
        self.rekey_after = rekey_after
        self.reach = reach
        """Numbers in one direction that one key may come to serve; 0 where they do not make nonces."""
        self.lineage = lineage or Lineage()
        """The family of connections whose keys have this one's master key."""
        self.accepted: dict[bytes, int] | None = None
        """Serials of the MULTIPLY packets that came under it, by the new ULTID of their sender (M22)."""

    @classmethod
    def constant(cls, protection: Protection, lineage: Lineage | None = None) -> Secret:
        """CRC64 or a MAC."""
        return cls(protection.mode, protection, None, rekey_after=NEVER, reach=0, lineage=lineage)

    @classmethod
    def chain(
        cls, schedule: Schedule, rekey_after: int, *, reach: int | None = None, lineage: Lineage | None = None
    ) -> Secret:
        """AEAD; `rekey_after` is NEVER where no key follows, and `reach` the same unless told otherwise."""
        reach = rekey_after if reach is None else reach
        return cls("aead", None, schedule, rekey_after=rekey_after, reach=reach, lineage=lineage)

    def batch(self, offset: int, batches_before: int) -> tuple[Protection, int]:
        if self.schedule is None:
            assert self.fixed is not None
            return self.fixed, NEVER
        index, used = divmod(max(offset, 0), self.rekey_after)
        return self.schedule.batch(batches_before + index + 1), self.rekey_after - used

    def branch(self, integrity: IntegritySuite, index: int, branching: Branching) -> Secret:
        """The secret of a branch whose MULTIPLY is under batch `index` (11.5, M23); not of CRC64."""
        if self.schedule is None:
            return Secret.constant(integrity.branch_mac(self.fixed, branching), self.lineage)
        schedule = integrity.branch_aead(self.schedule, index, branching)
        return Secret.chain(schedule, self.rekey_after, reach=self.reach, lineage=self.lineage)


class Era:
    """The numbers of one direction from `first` on, under one secret."""

    __slots__ = ("_worn_batch", "batches_before", "first", "proven", "secret", "uses")

    def __init__(self, first: int, secret: Secret, uses: int = 0) -> None:
        self.first = first
        self.secret = secret
        self.proven = secret.mode == "crc64"
        """The peer is known to have it before it has acknowledged anything under it (F26)."""
        self._worn_batch = 0
        self.uses = uses
        """Applications of the newest key by this end (12.6); a branch begins with those of its parent's (11.1)."""
        self.batches_before = 0
        """Whole batches that lie before `first` since it was moved along."""

    def move_along(self, sn: int) -> None:
        """Keep `first` near enough to the numbers in use for serial arithmetic, by whole batches."""
        offset = sub(sn, self.first)
        if self.secret.schedule is not None and offset >= FURTHEST_FIRST:
            batches = (offset - FURTHEST_FIRST // 2) // self.secret.rekey_after
            self.first = self.first + batches * self.secret.rekey_after & MASK
            self.batches_before += batches

    def wear(self, sn: int, uses: int) -> int:
        """Count applications of the key of `sn`; how many that makes (12.6).  CRC64 has no key."""
        secret = self.secret
        if secret.mode == "crc64":
            return 0
        if secret.schedule is not None:
            batch = self.index(sn) - 1
            if batch > self._worn_batch:
                self._worn_batch = batch
                self.uses = 0
        self.uses += uses
        return self.uses

    def index(self, sn: int) -> int:
        """The batch of a number; 1 is the first."""
        return self.batches_before + max(sub(sn, self.first), 0) // self.secret.rekey_after + 1

    def batch(self, offset: int) -> tuple[Protection, int]:
        """The protection of the `offset`th number of the era, and how many numbers it serves from there on."""
        return self.secret.batch(offset, self.batches_before)


class Direction:
    """The eras of one direction, oldest first; at least one."""

    __slots__ = ("_run", "_run_first", "_run_length", "eras")

    def __init__(self, first: int, secret: Secret, uses: int = 0) -> None:
        self.eras = [Era(first, secret, uses)]
        self._forget_run()

    def _forget_run(self) -> None:
        """The run found last: nearly every packet belongs to it."""
        self._run: Protection | None = None
        self._run_first = 0
        self._run_length = 0

    def begin(self, first: int, secret: Secret) -> None:
        """From number `first` on, `secret` protects."""
        self.eras.append(Era(first, secret))
        del self.eras[:-MAXIMUM_ERAS]
        self._forget_run()

    def era(self, sn: int) -> Era:
        """The era of a number; one that is earlier than all eras kept belongs to the oldest."""
        eras = self.eras
        for era in reversed(eras):
            if sub(sn, era.first) >= 0:
                return era
        return eras[0]

    def protection(self, sn: int) -> Protection:
        return self.run(sn)[0]

    def run(self, sn: int) -> tuple[Protection, int]:
        """The protection of `sn` and how many consecutive numbers from it on share it."""
        into = sn - self._run_first & MASK
        if into < self._run_length and self._run is not None:
            return self._run, self._run_length - into
        eras = self.eras
        position = len(eras) - 1
        while position and sub(sn, eras[position].first) < 0:
            position -= 1
        protection, length = eras[position].batch(sub(sn, eras[position].first))
        if position + 1 < len(eras):
            length = min(length, sub(eras[position + 1].first, sn))
        self._run, self._run_first, self._run_length = protection, sn, length
        return protection, length

    @property
    def newest(self) -> Era:
        return self.eras[-1]

    def begun(self, next_sn: int) -> bool:
        """The newest era has been used, or there never was another."""
        return len(self.eras) == 1 or sub(next_sn, self.newest.first) > 0

    def move_along(self, sn: int) -> None:
        """Call now and then with the oldest number in use."""
        self.newest.move_along(sn)

    def forget_before(self, sn: int) -> None:
        """Drop eras that hold no number from `sn` on."""
        while len(self.eras) > 1 and sub(sn, self.eras[1].first) >= 0:
            del self.eras[0]
        self._forget_run()


class Keyring:
    """Both directions of one connection."""

    __slots__ = ("_forget_at", "forgery_budget", "key_life", "receiving", "sending", "spent")

    def __init__(
        self,
        secret: Secret,
        send_first: int,
        receive_first: int,
        *,
        key_life: int,
        forgery_budget: int,
        uses: int = 0,
    ) -> None:
        self.sending = Direction(send_first, secret, uses)
        self.receiving = Direction(receive_first, secret)
        self.key_life = key_life
        self.forgery_budget = forgery_budget
        self.spent = 0
        self._forget_at = math.inf

    def too_near(self, secret: Secret, send_first: int, receive_first: int, margin: int) -> bool:
        """An AEAD key would serve two directions whose numbers may meet, and with them nonces (N2b)."""
        return secret.reach > 0 and abs(sub(send_first, receive_first)) < secret.reach + margin

    def begin(self, direction: Direction, first: int, secret: Secret) -> None:
        """From number `first` on, `direction` uses `secret`."""
        direction.begin(first, secret)
        self.spent = 0
        self._forget_at = math.inf

    @property
    def keyed(self) -> bool:
        """An application's key is installed."""
        return self.receiving.newest.secret.mode != "crc64"

    def unheard(self, una: int, next_sn: int) -> int:
        """Packets that may leave yet before one under the newest key is known to have been opened (F26)."""
        newest = self.sending.newest
        if newest.proven or sub(una, newest.first) > 0:
            return 2**30
        return LIMBO - sub(next_sn, newest.first)

    def retire(self, una: int, expected: int, now: float) -> None:
        """Forget old eras a minute after their last numbers were acknowledged both ways (M33)."""
        sending, receiving = self.sending, self.receiving
        sending.move_along(una)
        receiving.move_along(expected)
        if len(sending.eras) == 1 and len(receiving.eras) == 1:
            return
        if sub(una, sending.newest.first) <= 0 or sub(expected, receiving.newest.first) <= 0:
            return
        if self._forget_at == math.inf:
            self._forget_at = now + OLD_KEY_LIFE
        elif now >= self._forget_at:
            sending.forget_before(sending.newest.first)
            receiving.forget_before(receiving.newest.first)
            self._forget_at = math.inf

    def forged(self, octets: int) -> bool:
        """Count a failed opening; True when the key has borne all it may (M32).

        A 64-bit tag allows 2^32 attempts with inputs of up to 2^11 octets, and an eighth of that for every
        fourfold length (NIST SP 800-38D, appendix C).
        """
        cost, size = 1, 2048
        while size < octets:
            cost, size = cost * 8, size * 4
        self.spent += cost
        return self.spent >= self.forgery_budget
