"""Violations of gao-07, section 8.9."""

from __future__ import annotations

from typing import Final

from .mutant import Mutant

LAYER: Final = "core.minimal_delay:MinimalDelay."

MINIMAL_DELAY: Final = [
    Mutant(
        "the end of a transaction counts among messages",
        LAYER + "_take_message",
        'self._take_in_order(op, 0, b"",',
        'self._take_in_order(op, flags, b"",',
        "4.6/mind-ignores-eot",
    ),
    Mutant(
        "messages without MIND",
        "core.messages:MessageQueue.__init__",
        "self.flags = flag",
        "self.flags = 0",
        "8.9/mind-on-data-packets",
    ),
    Mutant(
        "what was left out is awaited",
        LAYER + "_take_message",
        "received.expected = sn  #",
        "pass  #",
        "8.9/mind-not-acknowledged",
    ),
    Mutant(
        "each message is acknowledged",
        LAYER + "_put_message",
        "self.statistics.payload_received += len(message.payload)",
        "self._ack_now = True",
        "8.9/mind-not-acknowledged",
    ),
    Mutant(
        "messages are sent again",
        LAYER + "_expire",
        "self.sent.forget_lost()",
        "pass",
        "8.9/mind-not-repeated",
    ),
    Mutant(
        "a message that comes after a gap is too late",
        "core.messages:MessageBuffer.put",
        "if sub(sn, self._past) < 0:",
        "if sub(sn, self._past) != 0:",
        "8.9/order-kept-after-drops",
    ),
]
