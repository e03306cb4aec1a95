"""First layer of a connection: who it is, what state it is in, which keys it has.

A connection is made of eleven layers, each a class that extends the one before: `Link` (this module), `Sealing`,
`Outgoing`, `Acknowledged`, `Mobile`, `Authentic`, `Incoming`, `Handshake`, `Multiplication`, `Compressing` and
`Connection`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable

from fsp_trio.core.congestion import CongestionManager, Macroflow
from fsp_trio.core.failure import Failure, FailureKind
from fsp_trio.core.keyring import Era, Keyring, Secret
from fsp_trio.core.paths import Address, path_key
from fsp_trio.core.receive_window import ReceiveWindow
from fsp_trio.core.send_window import SendQueue, SendWindow
from fsp_trio.core.settings import Settings
from fsp_trio.core.statistics import ConnectionStatistics
from fsp_trio.core.timers import ROUND_TRIPS, RoundTrip
from fsp_trio.revisions import Revision
from fsp_trio.revisions.states import OVER, Event, State, Transition
from fsp_trio.wire.packets import FLAG_ECE, FLAG_SRR, Op

KeyLog = Callable[[int, int, str, int, bytes], None]
"""First number sent, first number received, mode, bits, material."""
MASK = 0xFFFFFFFF
STATES_REMEMBERED = 256
NEXT = -1
"""Stands for the number of the next in-band packet."""
LAST_SERIAL = MASK
"""The out-of-band serial after which a connection must end (N4)."""
RESET_TOMBSTONE = 60.0
"""Seconds for which a reset connection repeats its RESET (M35)."""
CLOSED_TOMBSTONE = 120.0
"""Seconds for which a closed connection answers RELEASE (M41)."""


def payload_limit(revision: Revision, settings: Settings) -> int:
    """Octets of payload that a packet of ours may have."""
    return min(settings.max_payload, revision.max_payload)


class Link:
    """Identity, state, keys and counters; what the upper layers of a connection share."""

    __slots__ = (
        "_address_newest",
        "_ce_seen",
        "_congestion",
        "_ids",
        "_last_serial",
        "_path",
        "_path_since",
        "_peer_ids",
        "_reset_datagrams",
        "_reset_repeated_at",
        "_serial",
        "_serial_era",
        "_srr_since",
        "_urgent",
        "closed_confirmed",
        "codec",
        "established_at",
        "failure",
        "has_windows",
        "key_log",
        "keyring",
        "last_heard",
        "local",
        "local_ultid",
        "macroflow",
        "payload_limit",
        "queue",
        "received",
        "remote",
        "remote_ultid",
        "revision",
        "rtt",
        "sent",
        "settings",
        "state",
        "states_passed",
        "statistics",
        "tombstone_until",
    )

    keyring: Keyring
    sent: SendWindow
    received: ReceiveWindow

    def __init__(
        self,
        revision: Revision,
        settings: Settings,
        *,
        local_ultid: bytes,
        remote_ultid: bytes,
        remote: Address,
        now: float,
        congestion: CongestionManager,
    ) -> None:
        self.revision = revision
        self.codec = revision.codec
        self.settings = settings
        self.local_ultid = local_ultid
        self.remote: Address = remote
        self.local: Address | None = None
        """Where packets leave; None for wherever the system chooses."""
        self._congestion = congestion
        self.macroflow = Macroflow()
        """One of its own until the peer has shown that it is there: requests come from forged addresses, too."""
        self._path: Hashable = None
        self._path_since = now
        self.state = State.NON_EXISTENT
        self.states_passed: list[State] = []
        self.failure: Failure | None = None
        self.closed_confirmed = False
        self.tombstone_until = -math.inf
        self.statistics = ConnectionStatistics()
        self.rtt: RoundTrip = ROUND_TRIPS[revision.round_trips](settings.timers)
        self.payload_limit = payload_limit(revision, settings)
        """Octets of payload in a packet of ours."""
        self.queue: SendQueue = SendQueue(self.payload_limit, whole_blocks=revision.whole_blocks)
        self.key_log: KeyLog | None = None
        """Gets the numbers, mode, bits and material of a key when it takes effect; None if nobody wants them."""
        self.last_heard = now
        self.has_windows = False
        """The handshake went far enough for sequence numbers both ways."""
        self.established_at = math.inf
        self._set_remote_ultid(remote_ultid)
        self._serial = 0
        self._last_serial = 0
        self._serial_era: Era | None = None
        """The newest era from which a serial was accepted."""
        self._ce_seen = False
        self._srr_since: int | None = None
        """First in-band number that carries SRR, or NEXT; None when SRR is not set."""
        self._address_newest = (0, 0)
        self._urgent: list[bytes] = []
        self._reset_datagrams: list[bytes] = []
        """The RESET that was sent: with numbers first, and last the form that repeats the fields of a request."""
        self._reset_repeated_at = -math.inf

    def _set_remote_ultid(self, ultid: bytes) -> None:
        self.remote_ultid = ultid
        self._ids = self.local_ultid + ultid
        self._peer_ids = ultid + self.local_ultid

    def _begin_integrity(
        self, send_first: int, receive_first: int, *, proof: tuple[bytes, bytes, bytes, bytes, bytes]
    ) -> None:
        """CRC64 from the fields of the handshake: check code, cookie, salt, time delta, timestamp (8.1.1)."""
        crc64 = self.revision.integrity.crc64(self.local_ultid, self.remote_ultid, *proof)
        self.keyring = self._new_keyring(Secret.constant(crc64), send_first, receive_first)

    def _new_keyring(self, secret: Secret, send_first: int, receive_first: int, uses: int = 0) -> Keyring:
        return Keyring(
            secret,
            send_first,
            receive_first,
            key_life=self.settings.key_life or self.revision.key_life,
            forgery_budget=self.settings.forgery_budget,
            uses=uses,
        )

    def _take_path(self, remote: Address, local: Address | None, now: float) -> None:
        """From now on the path is that from `local` to `remote`: share its congestion state (8.7, 10.5, B18).

        What is under way on the former path tells nothing of this one, and doublings were of its silence (F57).
        """
        self.remote, self.local = remote, local
        self.rtt.progress()
        key = self._path_key(remote, local)
        if self._path != key:
            if self.established_at < math.inf:
                self.rtt.leave_path()
                self.sent.forget_samples()
            self._join_path(key)
            self._path_since = now

    def _path_key(self, remote: Address, local: Address | None) -> Hashable:
        """Addresses and traffic class (8.7, B18)."""
        key = path_key(remote, local)
        return key if self.queue.repeats else (key, "minimal delay")

    def _join_path(self, key: Hashable) -> None:
        if self.has_windows:
            self.macroflow.forgotten(self.sent.leave_path())
        self._leave_path()
        self.macroflow = self._congestion.join(key)
        self._path = key

    def _leave_path(self) -> None:
        if self._path is not None:
            self._congestion.leave(self.macroflow)
            self._path = None

    # the state machine

    def _happen(self, event: Event, flushing: bool = False) -> Transition | None:
        """Take the transition that the revision's table has for `event`; None if it has none."""
        transition = self.revision.states.find(self.state, event, flushing)
        if transition is not None and transition.successor is not self.state:
            self._enter(transition.successor)
        return transition

    def _enter(self, state: State) -> None:
        self.state = state
        self.states_passed.append(state)
        if len(self.states_passed) > STATES_REMEMBERED:
            del self.states_passed[0]

    @property
    def is_over(self) -> bool:
        """Nothing more will be delivered, in either direction."""
        return self.state in OVER

    @property
    def answers(self) -> bool:
        """It is over, but its peer may still have to hear of that: RESET once more (M35), or ACK_FLUSH (M41)."""
        return self.state is State.CLOSED or bool(self._reset_datagrams)

    def _fail(self, event: Event, kind: FailureKind, reason: int, now: float) -> None:
        """The abrupt end (12.7): a RESET if the transition has one, and everything that is queued is dropped."""
        transition = self.revision.states.find(self.state, event)
        if transition is None:
            return
        if transition.reply.value and not self._reset_datagrams:
            resets = self._make_resets(reason)
            self._reset_datagrams = resets
            self._urgent += resets
            self.statistics.count_sent(Op.RESET, len(resets))
            self._reset_repeated_at = now
        self.failure = Failure(kind, reason)
        self._enter(transition.successor)
        self._release_resources(now + RESET_TOMBSTONE)

    def _make_resets(self, reason: int) -> list[bytes]:
        """The packets that tell the peer; the first is repeated for the tombstone's life."""
        return [self._make_reset(reason)]

    def _make_reset(self, reason: int) -> bytes:
        """A RESET under the newest send key, with a number that no packet has used (N3)."""
        sn = self.sent.next_sn
        head = self.codec.reset_head(reason, self.received.window, sn, self.received.expected)
        return self.keyring.sending.protection(sn).seal(self._ids, head, b"")

    def _release_resources(self, tombstone_until: float) -> None:
        """At the end: what was sent or came early is of no use any more; what is in order stays readable."""
        self._leave_path()
        self.tombstone_until = tombstone_until
        self.queue.clear()
        if self.has_windows:
            self.macroflow.forgotten(self.sent.clear())
            self.received.clear_early()

    # sealing

    def _header_flags(self) -> int:
        """ECE and SRR as they stand now (4.6, 8.7, M45); a revision without them never comes to set one."""
        return (FLAG_ECE if self._ce_seen else 0) | (FLAG_SRR if self._srr_since is not None else 0)

    def _next_serial(self) -> int:
        self._serial += 1
        return self._serial
