"""Violations of gao-07, sections 4 to 7."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant
from .places import HANDSHAKE, IN_BAND, INCOMING, OUT_OF_BAND, OUTGOING, RESPONDER, SHAPE, SHAPE_CHECK

NEGOTIATION: Final = [
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
        "if datagram[:ULTID_PAIR] != self._peer_ids and op is not Op.MULTIPLY:",
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
    Mutant(
        "a window that never changes",
        "core.sealing:Sealing._seal",
        "received.window, sn",
        "2048, sn",
        "4.6/window-counts-free-blocks",
    ),
    Mutant(
        "acknowledgements of yesterday",
        "core.sealing:Sealing._seal",
        "sn, received.expected)",
        "sn, self.told_expected)",
        "4.6/expected-is-cumulative",
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
        "if self.state in AWAITING and now >= due:",
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
]
