"""What the system can do for UDP beyond sendto and recvfrom.

Python names hardly any of these constants, so the numbers of the Linux headers stand here; they are used
on Linux only, because they mean something else elsewhere.
"""

from __future__ import annotations

import errno
import os
import struct
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

# Plain ints: the enumerations of the socket module cost a microsecond per operation.
SOL_IP: Final = 0
SOL_SOCKET: Final = 1
SOL_UDP: Final = 17
UDP_SEGMENT: Final = 103
UDP_GRO: Final = 104
SO_NO_CHECK: Final = 11
SO_RXQ_OVFL: Final = 40
IP_TOS: Final = 1
IP_RECVTOS: Final = 13
IP_UNICAST_IF: Final = 50
CUT_SHORT: Final = 0x20 | 0x08  # MSG_TRUNC, MSG_CTRUNC

SWITCH: Final = "FSP_TRIO_NO_OFFLOAD"
"""Environment variable: `1` leaves segmentation offload unused in both directions."""

MAX_SEGMENTS: Final = 64
"""Linux takes that many since 4.18; later versions take more, which brings nothing within 64 KiB."""

MAX_SEGMENTED_OCTETS: Final = 65_400
"""A larger send arrives as single datagrams, though the system would take up to 65,507 octets."""

ECT_0: Final = 0b10
CONGESTION_EXPERIENCED: Final = 0b11

OFFLOAD_ABSENT: Final = frozenset({errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP})
"""Refusals that hold for the device or the system: a device without checksum offload answers EIO."""

OFFLOAD_REFUSED: Final = frozenset({errno.EINVAL, errno.EMSGSIZE})
"""Refusals that may hold for these datagrams or this path only (a segment beyond the path's MTU)."""

_SEGMENT_SIZE: Final = struct.Struct("=H")


@dataclass(frozen=True, slots=True)
class Features:
    """What is worth trying on this platform; whether it works the socket shows."""

    segmentation: bool
    coalescing: bool
    checksum_omission: bool
    congestion_notification: bool
    drop_counter: bool


PLAIN: Final = Features(False, False, False, False, False)


def platform_features(platform: str = sys.platform, environment: Mapping[str, str] = os.environ) -> Features:
    if platform != "linux":
        return PLAIN
    offload = environment.get(SWITCH, "") != "1"
    return Features(offload, offload, checksum_omission=True, congestion_notification=True, drop_counter=True)


def segment_control(size: int) -> list[tuple[int, int, bytes]]:
    """The control message that makes the system cut one send into datagrams of `size` octets."""
    return [(SOL_UDP, UDP_SEGMENT, _SEGMENT_SIZE.pack(size))]


def run_length(lengths: Sequence[int], start: int) -> int:
    """How many datagrams from `start` on one segmented send carries: equal ones, the last may be shorter."""
    size = lengths[start]
    limit = min(MAX_SEGMENTS, MAX_SEGMENTED_OCTETS // size) if size else 1
    window = lengths[start : start + limit]
    count = len(window)
    if window.count(size) == count:
        return max(count, 1)
    # Looking at them one by one is for the uncommon case of a batch with several sizes.
    unequal = next(index for index, length in enumerate(window) if length != size)
    return unequal + 1 if 0 < window[unequal] < size else unequal


@lru_cache(maxsize=128)
def splitter(total: int, segment: int) -> struct.Struct:
    """Cuts `total` octets into pieces of `segment` octets in one call, six times faster than slicing."""
    whole, rest = divmod(total, segment)
    return struct.Struct(f"{segment}s" * whole + (f"{rest}s" if rest else ""))
