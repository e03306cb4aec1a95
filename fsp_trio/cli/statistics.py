"""What is told of a session when it is over, and how numbers are written."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import groupby
from typing import Final

from fsp_trio.session import FSPSession

__all__ = ["FileResult", "Summary", "format_address", "format_octets", "format_seconds"]

MOST_STATES: Final = 40
"""States written out; of a longer list the middle is left out."""
_UNITS: Final = ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def format_octets(number: float) -> str:
    if number < 1024:
        return f"{number:.0f} octets"
    units = iter(_UNITS)
    unit = next(units)
    number /= 1024
    while number >= 999.95 and (larger := next(units, None)):
        number /= 1024
        unit = larger
    return f"{number:.1f} {unit}"


def format_seconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def format_address(address: object) -> str:
    match address:
        case (str(host), int(port)):
            return f"{host}:{port}"
        case _:
            return str(address)


def format_states(states: list[str]) -> str:
    """States in their order; immediate repeats once, of a long list the ends."""
    distinct = [state for state, _ in groupby(states)]
    if len(distinct) > MOST_STATES:
        kept = MOST_STATES // 2
        left_out = len(distinct) - 2 * kept
        distinct = [*distinct[:kept], f"({left_out} more)", *distinct[-kept:]]
    return " > ".join(distinct)


@dataclass(frozen=True, slots=True)
class FileResult:
    """One file that was, or was not, transferred."""

    name: str
    size: int
    digest: str = ""
    """BLAKE2b-256, hexadecimal, once both ends agree upon it."""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One session, told when it is over."""

    peer: str
    protection: str
    octets: int
    """Of content."""
    seconds: float
    packets_sent: int
    packets_received: int
    retransmissions: int
    duplicates: int
    dropped: int
    srtt: float
    states: list[str]
    files: list[FileResult]

    @classmethod
    def of(cls, session: FSPSession, *, octets: int, seconds: float, files: list[FileResult]) -> Summary:
        statistics = session.statistics()
        packets = statistics.packets
        return cls(
            peer=format_address(session.remote_address),
            protection=session.protection,
            octets=octets,
            seconds=seconds,
            packets_sent=packets.packets_sent,
            packets_received=packets.packets_received,
            retransmissions=packets.retransmissions,
            duplicates=packets.duplicates,
            dropped=sum(packets.drops.values()) + statistics.inbox_drops,
            srtt=statistics.srtt,
            states=[state.name for state in session.states_passed],
            files=files,
        )

    @property
    def rate(self) -> float:
        """Octets of content per second."""
        return self.octets / self.seconds if self.seconds > 0 else 0.0

    def lines(self) -> list[str]:
        volume = f"{format_octets(self.octets)} in {format_seconds(self.seconds)}"
        packets = ", ".join(
            f"{number} {name}"
            for number, name in (
                (self.packets_sent, "sent"),
                (self.packets_received, "received"),
                (self.retransmissions, "retransmissions"),
                (self.duplicates, "duplicates"),
                (self.dropped, "dropped"),
            )
        )
        return [
            f"{volume}, rate {format_octets(self.rate)}/s, protection {self.protection}",
            f"packets: {packets}; round trip {format_seconds(self.srtt)}",
            f"states: {format_states(self.states)}",
        ]

    def as_dict(self) -> dict[str, object]:
        return {**asdict(self), "rate": self.rate}
