"""Two connections and a bad network between them, all made of one seed; and a log that judges how it ended."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable

from fsp_trio.core.congestion import CongestionManager
from fsp_trio.core.connection import Connection
from fsp_trio.core.failure import FailureKind
from fsp_trio.core.responder import ConnectionRequest, Responder
from fsp_trio.revisions import GAO_07, Revision
from fsp_trio.revisions.states import Event, State
from fsp_trio.testing.nonces import NonceLedger
from fsp_trio.wire.errors import MalformedPacket
from fsp_trio.wire.packets import Op
from fsp_trio.wire.serial import sub

from .applications import Application, Send
from .seeds import CHECKSUMMED, IN_BAND, OUT_OF_BAND, Record, conditions_of, plans_of, settings_of

LISTENER = b"\x00\x00\x00\x50"
STILLSTAND = 200
"""Steps without the clock moving after which a connection is held to be in a loop."""
LONGEST = 100_000.0
ATTEMPTS = 30
TAIL = 60


class Simulation:
    """One seed.  `run` goes through all of it and raises AssertionError when anything is not as it must be."""

    def __init__(self, seed: int, revision: Revision = GAO_07) -> None:
        self.seed = seed
        self.revision = revision
        rng = self._rng = random.Random(seed)
        self.conditions = conditions_of(rng)
        rekey_after = rng.choice([None, 64, 200, 1_000])
        self.settings = {"client": settings_of(rng, rekey_after), "server": settings_of(rng, rekey_after)}
        self.plans = plans_of(rng, revision)
        self.welcome = b""
        first = self.plans["server"].steps[0]
        if isinstance(first, Send) and 0 < len(first.data) <= 200:
            self.welcome = first.data
        self.now = rng.uniform(1.0, 1e5)
        self.log: list[Record] = []
        self._heap: list[tuple[float, int, Record]] = []
        self._order = itertools.count()
        self._responder = Responder(revision, self.settings["server"], LISTENER, random=rng.randbytes)
        self._near_wrap = rng.random() < 0.3
        self.ends: dict[str, Connection] = {}
        self.applications: dict[str, Application] = {}
        self._sealed: dict[tuple[str, int, int], bytes] = {}
        self._repeated_at: dict[tuple[str, int], float] = {}
        self._newest: dict[str, tuple[int, int]] = {}
        self.attempts = 0
        self.reconnections: list[str] = []
        self.outcome = ""

    # running

    def run(self) -> None:
        with NonceLedger(collect=self.revision.repeats_nonces) as ledger:
            for self.attempts in range(1, ATTEMPTS + 1):
                self._connect()
                if self._run_one():
                    break
            else:
                raise AssertionError(f"not one of {ATTEMPTS} connections")
            if self.revision.repeats_nonces:
                ledger.reuses.clear()
        assert ledger.forgotten == 0

    def _connect(self) -> None:
        self.log.clear()
        self._heap.clear()
        self._sealed.clear()
        self._repeated_at.clear()
        self._newest.clear()
        self.applications.clear()
        self.ends.clear()
        rng = self._rng
        draws = itertools.count()

        def octets(size: int) -> bytes:
            if self._near_wrap and next(draws) == 2:  # the initial number
                return (2**32 - rng.randint(1, 40)).to_bytes(4, "big")
            return rng.randbytes(size)

        client = Connection.initiate(
            self.revision,
            self.settings["client"],
            local_ultid=rng.randbytes(4),
            listener_ultid=LISTENER,
            remote=("server", 1),
            now=self.now,
            unix_microseconds=int(self.now * 1e6),
            congestion=CongestionManager(),
            random=octets,
        )
        self.ends["client"] = client
        self.applications["client"] = Application(self.plans["client"], client, rng)
        self._started_at = self.now

    def _run_one(self) -> bool:
        """One connection from its first packet to its last; False if it failed and may be tried again."""
        still = 0
        before = self.now
        while not self._at_rest():
            self._applications_go_on()
            self._flush()
            moment = self._next_event()
            assert moment < math.inf, "nothing will ever happen again"
            assert moment - self._started_at < LONGEST, "it takes too long"
            self.now = max(self.now, moment)
            still = still + 1 if self.now == before else 0
            before = self.now
            assert still < STILLSTAND, "the clock stands still"
            self._timers()
            self._deliver()
        return self._judge()

    def _at_rest(self) -> bool:
        client, server = self.ends["client"], self.ends.get("server")
        if server is None:
            return client.is_over and not self._heap
        return client.is_over and server.is_over

    def _applications_go_on(self) -> None:
        for application in self.applications.values():
            application.go_on(self.now)

    def _next_event(self) -> float:
        moments = [self._heap[0][0]] if self._heap else []
        for name, end in self.ends.items():
            moments += [end.next_deadline(), end.next_heartbeat()]
            application = self.applications[name]
            if application.plan.reads_every and end.readable and not end.is_over:
                moments.append(application.next_read)
        return min(moments, default=math.inf)

    def _timers(self) -> None:
        for end in self.ends.values():
            if end.next_deadline() <= self.now:
                end.handle_timer(self.now)
            if end.next_heartbeat() <= self.now:
                end.handle_heartbeat(self.now)

    # the network

    def _flush(self) -> None:
        for name, end in list(self.ends.items()):
            for _ in range(10_000):
                batch = end.datagrams_to_send(self.now)
                if not batch:
                    break
                for datagram in batch:
                    self._check_sent(name, end, datagram)
                    self._post(name, datagram)
            else:
                raise AssertionError(f"{name} never stops sending")

    def _post(self, sender: str, datagram: bytes) -> None:
        rng, conditions = self._rng, self.conditions
        copies = 2 if rng.random() < conditions.duplicate else 1
        for _ in range(copies):
            record = Record(self.now, sender, datagram, self.revision)
            self.log.append(record)
            if rng.random() < conditions.loss:
                continue
            record.fate = "under way"
            if rng.random() < conditions.flip:
                bit = rng.randrange(len(datagram) * 8)
                record.datagram = (
                    datagram[: bit // 8] + bytes([datagram[bit // 8] ^ 1 << bit % 8]) + datagram[bit // 8 + 1 :]
                )
                record.fate = "damaged"
                if self.revision.udp_checksum or Record(0.0, sender, datagram, self.revision).op in CHECKSUMMED:
                    continue
            arrives_at = self.now + conditions.delay + rng.uniform(0.0, conditions.jitter)
            if conditions.grid:
                arrives_at = math.ceil(arrives_at / conditions.grid) * conditions.grid
            record.arrives_at = arrives_at
            heapq.heappush(self._heap, (arrives_at, next(self._order), record))

    def _deliver(self) -> None:
        """All that is due; what came together for one end it gets together."""
        due: list[Record] = []
        while self._heap and self._heap[0][0] <= self.now:
            due.append(heapq.heappop(self._heap)[2])
        for sender, records in itertools.groupby(due, key=lambda record: record.sender):
            if sender == "server":
                self._hand("client", list(records), ("server", 1))
            else:
                self._hand_server(list(records))

    def _hand(self, name: str, records: list[Record], source: tuple[str, int]) -> None:
        end = self.ends[name]
        taken = []
        for record in records:
            if record.datagram[4:8] != end.local_ultid or (end.is_over and self.now > end.tombstone_until):
                record.fate += ", nobody there"
                continue
            if record.fate == "under way":
                record.fate = "arrived" if self._can_open(name, record) else "no key for it yet"
            taken.append(record.datagram)
        if taken:
            end.receive(taken, source, self.now, self._rng.random() < self.conditions.congested)

    def _can_open(self, name: str, record: Record) -> bool:
        """The receiver has installed the key under which the sender has sealed this."""
        if not all(end.has_windows for end in self.ends.values()):
            return True
        sn = record.numbers[0]
        sealed = self.ends[record.sender].keyring.sending.era(sn)
        return sealed.first == self.ends[name].keyring.receiving.era(sn).first

    def _hand_server(self, records: list[Record]) -> None:
        source = ("client", 2)
        for record in records:
            server = self.ends.get("server")
            if server is not None and record.datagram[4:8] == server.local_ultid:
                self._hand("server", [record], source)
                continue
            in_use = () if server is None else (server.local_ultid,)
            try:
                answer = self._responder.receive_untrusted(
                    record.datagram, source, self.now, int(self.now * 1e6), in_use
                )
            except MalformedPacket:
                continue
            if record.fate == "under way":
                record.fate = "arrived"
            if isinstance(answer, bytes):
                self._post("server", answer)
            elif answer is not None and server is None:
                self._accept(answer)

    def _accept(self, request: ConnectionRequest) -> None:
        server = Connection.accept(
            self.revision,
            self.settings["server"],
            request,
            welcome=self.welcome,
            now=self.now,
            congestion=CongestionManager(),
            random=self._rng.randbytes,
        )
        self.ends["server"] = server
        self.applications["server"] = Application(self.plans["server"], server, self._rng, self.welcome)

    # what must hold for every packet that is sent

    def _check_sent(self, name: str, end: Connection, datagram: bytes) -> None:
        assert len(datagram) <= 32 + max(end.settings.max_payload, 100 * 8 + 56)
        record = Record(self.now, name, datagram, self.revision)
        if record.op not in IN_BAND:
            return
        sn, expected = record.numbers
        known = self._sealed.setdefault((name, sn, expected), datagram)
        assert known == datagram, "N1: one number, one acknowledgement, and other octets"
        last = self._repeated_at.get((name, sn))
        if last is not None and record.op is not Op.ACK_CONNECT_REQ and datagram != end._farewell:
            assert self.now - last >= end.rtt.rto - 1e-6, "8.5.4: repeated within one RTO"
        elif last is None:
            edge = expected + record.window & 0xFFFFFFFF
            if name in self._newest:
                old_expected, old_edge = self._newest[name]
                assert sub(expected, old_expected) >= 0, "N1: E has gone back"
                assert sub(edge, old_edge) >= 0, "M7: the right edge has gone back"
            self._newest[name] = (expected, edge)
        self._repeated_at[name, sn] = self.now

    # the judge

    def _judge(self) -> bool:
        """Both ends are at rest.  True: the plan was fulfilled; False: the network was to blame."""
        for application in self.applications.values():
            application.go_on(self.now)
            application.check()
        for name, end in self.ends.items():
            assert end.next_deadline() == math.inf
            assert end.macroflow.in_flight == 0, f"{name}: octets in flight at the end"
            assert end.unacknowledged == 0
        failures = {name: end.failure for name, end in self.ends.items() if end.failure is not None}
        if not failures:
            self._judge_success()
            return True
        first = min(failures, key=lambda name: self.ends[name].tombstone_until)
        failure = self.ends[first].failure
        assert failure is not None
        self.reconnections.append(f"{first}: {failure.kind.name}")
        if self._judge_failure(first, failure.kind):
            self.outcome = f"{first} {failure.kind.name}"
            return True
        return False

    def _judge_success(self) -> None:
        for name, application in self.applications.items():
            end = self.ends[name]
            rests = State.CLOSED if end.closed_confirmed else self._given_up()
            assert end.state in (State.CLOSED, rests), f"{name} rests in {end.state.name}"
            assert application.everything_received, f"{name} received {len(application.received)} transactions"
            assert application.everything_sent, f"{name} did not send everything"
            if end.closed_confirmed:
                continue
            # 12.4: only if for a minute nothing got through that would have ended it
            assert self._arrived(name, self.now - 61, {Op.ACK_FLUSH, Op.RELEASE}) <= self._arrived(
                name, self.now - 61, {Op.ACK_FLUSH}
            ), f"{name}: a RELEASE came, and yet it is not confirmed"
        self.outcome = "confirmed" if all(end.closed_confirmed for end in self.ends.values()) else "not confirmed"

    def _given_up(self) -> State:
        """Where an end rests that asked for the end and was not answered."""
        transition = self.revision.states.find(State.PRE_CLOSED, Event.TRANSIENT_TIMEOUT)
        assert transition is not None
        return transition.successor

    def _arrived(self, name: str, since: float, ops: set[Op]) -> int:
        """How many packets of these kinds reached an end unharmed."""
        return sum(
            record.sender != name and record.fate == "arrived" and record.arrives_at >= since and record.op in ops
            for record in self.log
        )

    def _judge_failure(self, name: str, kind: FailureKind) -> bool:
        """Whether the connection's plan was fulfilled all the same; AssertionError if the log does not justify it."""
        if kind is FailureKind.HANDSHAKE_TIMEOUT:
            if name == "client":
                assert self.now - self._started_at >= 60.0
                assert not self._arrived("client", 0.0, {Op.ACK_CONNECT_REQ}), "the answer had come"
            else:
                confirmations = {Op.NULCOMMIT, Op.PERSIST}
                failed_at = self.ends[name].tombstone_until - 60.0
                assert not any(
                    record.sender == "client"
                    and record.fate == "arrived"
                    and record.arrives_at < failed_at
                    and record.op in confirmations
                    for record in self.log
                ), "the confirmation had come"
            return False
        failed_at = self.ends[name].tombstone_until - 60.0
        if kind is FailureKind.COMMIT_TIMEOUT:
            self._check_silence(name, failed_at, self.revision.commit_abort)
            return False
        assert kind is FailureKind.IDLE_TIMEOUT, f"{name} failed: {kind.name}"
        self._check_silence(name, failed_at, self.revision.idle_timeout)
        # the other end went away, and its RELEASE never came
        other = "server" if name == "client" else "client"
        assert self.ends[other].state is self._given_up()
        assert not self.ends[other].closed_confirmed
        assert not self._arrived(name, 0.0, {Op.RELEASE})
        for application in self.applications.values():
            assert application.everything_received
        return True

    def _check_silence(self, name: str, failed_at: float, limit: float) -> None:
        """No fresh packet reached this end in the time before it gave up; repeats in band are none, however sealed."""
        seen: set[bytes] = set()
        heard: set[int] = set()
        for record in sorted(self.log, key=lambda record: record.arrives_at):
            if record.sender == name or record.fate != "arrived":
                continue
            fresh = record.datagram not in seen and (record.op in OUT_OF_BAND or record.numbers[0] not in heard)
            seen.add(record.datagram)
            if record.op not in OUT_OF_BAND:
                heard.add(record.numbers[0])
            if fresh and failed_at - limit + 1e-3 < record.arrives_at < failed_at:
                newest = max(
                    (other.numbers[0] for other in self.log if other.sender != name and other.datagram in seen),
                    key=lambda sn: sub(sn, record.numbers[0]),
                )
                late = record.op in OUT_OF_BAND and sub(newest, record.numbers[0]) > 0
                assert late, f"{name} gave up although it heard: {record}"

    def describe(self) -> str:
        lines = [f"seed {self.seed}: {self.conditions}", f"attempts: {self.reconnections}"]
        for name, end in self.ends.items():
            settings = end.settings
            lines.append(
                f"{name}: {end.state.name}, failure {end.failure}, payload {settings.max_payload}, "
                f"window {settings.receive_window}, rekey {settings.rekey_after}, {settings.timers}"
            )
            lines.append(f"    passed {[state.name for state in end.states_passed[-8:]]}, {end.statistics}")
            application = self.applications[name]
            lines.append(
                f"    sent {application._position} of {len(application.plan.steps)} steps, received "
                f"{len(application.received)} of {len(application.plan.expected)}, shut {application.shut}"
            )
        lines += [str(record) for record in self.log[-TAIL:]]
        lines.append(f"now {self.now:.3f}")
        return "\n".join(lines)


def run_seed(seed: int, make: Callable[[int], Simulation] = Simulation) -> Simulation:
    """Run one seed; an AssertionError, or whatever else goes wrong, names it and shows the end of the log."""
    simulation = make(seed)
    try:
        simulation.run()
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}\n{simulation.describe()}") from error
    return simulation
