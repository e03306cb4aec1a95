"""What a worker process is told on its first line of standard input."""

from __future__ import annotations

import dataclasses
import json

HOST = "127.0.0.1"
SERVER_NAME = "localhost"
BLOCK = 1024  # octets of a request and of a response; also the payload of one FSP packet
CHUNK = 64 * BLOCK  # octets handed over per send in a bulk transfer


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    subject: str
    role: str  # "server" | "client"
    directory: str  # of the run: certificate, key, pre-shared key
    port: int = 0  # the server's, for the client
    traced: bool = False  # tracemalloc from the start

    def encode(self) -> str:
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def decode(cls, line: str) -> Job:
        return cls(**json.loads(line))


class NotMeasured(Exception):
    """The subject has nothing of the kind."""
