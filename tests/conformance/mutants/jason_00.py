"""Violations of jason-00."""

from __future__ import annotations

from functools import partial
from typing import Final

from .mutant import Mutant
from .places import AUTHENTIC, HANDSHAKE, IN_BAND, INCOMING, OUT_OF_BAND, OUTGOING, RESPONDER

JASON_CODEC: Final = "wire.jason:JasonCodec."
JASON_AEAD: Final = "integrity.jason:HeaderInClearAead."
_mutant = partial(Mutant, revision="jason-00")

JASON: Final = [
    # 1
    _mutant(
        "jason: any source ULTID",
        INCOMING + "_receive_one_untrusted",
        "if datagram[:ULTID_PAIR] != self._peer_ids:",
        "if False:",
        "1.2/foreign-source-ultid-dropped",
    ),
    _mutant(
        "jason: key received one number late",
        "core.connection:Connection.install_key",
        "keyring.begin(keyring.receiving, received.expected, secret)",
        "keyring.begin(keyring.receiving, received.expected + 1, secret)",
        "1.4/key-from-eot-on",
    ),
    _mutant(
        "jason: little-endian serials",
        JASON_CODEC + "_encode_stack",
        'extension.serial.to_bytes(4, "big")',
        'extension.serial.to_bytes(4, "little")',
        "3.11/serial-goes-up",
    ),
    _mutant(
        "jason: reserved flags", "core.link:Link._header_flags", "return (", "return 1 | (", "3.8/reserved-flags-zero"
    ),
    _mutant(
        "jason: acknowledgement of the future",
        IN_BAND,
        "if unsent > 0 or (unsent < 0 and self.state is State.CHALLENGING):",
        "if unsent < 0 and self.state is State.CHALLENGING:",
        "3.8/expected-beyond-sent",
    ),
    _mutant(
        "jason: out of band, out of the window",
        OUT_OF_BAND,
        "if ahead > received.window or (ahead < -reach and not awaited):",
        "if False:",
        "3.8/out-of-band-outside-window",
    ),
    _mutant(
        "jason: RESET from afar",
        AUTHENTIC + "_receive_reset_untrusted",
        "if ahead > right or ahead < left:",
        "if False:",
        "3.10/reset-outside-window-ignored",
    ),
    _mutant("jason: serials skip", "core.link:Link._next_serial", "+= 1", "+= 2", "3.11/serial-goes-up"),
    _mutant(
        "jason: gaps run together",
        "core.receive_window:ReceiveWindow.snack",
        "if offset != last + 1:",
        "if offset > last + 2:",
        "3.11/one-entry-per-gap",
    ),
    # 4
    _mutant(
        "jason: ACK_FLUSH for open transactions",
        OUTGOING + "_acknowledge_now",
        "op = Op.KEEP_ALIVE if gaps else Op.ACK_FLUSH",
        "op = Op.ACK_FLUSH",
        "4.6/active-pure-data",
    ),
    _mutant(
        "jason: KEEP_ALIVE for complete transactions",
        OUTGOING + "_acknowledge_now",
        "op = Op.KEEP_ALIVE if gaps else Op.ACK_FLUSH",
        "op = Op.KEEP_ALIVE",
        "4.10/committed-pure-data-eot",
    ),
    _mutant(
        "jason: repeated requests are ignored",
        HANDSHAKE + "_take_repeated_request_untrusted",
        "self._urgent = [self._handshake_datagram]",
        "pass",
        "4.2/listening-duplicate-request",
    ),
    _mutant(
        "jason: any ACK_FLUSH ends a commitment",
        OUT_OF_BAND,
        "if op is Op.ACK_FLUSH and snack.expected_sn == self.sent.next_sn:",
        "if op is Op.ACK_FLUSH:",
        "4.7/committing-partial-ack-flush",
    ),
    _mutant(
        "jason: RESET without proof",
        HANDSHAKE + "_echoes",
        " and packet.proof == request.cookie",
        "",
        "4.5/affirming-forged-reset",
    ),
    _mutant(
        "jason: the dead do not answer",
        "_tombstones:Tombstones.add",
        "connection if connection.answers else None",
        "None",
        "4.13/closed-repeated-release",
    ),
    # 5
    _mutant(
        "jason: any cookie",
        RESPONDER + "_check",
        "if hmac.compare_digest(cookie, packet.cookie):",
        "if True:",
        "5.1/cookie-cannot-be-guessed",
    ),
    _mutant(
        "jason: cookie without salt",
        RESPONDER + "_cookie",
        "        init_check_code,\n        salt,\n        initiator_ultid,\n",
        "        init_check_code,\n        initiator_ultid,\n",
        "5.1/cookie-depends-on-salt",
    ),
    _mutant(
        "jason: cookie without ULTID",
        RESPONDER + "_cookie",
        "        initiator_ultid,\n        offered,\n",
        "        initiator_ultid,\n",
        "5.1/cookie-depends-on-ultid",
    ),
    _mutant(
        "jason: answers from the listener",
        RESPONDER + "_challenge",
        "return offered + ",
        "return self.listener_ultid + ",
        "5.3/ack-from-new-ultid",
    ),
    _mutant(
        "jason: any check code",
        HANDSHAKE + "_take_challenge_untrusted",
        "if packet.init_check_code != init.init_check_code or not named:",
        "if not named:",
        "5.4/echoed-check-code-verified",
    ),
    _mutant(
        "jason: cookie not reflected",
        HANDSHAKE + "_take_challenge_untrusted",
        "cookie=packet.cookie",
        "cookie=bytes(8)",
        "5.4/own-fields-repeated",
    ),
    _mutant(
        "jason: any expected number accepts",
        HANDSHAKE + "_take_acceptance_untrusted",
        "if expected != self._initial_sn:",
        "if False:",
        "5.5/wrong-expected-number",
    ),
    _mutant(
        "jason: the handshake is not repeated",
        HANDSHAKE + "_handle_handshake_timer",
        "if self.state in CONNECTING and now >= due:",
        "if False:",
        "5.6/init-connect-repeated",
    ),
    # 6
    _mutant(
        "jason: ULTIDs in the other order",
        "integrity.crc64:_start_value",
        "int.from_bytes(ids,",
        "int.from_bytes(ids[4:] + ids[:4],",
        "6.1/start-from-ultids",
    ),
    _mutant(
        "jason: time delta turned round",
        "integrity.crc64:_start_value",
        "fields, int",
        "fields[:20] + fields[23:19:-1] + fields[24:], int",
        "6.1/salt-then-time-delta",
    ),
    _mutant(
        "jason: cookie before check code",
        "integrity.crc64:_start_value",
        "fields, int",
        "fields[8:16] + fields[:8] + fields[16:], int",
        "6.1/check-code-then-cookie",
    ),
    _mutant(
        "jason: CRC64 is not checked",
        "integrity.jason:HeaderCrc64.open",
        "return None",
        "pass",
        "6.1/changed-header-dropped",
    ),
    _mutant(
        "jason: salt of zeros",
        JASON_AEAD + "nonce_of",
        "return self.salt + head[:8]",
        "return bytes(4) + head[:8]",
        "6.2/salt-from-hash-subkey",
    ),
    _mutant(
        "jason: numbers of the IV in the other order",
        JASON_AEAD + "nonce_of",
        "return self.salt + head[:8]",
        "return self.salt + head[4:8] + head[:4]",
        "6.2/iv-from-numbers",
    ),
    _mutant(
        "jason: serial not mixed in",
        JASON_AEAD + "nonce_of",
        "(self._salt_number ^ serial)",
        "self._salt_number",
        "6.2/iv-out-of-band",
    ),
    _mutant(
        "jason: extension headers not authenticated",
        JASON_AEAD + "open",
        "compare_digest(tag, datagram[16:24])",
        "headers or compare_digest(tag, datagram[16:24])",
        "6.2/changed-extension-dropped",
    ),
    _mutant(
        "jason: any tag",
        JASON_AEAD + "open",
        "if compare_digest(tag, datagram[16:24])",
        "if True",
        "6.2/no-payload-without-tag",
    ),
    _mutant(
        "jason: no flag HMAC",
        "integrity.jason:FlaggedMac.seal",
        "head[8] | HMAC_FLAG",
        "head[8]",
        "6.3/hmac-flag-with-mac",
    ),
    _mutant(
        "jason: MAC without flag",
        "integrity.jason:FlaggedMac.open",
        "datagram[24] & HMAC_FLAG and ",
        "",
        "6.3/mac-without-flag-dropped",
    ),
    _mutant(
        "jason: MAC of the header",
        "integrity.jason:FlaggedMac._icc",
        "keyed.update(body)",
        "pass",
        "6.3/mac-covers-packet",
    ),
    # 7
    _mutant(
        "jason: PURE_DATA begins a transaction",
        OUTGOING + "_fill",
        "op = Op.PERSIST if starts else Op.PURE_DATA\n",
        "op = Op.PURE_DATA\n",
        "7.1/transaction-starts-with-persist",
    ),
    _mutant(
        "jason: the window is told wrongly",
        "core.receive_window:ReceiveWindow.window",
        " - len(self.ready)",
        "",
        "7.3/window-in-every-packet",
    ),
    _mutant(
        "jason: the window is not heeded",
        OUTGOING + "_admitted",
        "room = sub(sent.right_edge, sent.next_sn)",
        "room = 1000",
        "7.3/limit-of-sending",
    ),
    _mutant(
        "jason: the right edge moves back",
        "core.send_window:SendWindow.advertise",
        "if 0 < edge - self.right_edge & MASK <= MASK >> 1:",
        "if True:",
        "7.3/right-edge-stays",
    ),
    _mutant(
        "jason: an opening is not announced",
        "core.connection:Connection._reading_made_room",
        "self._ack_now = True",
        "pass",
        "7.3/opening-announced",
    ),
    _mutant(
        "jason: a shut window is not probed",
        OUTGOING + "_admitted_to_shut_window",
        "return 1",
        "return 0",
        "7.3/shut-window-stops",
    ),
    _mutant(
        "jason: no room, and taken",
        IN_BAND,
        "if ahead >= received.window and ahead >= 0:",
        "if False:",
        "7.3/probe-answered",
    ),
    _mutant("jason: no doubling", OUTGOING + "_expire", "self.rtt.back_off()", "pass", "7.4.4/repeats-become-rarer"),
    _mutant(
        "jason: the timer starts over",
        OUTGOING + "_retransmission_deadline",
        "head = blocks[0] if",
        "head = blocks[-1] if",
        "7.4.4/repeat-after-four-rtt",
    ),
    _mutant(
        "jason: repeats of what is there",
        OUTGOING + "_settled",
        "return block.acknowledged and block is not self.sent.blocks[0]",
        "return False",
        "7.4.3/first-gap-nacked",
    ),
    _mutant(
        "jason: ACK_FLUSH comes late",
        INCOMING + "_happen_in_order",
        "if transition.reply is Reply.ACK_FLUSH:",
        "if False:",
        "7.6/ack-flush-at-once",
    ),
    _mutant(
        "jason: duplicates are not answered",
        INCOMING + "_answer_duplicate",
        "self._ack_now = True",
        "pass",
        "7.6/lost-ack-flush-repeated",
    ),
    # 8
    _mutant(
        "jason: RELEASE before everything is there",
        IN_BAND,
        "if ahead > 0:\n",
        "if ahead > 0 and op is not Op.RELEASE:\n",
        "8.2/release-over-gap",
    ),
    # 9
    _mutant(
        "jason: no heartbeats",
        OUTGOING + "next_heartbeat",
        "self._heartbeat_at if self.state in CONNECTED else math.inf",
        "math.inf",
        "9.1/heartbeat-sent",
    ),
    _mutant(
        "jason: old packets are followed",
        AUTHENTIC + "_authentic",
        "if later > 0 or (later == 0 and sub(serial, newest_serial) > 0):",
        "if True:",
        "9.2/older-packet-moves-nothing:late",
    ),
    _mutant(
        "jason: nobody is followed",
        AUTHENTIC + "_authentic",
        "if follows and source != self.remote:",
        "if False:",
        "9.2/newest-packet-moves-peer",
    ),
    # 11
    _mutant("jason: half open for ten minutes", "revision", "transient_timeout", 600.0, "11.1/challenging-time-out"),
    _mutant(
        "jason: half open for twenty seconds",
        "revision",
        "transient_timeout",
        20.0,
        "11.1/challenging-time-out:just-before",
    ),
    _mutant("jason: commits for ever", "revision", "commit_abort", 1e6, "11.3/committing-time-out"),
    _mutant("jason: RELEASE for ever", "revision", "shutdown_timeout", 1e6, "11.4/pre-closed-time-out"),
    _mutant("jason: idle for a day", "revision", "idle_timeout", 86_400.0, "11.5/idle-time-out"),
    _mutant("jason: rare heartbeats", "revision", "heartbeat_interval", 1500.0, "9.1/heartbeat-sent"),
    # 13
    _mutant(
        "jason: serials may come again",
        OUT_OF_BAND,
        "serial <= self._last_serial",
        "serial < self._last_serial",
        "13.2/out-of-band-replay",
    ),
    _mutant(
        "jason: packets may come again",
        IN_BAND,
        "if ahead < 0 or sn in received.early:",
        "if sn in received.early:",
        "13.2/in-band-replay",
    ),
]
