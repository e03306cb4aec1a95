"""Who is measured, and what each of them has."""

from __future__ import annotations

import dataclasses

MEASURES = ("connect", "exchange", "bulk", "memory")


@dataclasses.dataclass(frozen=True, slots=True)
class Subject:
    name: str
    title: str
    module: str
    measures: tuple[str, ...] = MEASURES
    memory_sessions: int = 1000


FSP = "fsp-trio"
REFERENCE = "aioquic"

SUBJECTS = {
    subject.name: subject
    for subject in (
        Subject(FSP, "fsp-trio", ".subject_fsp"),
        Subject("fsp-channel", "fsp-trio, a transaction per message", ".subject_fsp", ("exchange",)),
        Subject(REFERENCE, "aioquic", ".subject_aioquic", memory_sessions=200),
        Subject("aioquic-1024", "aioquic, payloads of 1,024", ".subject_aioquic", ("bulk",)),
        Subject("tls", "Trio TLS over TCP", ".subject_tls"),
        Subject("ceiling", "bare seal-send-receive-open loop", ".subject_ceiling", ("exchange", "bulk")),
    )
}
