"""What the samples say: medians with their spread, ratios against aioquic, and the floors."""

from __future__ import annotations

import dataclasses
import os
import platform
import ssl
import statistics
from collections.abc import Iterable, Sequence
from importlib import metadata
from typing import Any

from cryptography.hazmat.backends.openssl import backend

from .runner import Failure, Plan, Sample
from .subjects import FSP, REFERENCE, SUBJECTS
from .tables import Table

PACKAGES = ("aioquic", "trio", "cryptography")


@dataclasses.dataclass(frozen=True, slots=True)
class Metric:
    key: str
    title: str
    digits: int = 0
    ratio: bool = False  # with a column against the reference


METRICS: dict[str, tuple[str, tuple[Metric, ...]]] = {
    "bulk": (
        "Bulk, one way",
        (
            Metric("bulk_mb_per_s", "MB/s", 1, ratio=True),
            Metric("client_us_per_kib", "sender, us of CPU per KiB", 2),
            Metric("server_us_per_kib", "receiver, us of CPU per KiB", 2),
        ),
    ),
    "exchange": (
        "Request and response of 1 KB on an established session",
        (
            Metric("exchange_us", "median, us", 0, ratio=True),
            Metric("exchange_p99_us", "99th percentile, us"),
        ),
    ),
    "connect": (
        "Connect, keys in place",
        (
            Metric("connect_us", "until usable, us", 0, ratio=True),
            Metric("connect_p99_us", "99th percentile, us"),
            Metric("answered_us", "until the first answer, us"),
        ),
    ),
    "memory": (
        "Memory of an idle session",
        (
            Metric("server_resident_kib", "server, resident KiB", 1, ratio=True),
            Metric("client_resident_kib", "client, resident KiB", 1),
            Metric("server_traced_kib", "server, Python KiB", 1),
            Metric("client_traced_kib", "client, Python KiB", 1),
        ),
    ),
}


class Summary:
    def __init__(self, samples: Iterable[Sample]) -> None:
        self._values: dict[tuple[str, str], list[float]] = {}
        for sample in samples:
            for key, value in sample.values.items():
                self._values.setdefault((sample.subject, key), []).append(value)

    def values(self, subject: str, key: str) -> list[float]:
        return self._values.get((subject, key), [])

    def median(self, subject: str, key: str) -> float | None:
        values = self.values(subject, key)
        return statistics.median(values) if values else None

    def ratio(self, subject: str, key: str) -> float | None:
        ours, theirs = self.median(subject, key), self.median(REFERENCE, key)
        return ours / theirs if ours is not None and theirs else None


def tables(summary: Summary, plan: Plan) -> list[Table]:
    return [_table(summary, plan, measure) for measure in METRICS if measure in plan.measures]


def _table(summary: Summary, plan: Plan, measure: str) -> Table:
    title, metrics = METRICS[measure]
    header = ["subject"]
    for metric in metrics:
        header.append(metric.title)
        if metric.ratio:
            header.append(f"of {REFERENCE}'s")
    table = Table(title, tuple(header))
    for name in plan.subjects:
        if measure in SUBJECTS[name].measures:
            row = [SUBJECTS[name].title]
            for metric in metrics:
                row.append(_spread(summary.values(name, metric.key), metric.digits))
                if metric.ratio:
                    ratio = summary.ratio(name, metric.key)
                    row.append("-" if ratio is None else f"{ratio:.2f}")
            table.rows.append(tuple(row))
    return table


def _spread(values: list[float], digits: int) -> str:
    if not values:
        return "-"
    middle, low, high = (f"{x:,.{digits}f}" for x in (statistics.median(values), min(values), max(values)))
    return f"{middle} ({low} to {high})"


@dataclasses.dataclass(frozen=True, slots=True)
class Floor:
    measure: str
    wording: str
    reached: str
    passed: bool


def floors(summary: Summary, plan: Plan) -> list[Floor]:
    """The floors that this run can tell anything about: those whose subjects and measures were asked for."""
    found: list[Floor] = []
    if FSP not in plan.subjects:
        return found

    def check(measure: str, wording: str, value: float | None, unit: str, passed: bool) -> None:
        found.append(Floor(measure, wording, "not measured" if value is None else f"{value:.2f}{unit}", passed))

    if REFERENCE in plan.subjects:
        for measure, key, limit, faster in (
            ("bulk", "bulk_mb_per_s", 10.0, True),
            ("exchange", "exchange_us", 0.4, False),
            ("connect", "connect_us", 0.3, False),
        ):
            if measure in plan.measures:
                ratio = summary.ratio(FSP, key)
                passed = ratio is not None and (ratio >= limit if faster else ratio <= limit)
                wording = f"{measure}: at {'least' if faster else 'most'} {limit:g} of {REFERENCE}'s"
                check(measure, wording, ratio, "", passed)
    if "memory" in plan.measures:
        sizes = [summary.median(FSP, f"{role}_resident_kib") for role in ("server", "client")]
        largest = None if None in sizes else max(size for size in sizes if size is not None)
        wording = "memory: at most 32 KiB resident per idle session, in either process"
        check("memory", wording, largest, " KiB", largest is not None and largest <= 32)
    return found


def floors_table(found: Sequence[Floor]) -> Table:
    rows: list[tuple[str, ...]] = [
        (floor.wording, floor.reached, "PASS" if floor.passed else "MISS") for floor in found
    ]
    return Table("Floors", ("floor", "reached", "verdict"), rows)


def environment() -> dict[str, Any]:
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "openssl of ssl": ssl.OPENSSL_VERSION,
        "openssl of cryptography": backend.openssl_version_text(),
        **{name: metadata.version(name) for name in PACKAGES},
        "load": os.getloadavg()[0],
    }


NOTES = """\
Two processes on the loopback interface for each figure, started afresh in every round; the subjects take
turns within a round. Each figure is the median of {rounds} rounds, with the lowest and highest in brackets.

* fsp-trio: AES-128-GCM with 8-octet tags, payloads of 1,024 octets. Connecting includes the agreement on a
  pre-shared key and its installation; each connect opens its own socket, as it does for the others. The
  many sessions of the memory measure share one endpoint on the client's side too.
* aioquic: AES-128-GCM, datagrams of 1,200 octets (its default and its minimum), flow control windows of 16
  MiB, a certificate on P-256, one stream per connection, address validation by Retry off. For the row with
  payloads of 1,024 octets the datagram size is lowered after the handshake, past its configuration.
* TLS: `trio.SSLStream` over TCP, TLS 1.3 with OpenSSL's first choice (AES-256-GCM; the `ssl` of Python 3.11
  to 3.14 does not let one choose).
* The bare loop seals, sends, receives and opens datagrams of FSP's shape over blocking sockets; nothing is
  ordered or sent again.
* In the speed measures all processes run with glibc's trim and mmap thresholds raised: asyncio asks for 256
  KiB per datagram, and with the defaults aioquic falls, in some runs, to three quarters of its rate.
* Every idle session has carried one request and response. Resident is what the kernel counts, Python what
  tracemalloc does.
"""


def markdown(parts: Sequence[Table], plan: Plan, about: dict[str, Any], failures: Sequence[Failure]) -> str:
    facts = ", ".join(f"{name} {value}" for name, value in about.items() if name != "load")
    texts = [part.markdown() for part in parts]
    lost = "".join(f"* not measured: {f.subject}, {f.measure}, round {f.round}: {f.reason}\n" for f in failures)
    return "\n".join((f"Measured with {facts}.\n", *texts, NOTES.format(rounds=plan.rounds), lost))


def as_json(
    samples: Sequence[Sample],
    failures: Sequence[Failure],
    found: Sequence[Floor],
    plan: Plan,
    about: dict[str, Any],
) -> dict[str, Any]:
    return {
        "environment": about,
        "plan": dataclasses.asdict(plan),
        "floors": [dataclasses.asdict(floor) for floor in found],
        "failures": [dataclasses.asdict(failure) for failure in failures],
        "samples": [dataclasses.asdict(sample) for sample in samples],
    }
