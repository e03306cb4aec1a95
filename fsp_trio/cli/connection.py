"""What all commands do alike: settings, the port, connecting, agreeing upon the key."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, Literal

import trio

from fsp_trio import keying, revisions
from fsp_trio.cli.exits import CommandError, Exit
from fsp_trio.cli.keys import KeySource
from fsp_trio.cli.reporting import Reporter
from fsp_trio.cli.statistics import format_address
from fsp_trio.core.settings import Settings
from fsp_trio.core.timers import Timers
from fsp_trio.endpoint import DEFAULT_PORT, FSPEndpoint, open_fsp_endpoint
from fsp_trio.listener import FSPListener
from fsp_trio.ports import open_udp_port
from fsp_trio.session import FSPSession

__all__ = ["MAXIMUM_SESSIONS", "Common", "accept_key", "listening", "open_endpoint", "opened", "parse_target"]

HEARTBEAT: Final = 10.0
"""Seconds between heartbeats: a peer that is alive is heard of."""
IDLE: Final = 60.0
"""Seconds of silence after which a peer counts as gone."""
BRANCHES: Final = 1024
"""Branches that a peer may ask for at once."""
MAXIMUM_SESSIONS: Final = 32
"""Sessions that `receive` and `echo` serve at a time; further ones are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """The options that all commands have."""

    key: KeySource | None
    """What sessions are protected with; None for nothing."""
    bind: str = "0.0.0.0"  # noqa: S104 (a server is there for others)
    port: int = DEFAULT_PORT
    timers: Literal["draft", "responsive"] = "draft"
    udp_checksum: Literal["on", "off", "auto"] = "auto"
    revision: str = "gao-07"
    accept_repeated_nonces: bool = False
    timeout: float = 60.0
    """Seconds for connecting, and for other answers that take no more than a round trip."""

    @property
    def settings(self) -> Settings:
        return Settings(
            timers=Timers.draft() if self.timers == "draft" else Timers.responsive(),
            heartbeat_interval=HEARTBEAT,
            idle_timeout=IDLE,
            branch_backlog=BRANCHES,
        )


def parse_target(target: str, default_port: int) -> tuple[str, int]:
    """HOST or HOST:PORT; ValueError, with words for the user, if it is neither."""
    host, colon, digits = target.rpartition(":")
    if not colon:
        host, digits = target, str(default_port)
    if ":" in host or host.startswith("["):
        raise ValueError(f"{target!r} looks like IPv6, which is not supported")
    if not host or any(character.isspace() for character in host):
        raise ValueError(f"{target!r} names no host")
    if not (digits.isascii() and digits.isdigit() and 0 < int(digits) < 65536):
        raise ValueError(f"the port in {target!r} is not a number from 1 to 65535")
    return host, int(digits)


@asynccontextmanager
async def open_endpoint(common: Common, port: int) -> AsyncGenerator[FSPEndpoint, None]:
    """An endpoint at a local UDP port."""
    protocol = revisions.get(common.revision)
    checksum = {"on": True, "off": False, "auto": protocol.udp_checksum}[common.udp_checksum]
    try:
        if protocol.reply_port is not None:
            port = port or protocol.reply_port  # answers come to no other
        transport = await open_udp_port(common.bind, port, udp_checksum=checksum, reply_port=protocol.reply_port)
    except OSError as error:
        raise CommandError(f"cannot open UDP port {port} of {common.bind}: {error.strerror}") from None
    async with open_fsp_endpoint(transport=transport, settings=common.settings, revision=common.revision) as endpoint:
        yield endpoint


@asynccontextmanager
async def opened(host: str, port: int, common: Common) -> AsyncGenerator[FSPSession, None]:
    """A session with a peer, keyed if there is a key, closed gracefully at the end of the block."""
    async with open_endpoint(common, 0) as endpoint:
        try:
            with trio.fail_after(common.timeout):
                session = await endpoint.open_session(host, port)
        except trio.TooSlowError:
            raise CommandError(f"no answer from {host}:{port} in {common.timeout:g} s", Exit.UNREACHABLE) from None
        async with session:
            if common.key is not None:
                check_revision(session, common)
                accept = common.accept_repeated_nonces
                await common.key.lead(session, f"{host}:{port}", accept_repeated_nonces=accept)
            yield session


def check_revision(session: FSPSession, common: Common) -> None:
    """CommandError if the revision would make a mockery of any key."""
    if revisions.get(common.revision).repeats_nonces and not common.accept_repeated_nonces:
        session.reset(keying.KEY_AGREEMENT_FAILED)
        raise CommandError(f"{common.revision} repeats nonces; --accept-repeated-nonces uses it anyway", Exit.KEY)


async def accept_key(session: FSPSession, common: Common) -> None:
    """The listening end's part of the agreement, if there is a key."""
    if common.key is not None:
        check_revision(session, common)
        await common.key.follow(session, accept_repeated_nonces=common.accept_repeated_nonces)


def refuse_key(session: FSPSession, message: bytes) -> None:
    """CommandError, and the peer told why, if the peer offers a key where there is none."""
    if message.startswith(keying.GREETINGS):
        session.reset(keying.KEY_AGREEMENT_FAILED)
        raise CommandError("the peer wants encryption, and this end was started without a key", Exit.KEY)


@asynccontextmanager
async def listening(common: Common, reporter: Reporter) -> AsyncGenerator[FSPListener, None]:
    """A listener of an endpoint of its own."""
    async with open_endpoint(common, common.port) as endpoint:
        listener = endpoint.listen(backlog=MAXIMUM_SESSIONS, admit=lambda _: len(endpoint.sessions) < MAXIMUM_SESSIONS)
        async with listener:
            reporter.info(f"listening on {format_address(endpoint.local_address)}")
            yield listener
