"""Reading captures of FSP: what `fsp-trio decode` does.

* `files`: pcap and pcapng; `frames`: from the link to UDP
* `follow`: the Follower, which tells of each datagram what it is; `packets`: what it tells
* `connections`, `keys`: what is known of a connection, and which key a packet may be under
* `dialects`: what a decoder needs of each revision
"""

from fsp_trio.capture.dialects import DIALECTS, Dialect
from fsp_trio.capture.files import CaptureError, Frame, read_frames
from fsp_trio.capture.follow import DEFAULT_REKEY_THRESHOLD, Evidence, Follower
from fsp_trio.capture.frames import Datagram, Fragment, datagram_of
from fsp_trio.capture.packets import DecodedPacket

__all__ = [
    "DEFAULT_REKEY_THRESHOLD",
    "DIALECTS",
    "CaptureError",
    "Datagram",
    "DecodedPacket",
    "Dialect",
    "Evidence",
    "Follower",
    "Fragment",
    "Frame",
    "datagram_of",
    "read_frames",
]
