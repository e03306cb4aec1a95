"""Deliberate violations of the protocol, one small change of the library each, and the case that must notice.

A mutant replaces a few words in the source of one function, or a field of the revision.
"""

from __future__ import annotations

import importlib
import inspect
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from fsp_trio.revisions import REVISIONS


@dataclass(frozen=True, slots=True)
class Mutant:
    """`place` is module and function below fsp_trio, or "revision" and `old` the name of a field."""

    name: str
    place: str
    old: str
    new: Any
    case: str
    """That of gao-07 which fails."""

    @property
    def chapter(self) -> str:
        return self.case.partition("/")[0].partition(".")[0]

    @contextmanager
    def alive(self) -> Iterator[None]:
        """The library is wrong for the time of the block."""
        if self.place == "revision":
            changed = replace(REVISIONS["gao-07"], **{self.old: self.new})
            with mock.patch.dict(REVISIONS, {"gao-07": changed}):
                yield
            return
        module_name, _, path = self.place.partition(":")
        module = importlib.import_module(f"fsp_trio.{module_name}")
        *owners, name = path.split(".")
        owner: Any = module
        for each in owners:
            owner = getattr(owner, each)
        found = inspect.getattr_static(owner, name)
        function: Any = found.fget if isinstance(found, property) else found
        source = textwrap.dedent(inspect.getsource(function))
        assert source.count(self.old) == 1, f"{self.name}: {source.count(self.old)} places to change"
        scope: dict[str, Any] = {}
        exec(compile(source.replace(self.old, self.new), f"<{self.name}>", "exec"), module.__dict__, scope)
        with mock.patch.object(owner, name, scope[name]):
            yield


HANDSHAKE = "core.handshake:Handshake."
INCOMING = "core.incoming:Incoming."
AUTHENTIC = "core.authentic:Authentic."
OUTGOING = "core.outgoing:Outgoing."
RESPONDER = "core.responder:Responder."
OUT_OF_BAND = AUTHENTIC + "_receive_out_of_band_untrusted"
IN_BAND = INCOMING + "_receive_in_band_untrusted"
SHAPE = "wire.gao:GaoCodec.check_shape"
SHAPE_CHECK = "shape.check(offset, flags, payload_length)"

MUTANTS = [
    # 4
    Mutant("major 1 is sent", "wire.gao:GaoCodec.head", "_MAJOR", "1", "4.4.2/major-is-zero"),
    Mutant(
        "any major is taken", INCOMING + "_receive_one_untrusted", "if major:", "if False:", "4.4.2/other-major-dropped"
    ),
    Mutant("odd lengths", "wire.extensions:ExtensionCodec.decode", "or length & 7 ", "", "4.4.5/length-not-multiple"),
    Mutant(
        "headers that overrun",
        "wire.extensions:ExtensionCodec.decode",
        "or length > end - position",
        "",
        "4.4.5/length-overruns",
    ),
    Mutant(
        "repeated headers",
        "wire.extensions:ExtensionCodec.decode",
        "if code in codes:",
        "if False:",
        "4.4.5/repeated-extension-void",
    ),
    Mutant("payload in NULCOMMIT", SHAPE, SHAPE_CHECK, "shape.check(offset, flags, 0)", "4.4.1/nulcommit-with-payload"),
    Mutant(
        "NULCOMMIT without EoT",
        SHAPE,
        SHAPE_CHECK,
        "shape.check(offset, flags | 0x80, payload_length)",
        "4.4.1/nulcommit-without-eot",
    ),
    Mutant(
        "PERSIST without payload",
        SHAPE,
        SHAPE_CHECK,
        "shape.check(offset, flags, payload_length or (op_code == 8))",
        "4.4.1/persist-without-payload",
    ),
    Mutant(
        "RELEASE with payload",
        SHAPE,
        SHAPE_CHECK,
        "shape.check(offset, flags, 0 if op_code == 11 else payload_length)",
        "4.4.1/release-with-payload",
    ),
    Mutant(
        "PURE_DATA with headers",
        SHAPE,
        SHAPE_CHECK,
        "shape.check(24 if op_code == 9 else offset, flags, payload_length)",
        "4.4.1/pure-data-with-extension",
    ),
    Mutant(
        "any source ULTID",
        INCOMING + "_receive_one_untrusted",
        "if datagram[:ULTID_PAIR] != self._peer_ids:",
        "if False:",
        "4.1/wrong-source-ultid",
    ),
    Mutant(
        "acknowledgement of the future",
        IN_BAND,
        "if unsent > 0 or (unsent < 0 and self.state is State.CHALLENGING):",
        "if unsent < 0 and self.state is State.CHALLENGING:",
        "4.6/expected-beyond-sent",
    ),
    Mutant(
        "out of band, out of the window",
        OUT_OF_BAND,
        "if ahead > received.window or (ahead < -reach and not awaited):",
        "if False:",
        "4.6/out-of-band-number-too-far",
    ),
    Mutant(
        "reserved flags", "core.link:Link._header_flags", "return (", "return 1 | (", "4.6/reserved-flags-sent-zero"
    ),
    Mutant(
        "delay of the wrong packet",
        "core.receive_window:ReceiveWindow.snack",
        "return Snack(self.expected, (self.expected - 1) & MASK,",
        "return Snack(self.expected, self.expected,",
        "4.8/delay-sample-number",
    ),
    Mutant(
        "delay in milliseconds",
        "core.receive_window:ReceiveWindow.snack",
        "* 1e6",
        "* 1e3",
        "4.8/delay-sample-number",
    ),
    Mutant(
        "gaps run together",
        "core.receive_window:ReceiveWindow.snack",
        "if offset != last + 1:",
        "if offset > last + 2:",
        "4.8/several-gaps",
    ),
    # 5
    Mutant(
        "ACK_FLUSH for open transactions",
        OUTGOING + "_acknowledge_now",
        "op = Op.KEEP_ALIVE if gaps else Op.ACK_FLUSH",
        "op = Op.ACK_FLUSH",
        "5.6/active-pure-data",
    ),
    Mutant(
        "KEEP_ALIVE for complete transactions",
        OUTGOING + "_acknowledge_now",
        "op = Op.KEEP_ALIVE if gaps else Op.ACK_FLUSH",
        "op = Op.KEEP_ALIVE",
        "5.5/challenging-nulcommit",
    ),
    Mutant(
        "repeated requests are ignored",
        HANDSHAKE + "_take_repeated_request_untrusted",
        "self._urgent = [self._handshake_datagram]",
        "pass",
        "5.2/listening-duplicate-request",
    ),
    Mutant(
        "any ACK_FLUSH ends a commitment",
        OUT_OF_BAND,
        "if op is Op.ACK_FLUSH and snack.expected_sn == self.sent.next_sn:",
        "if op is Op.ACK_FLUSH:",
        "5.7/committing-stale-flush",
    ),
    Mutant(
        "PURE_DATA begins a transaction",
        OUTGOING + "_fill",
        "op = Op.PERSIST if starts else Op.PURE_DATA\n",
        "op = Op.PURE_DATA\n",
        "5.11/closable-send",
    ),
    # 6
    Mutant(
        "any cookie",
        RESPONDER + "_check",
        "if hmac.compare_digest(cookie, packet.cookie):",
        "if True:",
        "6.4/altered-cookie-unanswered",
    ),
    Mutant(
        "cookie without salt",
        RESPONDER + "_cookie",
        "        init_check_code,\n        salt,\n        initiator_ultid,\n",
        "        init_check_code,\n        initiator_ultid,\n",
        "6.4/cookie-binds-request",
    ),
    Mutant(
        "check code of zeros",
        RESPONDER + "_challenge",
        "        init_check_code=packet.init_check_code,\n",
        "        init_check_code=bytes(8),\n",
        "6.2/answers-with-cookie",
    ),
    Mutant(
        "answers from the listener",
        RESPONDER + "_challenge",
        "return offered + ",
        "return self.listener_ultid + ",
        "6.2/answers-from-new-ultid",
    ),
    Mutant(
        "any check code",
        HANDSHAKE + "_take_challenge_untrusted",
        "if packet.init_check_code != init.init_check_code or not named:",
        "if not named:",
        "6.3/wrong-check-code-ignored",
    ),
    Mutant(
        "any listener",
        HANDSHAKE + "_take_challenge_untrusted",
        " or not named:",
        ":",
        "6.3/other-listener-named",
    ),
    Mutant(
        "own ULTID offered",
        HANDSHAKE + "_take_challenge_untrusted",
        "if offered == self.local_ultid:",
        "if False:",
        "6.3/own-ultid-offered",
    ),
    Mutant(
        "cookie not reflected",
        HANDSHAKE + "_take_challenge_untrusted",
        "cookie=packet.cookie",
        "cookie=bytes(8)",
        "6.3/own-values-repeated",
    ),
    Mutant(
        "time delta turned round",
        HANDSHAKE + "_take_challenge_untrusted",
        "time_delta=packet.time_delta",
        "time_delta=packet.time_delta[::-1]",
        "6.3/own-values-repeated",
    ),
    Mutant(
        "any expected number accepts",
        HANDSHAKE + "_take_acceptance_untrusted",
        "if expected != self._initial_sn:",
        "if False:",
        "6.4/wrong-expected-number",
    ),
    Mutant(
        "acceptance is not checked",
        HANDSHAKE + "_take_acceptance_untrusted",
        "if self.revision.acceptance_is_sealed:",
        "if False:",
        "6.4/forged-ack-connect-req",
    ),
    Mutant(
        "RESET without cookie",
        HANDSHAKE + "_echoes",
        " and packet.proof == request.cookie",
        "",
        "6.4/forged-reset-ignored",
    ),
    Mutant(
        "initial number moves",
        HANDSHAKE + "_take_repeated_request_untrusted",
        "if packet.initial_sn != first.initial_sn:",
        "if False:",
        "6.4/other-initial-number-dropped",
    ),
    Mutant(
        "handshake is not repeated",
        HANDSHAKE + "_handle_handshake_timer",
        "if self.state in CONNECTING and now >= due:",
        "if False:",
        "6.6/init-connect-repeated",
    ),
    Mutant(
        "PURE_DATA confirms",
        IN_BAND,
        "if self.state is State.CHALLENGING and ahead == 0 and op in (Op.PURE_DATA, Op.RELEASE):",
        "if False:",
        "6.5/pure-data-does-not-confirm",
    ),
    Mutant(
        "confirmation acknowledges nothing",
        IN_BAND,
        "if unsent > 0 or (unsent < 0 and self.state is State.CHALLENGING):",
        "if unsent > 0:",
        "6.5/confirmation-must-acknowledge",
    ),
    # 7
    Mutant(
        "key from another index",
        "integrity.schedule:AeadSchedule.__init__",
        "_EXPAND_LABEL + _index(1)",
        "_EXPAND_LABEL + _index(2)",
        "7/one-key-both-ways",
    ),
    Mutant(
        "salt not mixed",
        "integrity.aead:AeadProtection.nonce",
        "if out_of_band:",
        "if False:",
        "7.3/key-follows-carried-number",
    ),
    Mutant(
        "material is the key", "integrity.mac:MacProtection.__init__", "mac_schedule(ikm)", "ikm", "7.4/mac-master-key"
    ),
    Mutant("key is not announced", "revision", "announces_keys", False, "7.3/key-announced"),
    Mutant(
        "key received one number late",
        "core.connection:Connection.install_key",
        "keyring.begin(keyring.receiving, received.expected, secret)",
        "keyring.begin(keyring.receiving, received.expected + 1, secret)",
        "7.1/ready-right-after-eot",
    ),
    # 8
    Mutant(
        "ACK_FLUSH comes late",
        INCOMING + "_happen_in_order",
        "if transition.reply is Reply.ACK_FLUSH:",
        "if False:",
        "8.4.2/at-once-on-eot",
    ),
    Mutant(
        "duplicates are not answered",
        INCOMING + "_answer_duplicate",
        "self._ack_now = True",
        "pass",
        "8.4.2/again-on-duplicate",
    ),
    Mutant(
        "KEEP_ALIVE ends a commitment",
        OUT_OF_BAND,
        "if op is Op.ACK_FLUSH and snack.expected_sn == self.sent.next_sn:",
        "if snack.expected_sn == self.sent.next_sn:",
        "8.4.3/next-transaction-after-ack-flush",
    ),
    Mutant("serials skip", "core.link:Link._next_serial", "+= 1", "+= 2", "8.4.2/serial-grows-by-one"),
    Mutant(
        "check codes are not checked",
        "integrity.crc64:Crc64Protection.open",
        'if ecma_182(datagram[8:24] + self._received + body) != int.from_bytes(datagram[24:32], "big"):',
        "if False:",
        "8.4.2/forged-duplicate-unanswered",
    ),
    Mutant(
        "the window is told wrongly",
        "core.receive_window:ReceiveWindow.window",
        " - len(self.ready)",
        "",
        "8.6/current-window-told",
    ),
    Mutant(
        "the window is not heeded",
        OUTGOING + "_admitted",
        "room = sub(sent.right_edge, sent.next_sn)",
        "room = 1000",
        "8.6/responder-heeds-first-window",
    ),
    Mutant(
        "the right edge moves back",
        "core.send_window:SendWindow.advertise",
        "if 0 < edge - self.right_edge & MASK <= MASK >> 1:",
        "if True:",
        "8.6/edge-never-moves-back",
    ),
    Mutant(
        "an opening is not announced",
        "core.connection:Connection._reading_made_room",
        "self._ack_now = True",
        "pass",
        "8.6/opening-announced",
    ),
    Mutant(
        "a shut window is not probed",
        OUTGOING + "_admitted_to_shut_window",
        "return 1",
        "return 0",
        "8.6/shut-window-probed",
    ),
    Mutant(
        "no room, and taken",
        IN_BAND,
        "if ahead >= received.window and ahead >= 0:",
        "if False:",
        "8.6/probe-answered-without-room",
    ),
    Mutant(
        "no congestion window",
        "core.congestion:Macroflow.allowance",
        "room = self.cwnd - self.in_flight",
        "return 10**9",
        "8.7/congestion-managed",
    ),
    Mutant(
        "ECE is ignored",
        AUTHENTIC + "_authentic",
        "if flags & FLAG_ECE and self._srr_since is None:",
        "if False:",
        "8.7/ece-reduces-rate",
    ),
    Mutant("no doubling", OUTGOING + "_expire", "self.rtt.back_off()", "pass", "8.5.4/backoff-doubled"),
    Mutant(
        "the timer starts over",
        OUTGOING + "_retransmission_deadline",
        "head = blocks[0] if",
        "head = blocks[-1] if",
        "8.5.4/timer-started-by-sending",
    ),
    Mutant(
        "repeats of what is there",
        OUTGOING + "_settled",
        "return block.acknowledged and block is not self.sent.blocks[0]",
        "return False",
        "8.5.3/gaps-repeated",
    ),
    Mutant(
        "void SNACKs are believed",
        "core.send_window:SendWindow.acknowledge_selectively",
        "if not width or not length:",
        "if False:",
        "8.5.3/empty-entry-void",
    ),
    Mutant(
        "the peer's delay counts",
        "core.timers:RoundTrip.reported",
        "now - sent_at - delay",
        "now - sent_at",
        "8.5.1/delay-is-subtracted",
    ),
    Mutant(
        "repeats are measured",
        "core.send_window:SendWindow.acknowledge",
        "if block.times == 1 else None",
        "",
        "8.5.1/no-sample-from-retransmission",
    ),
    Mutant(
        "the mean before the deviation",
        "core.timers:RoundTrip.sample",
        "abs(self.srtt - rtt)",
        "abs((1 - ALPHA) * self.srtt + ALPHA * rtt - rtt)",
        "8.5.1/later-measurements",
    ),
    # 9
    Mutant("RELEASE without EoT", "revision", "release_flags", 0, "9.1/release-from-closable"),
    Mutant(
        "RELEASE before everything is there",
        IN_BAND,
        "if ahead > 0:\n",
        "if ahead > 0 and op is not Op.RELEASE:\n",
        "9.2/buffered-until-complete",
    ),
    Mutant(
        "the dead do not answer",
        "_tombstones:Tombstones.add",
        "connection if connection.answers else None",
        "None",
        "9.3/closed-answers-release",
    ),
    Mutant(
        "repeats before their time",
        "core.timers:RoundTrip.sample",
        "min(max(rto, timers.minimum), timers.maximum)",
        "min(rto, timers.maximum)",
        "9.4/normal-retransmission-rule",
    ),
    # 10
    Mutant("hasty heartbeats", "revision", "heartbeat_interval", 60.0, "10.1/period-of-600-seconds"),
    Mutant(
        "no heartbeats",
        OUTGOING + "next_heartbeat",
        "self._heartbeat_at if self.state in CONNECTED else math.inf",
        "math.inf",
        "10.1/heartbeat-in-connected-states",
    ),
    Mutant(
        "old packets are followed",
        AUTHENTIC + "_authentic",
        "if later > 0 or (later == 0 and sub(serial, newest_serial) > 0):",
        "if True:",
        "10.3/older-packet-not-followed",
    ),
    Mutant(
        "nobody is followed",
        AUTHENTIC + "_authentic",
        "if follows and source != self.remote:",
        "if False:",
        "10.3/newer-packet-followed",
    ),
    # 12
    Mutant("half open for ten minutes", "revision", "transient_timeout", 600.0, "12.1/challenging-ends-after-sixty"),
    Mutant("half open for twenty seconds", "revision", "transient_timeout", 20.0, "12.1/accepted-just-before-limit"),
    Mutant("commits for ever", "revision", "commit_abort", 1e6, "12.3/silence-in-committing2"),
    Mutant(
        "replays are signs of life",
        IN_BAND,
        "if ahead >= 0 and sn not in received.early:",
        "if True:",
        "12.3/replays-do-not-renew",
    ),
    Mutant("RELEASE for ever", "revision", "shutdown_timeout", 1e6, "12.4/release-for-one-minute"),
    Mutant("idle for a day", "revision", "idle_timeout", 86_400.0, "12.5/closed-after-four-hours"),
    Mutant(
        "RESET from afar",
        AUTHENTIC + "_receive_reset_untrusted",
        "if ahead > right or ahead < left:",
        "if False:",
        "12.7/reset-outside-window",
    ),
    Mutant(
        "RESET with a used number",
        "core.link:Link._make_reset",
        "sn = self.sent.next_sn",
        "sn = (self.sent.next_sn - 1) & MASK",
        "12.7/reset-on-abort",
    ),
    # 14
    Mutant(
        "serials may come again",
        OUT_OF_BAND,
        "serial <= self._last_serial",
        "serial < self._last_serial",
        "14.2/out-of-band-replay",
    ),
    Mutant(
        "packets may come again",
        IN_BAND,
        "if ahead < 0 or sn in received.early:",
        "if sn in received.early:",
        "14.2/in-band-replay",
    ),
]
