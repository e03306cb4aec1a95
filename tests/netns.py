"""Network namespaces with wires between them, and the programs in them: made here, and always taken away again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any


def run(*command: str, check: bool = True, given: str = "") -> None:
    """Run a command; `given` is its input."""
    done = subprocess.run(command, capture_output=True, text=True, input=given, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)} {given}: {done.stderr.strip()}")


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def inside(name: str, *command: str) -> list[str]:
    """The command line that runs a command in a namespace."""
    return ["ip", "netns", "exec", name, *command]


def ip(name: str, *commands: str) -> None:
    """Let `ip` do several things in a namespace, one after the other; the first that fails ends it."""
    run("ip", "-n", name, "-batch", "-", given="\n".join(commands) + "\n")


def nft(name: str, rules: str) -> None:
    run(*inside(name, "nft", "-f", "-"), given=rules)


def nft_list(name: str, *what: str) -> list[dict[str, Any]]:
    """What nft lists, as it says it in JSON."""
    listed: list[dict[str, Any]] = json.loads(output(*inside(name, "nft", "-j", "list", *what)))["nftables"]
    return listed


def wire(one: str, other: str, end: str, other_end: str) -> None:
    """A wire between two namespaces; the names of its ends are those of the interfaces there."""
    run("ip", "-n", one, "link", "add", "name", end, "type", "veth", "peer", "name", other_end, "netns", other)
    ip(one, f"link set dev {end} up")
    ip(other, f"link set dev {other_end} up")


def make(*names: str) -> None:
    for name in names:
        run("ip", "netns", "add", name)
        ip(name, "link set dev lo up")


def take_away(*names: str) -> None:
    """Ends what runs in the namespaces, and removes them; those that do not exist are none."""
    for name in names:
        found = subprocess.run(["ip", "netns", "pids", name], capture_output=True, text=True, check=False)
        for pid in found.stdout.split():
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        run("ip", "netns", "del", name, check=False)


def left_behind(prefix: str, running: Iterable[int] = ()) -> list[str]:
    """Namespaces named PREFIX-PID-... whose process runs no more: it was killed and could not take them away."""
    found = []
    for path in sorted(Path("/run/netns").glob(f"{prefix}-*")):
        pid = path.name.removeprefix(f"{prefix}-").partition("-")[0]
        if pid.isdecimal() and int(pid) not in running and not Path("/proc", pid).exists():
            found.append(path.name)
    return found
