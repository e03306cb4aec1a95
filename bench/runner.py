"""Rounds in which each measure is taken of each subject in turn, each time with two fresh processes."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable
from typing import Any

from .conductor import WorkerFailed, pair
from .subjects import SUBJECTS, Subject

BASE_SESSIONS = 20  # opened before the first look at the memory, so that caches and code are not charged to sessions
KIB = 1024

Values = dict[str, float]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    subjects: tuple[str, ...]
    measures: tuple[str, ...]
    rounds: int = 5
    connects: int = 100
    exchanges: int = 3000
    seconds: float = 2.0
    memory_scale: float = 1.0

    def scaled(self, scale: float) -> Plan:
        return dataclasses.replace(
            self,
            connects=max(2, round(self.connects * scale)),
            exchanges=max(10, round(self.exchanges * scale)),
            seconds=self.seconds * scale,
            memory_scale=self.memory_scale * scale,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class Sample:
    round: int
    subject: str
    measure: str
    values: Values  # by the keys of bench.report.METRICS
    raw: Any


@dataclasses.dataclass(frozen=True, slots=True)
class Failure:
    round: int
    subject: str
    measure: str
    reason: str


def quantile(samples: list[float], part: float) -> float:
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


async def measure_connect(subject: Subject, plan: Plan, directory: str) -> tuple[Values, Any]:
    async with pair(subject.name, directory, steady=True) as (_, client):
        raw = await client.ask("connect", count=plan.connects)
    values = {
        "connect_us": statistics.median(raw["usable"]),
        "connect_p99_us": quantile(raw["usable"], 0.99),
        "answered_us": statistics.median(raw["answered"]),
    }
    return values, raw


async def measure_exchange(subject: Subject, plan: Plan, directory: str) -> tuple[Values, Any]:
    async with pair(subject.name, directory, steady=True) as (_, client):
        raw = await client.ask("exchange", count=plan.exchanges)
    return {"exchange_us": statistics.median(raw), "exchange_p99_us": quantile(raw, 0.99)}, raw


async def measure_bulk(subject: Subject, plan: Plan, directory: str) -> tuple[Values, Any]:
    async with pair(subject.name, directory, steady=True) as (server, client):
        octets = await client.ask("calibrate", seconds=plan.seconds)
        before = await server.ask("processor")
        raw = await client.ask("transfer", octets=octets)
        raw["server_cpu"] = await server.ask("processor") - before
    kib = raw["octets"] / KIB
    values = {
        "bulk_mb_per_s": raw["octets"] / raw["seconds"] / 1e6,
        "client_us_per_kib": raw["client_cpu"] / kib * 1e6,
        "server_us_per_kib": raw["server_cpu"] / kib * 1e6,
    }
    if raw.get("packets_sent"):
        values["octets_per_packet"] = raw["octets"] / raw["packets_sent"]
    return values, raw


async def measure_memory(subject: Subject, plan: Plan, directory: str) -> tuple[Values, Any]:
    sessions = max(1, round(subject.memory_sessions * plan.memory_scale))
    values: Values = {}
    raw: dict[str, Any] = {"sessions": sessions}
    for kind in ("resident", "traced"):  # apart, because tracing itself takes memory
        async with pair(subject.name, directory, traced=kind == "traced") as (server, client):
            await client.ask("hold", count=BASE_SESSIONS)
            before = [await worker.ask("memory") for worker in (server, client)]
            await client.ask("hold", count=sessions)
            after = [await worker.ask("memory") for worker in (server, client)]
        raw[kind] = {"before": before, "after": after}
        for role, old, new in zip(("server", "client"), before, after, strict=True):
            values[f"{role}_{kind}_kib"] = (new[kind] - old[kind]) / sessions / KIB
    return values, raw


MEASURERS = {
    "connect": measure_connect,
    "exchange": measure_exchange,
    "bulk": measure_bulk,
    "memory": measure_memory,
}


async def run(plan: Plan, directory: str, tell: Callable[[str], None]) -> tuple[list[Sample], list[Failure]]:
    samples: list[Sample] = []
    failures: list[Failure] = []
    for number in range(1, plan.rounds + 1):
        for measure in plan.measures:
            for subject in (SUBJECTS[name] for name in plan.subjects):
                if measure not in subject.measures:
                    continue
                tell(f"round {number} of {plan.rounds}: {measure}, {subject.title}")
                try:
                    values, raw = await MEASURERS[measure](subject, plan, directory)
                except WorkerFailed as error:
                    failures.append(Failure(number, subject.name, measure, str(error)))
                else:
                    samples.append(Sample(number, subject.name, measure, values, raw))
    return samples, failures
