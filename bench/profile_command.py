"""`python -m bench profile`: where the time goes, in a bulk transfer unless told otherwise."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import trio

from .conductor import pair
from .jobs import BLOCK
from .tables import Table

MEBI = 2**20
WARM_UP = 50  # of exchanges and connects, before the profile
Rows = list[dict[str, Any]]
METHODS = {"": "undisturbed", "samples": "sampled", "calls": "every call counted"}
UNITS = {"bulk": "1,024 octets", "exchange": "exchange", "connect": "connect"}


@dataclasses.dataclass(frozen=True, slots=True)
class Observed:
    units: float
    seconds: float
    processor: dict[str, float]  # seconds, by role
    rows: dict[str, Rows]  # by role

    def cost(self, role: str) -> float:
        """Microseconds of processor time for each unit."""
        return self.processor[role] / self.units * 1e6


def _request(measure: str, amount: int) -> tuple[dict[str, Any], float]:
    """The command to a client, and how many units of work it asks for; the amount is in MiB for bulk."""
    if measure == "bulk":
        return {"do": "transfer", "octets": amount * MEBI}, amount * MEBI / BLOCK
    return {"do": measure, "count": amount}, amount


async def observe(subject: str, directory: str, measure: str, amount: int, method: str) -> Observed:
    async with pair(subject, directory, steady=True) as (server, client):
        workers = {"client": client, "server": server}
        await client.ask(**_request(measure, 1 if measure == "bulk" else WARM_UP)[0])
        if method:
            for worker in workers.values():
                await worker.ask("profile", method=method)
        before = {role: await worker.ask("processor") for role, worker in workers.items()}
        request, units = _request(measure, amount)
        start = trio.current_time()
        await client.ask(**request)
        seconds = trio.current_time() - start
        after = {role: await worker.ask("processor") for role, worker in workers.items()}
        rows = {role: await worker.ask("profiled") for role, worker in workers.items()} if method else {}
    return Observed(units, seconds, {role: after[role] - before[role] for role in workers}, rows)


async def profile(
    subject: str, directory: str, measure: str, amount: int, top: int, tell: Callable[[str], None]
) -> list[Table]:
    found: dict[str, Observed] = {}
    for method, title in METHODS.items():
        tell(f"{subject}, {measure}, {title}")
        size = max(1, amount // 4) if method == "calls" else amount
        found[method] = await observe(subject, directory, measure, size, method)
    plain, sampled, counted = (found[method] for method in METHODS)
    unit = UNITS[measure]
    tables = [_overview(found, unit)]
    for role in plain.processor:
        # the shares of the sampled run, applied to the processor time of the undisturbed one
        tables.append(_by_module(role, sampled.rows[role], plain.cost(role), unit))
        tables.append(_by_function(role, sampled.rows[role], plain.cost(role), unit, top))
        tables.append(_calls(role, counted, unit, top))
    return tables


def _overview(found: dict[str, Observed], unit: str) -> Table:
    header = ("run", f"us per {unit}", "client, us of CPU", "server, us of CPU", "client busy", "server busy")
    table = Table(f"The work, per {unit}", header)
    for method, seen in found.items():
        table.rows.append(
            (
                METHODS[method],
                f"{seen.seconds / seen.units * 1e6:.2f}",
                *(f"{seen.cost(role):.2f}" for role in seen.processor),
                *(f"{seconds / seen.seconds:.0%}" for seconds in seen.processor.values()),
            )
        )
    return table


def group(module: str) -> str:
    """Our own modules one by one, others by their package."""
    return module if module.startswith(("fsp_trio", "bench")) else module.split(".")[0]


def _by_module(role: str, rows: Rows, cost: float, unit: str) -> Table:
    weights: dict[str, float] = {}
    for row in rows:
        name = group(row["module"])
        weights[name] = weights.get(name, 0) + row["weight"]
    total = sum(weights.values()) or 1
    table = Table(f"The {role} by module (sampled)", ("module", "share", f"us per {unit}"))
    for name, weight in sorted(weights.items(), key=lambda item: -item[1]):
        if weight / total >= 0.002:
            table.rows.append((name, f"{weight / total:.1%}", f"{weight / total * cost:.3f}"))
    return table


def _by_function(role: str, rows: Rows, cost: float, unit: str, top: int) -> Table:
    total = sum(row["weight"] for row in rows) or 1
    table = Table(
        f"The {role} by function (sampled; calls into C count for their caller)",
        ("function", "module", "share", f"us per {unit}"),
    )
    for row in sorted(rows, key=lambda row: -row["weight"])[:top]:
        share = row["weight"] / total
        table.rows.append((row["function"], row["module"], f"{share:.1%}", f"{share * cost:.3f}"))
    return table


def _calls(role: str, counted: Observed, unit: str, top: int) -> Table:
    waiting = "method 'poll' of"
    working = [row for row in counted.rows[role] if not row["function"].startswith(waiting)]
    table = Table(
        f"The {role} by calls (counted; the counting itself makes small functions look dear)",
        ("function", "module", f"calls per {unit}", "own us"),
    )
    for row in sorted(working, key=lambda row: -row["weight"])[:top]:
        calls, own = row["calls"] / counted.units, row["weight"] / counted.units * 1e6
        table.rows.append((row["function"], row["module"], f"{calls:.3f}", f"{own:.3f}"))
    return table
