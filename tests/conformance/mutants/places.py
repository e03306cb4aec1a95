"""Functions of the library in which several mutants live."""

from __future__ import annotations

from typing import Final

HANDSHAKE: Final = "core.handshake:Handshake."
INCOMING: Final = "core.incoming:Incoming."
AUTHENTIC: Final = "core.authentic:Authentic."
OUTGOING: Final = "core.outgoing:Outgoing."
RESPONDER: Final = "core.responder:Responder."
OUT_OF_BAND: Final = AUTHENTIC + "_receive_out_of_band_untrusted"
IN_BAND: Final = INCOMING + "_receive_in_band_untrusted"
SHAPE: Final = "wire.gao:GaoCodec.check_shape"
SHAPE_CHECK: Final = "shape.check(offset, flags, payload_length)"
