"""Violations of gao-07, sections 8 to 14."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant
from .places import AUTHENTIC, IN_BAND, INCOMING, OUT_OF_BAND, OUTGOING

TRANSFER: Final = [
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
