"""How a session is protected: by a key that both ends have, by public keys, or not at all."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from nacl.signing import SigningKey

from fsp_trio import keying
from fsp_trio.cli.exits import CommandError, Exit
from fsp_trio.cli.key_files import configuration, read_identity, read_psk, read_public_keys
from fsp_trio.cli.known_hosts import KnownHosts
from fsp_trio.session import FSPSession

__all__ = ["KeySource", "PublicKeys", "SharedKey", "choose_key"]

KEY_TIMEOUT: Final = 30.0


class KeySource(Protocol):
    """Something that both ends can agree upon a key with."""

    @property
    def lets_in_anybody(self) -> bool:
        """Whoever comes is served."""
        ...

    async def lead(self, session: FSPSession, host: str, *, accept_repeated_nonces: bool) -> None:
        """The end that has opened the session, with `host` as the user calls it."""
        ...

    async def follow(self, session: FSPSession, *, accept_repeated_nonces: bool) -> None:
        """The other end."""
        ...


@dataclass(frozen=True, slots=True)
class SharedKey:
    """Both ends have the same file."""

    psk: bytes

    @property
    def lets_in_anybody(self) -> bool:
        return False

    async def lead(self, session: FSPSession, host: str, *, accept_repeated_nonces: bool) -> None:
        await self._agree(session, accept_repeated_nonces, initiator=True)

    async def follow(self, session: FSPSession, *, accept_repeated_nonces: bool) -> None:
        await self._agree(session, accept_repeated_nonces, initiator=False)

    async def _agree(self, session: FSPSession, accept_repeated_nonces: bool, *, initiator: bool) -> None:
        await keying.agree_psk(
            session,
            self.psk,
            initiator=initiator,
            timeout=KEY_TIMEOUT,
            accept_repeated_nonces=accept_repeated_nonces,
        )


@dataclass(frozen=True, slots=True)
class PublicKeys:
    """Each end has a key of its own, a client only if it wants to be known."""

    identity: SigningKey | None
    known_hosts: KnownHosts
    strict: bool
    authorized: Collection[bytes] | None
    """Public keys of the clients that are let in; None for all."""
    info: Callable[[str], None]

    @property
    def lets_in_anybody(self) -> bool:
        return self.authorized is None

    async def lead(self, session: FSPSession, host: str, *, accept_repeated_nonces: bool) -> None:
        await keying.agree_x25519(
            session,
            initiator=True,
            trust=lambda key: self._trust_host(host, key),
            identity=self.identity,
            timeout=KEY_TIMEOUT,
            accept_repeated_nonces=accept_repeated_nonces,
        )

    async def follow(self, session: FSPSession, *, accept_repeated_nonces: bool) -> None:
        peer = await keying.agree_x25519(
            session,
            initiator=False,
            trust=keying.anyone if self.authorized is None else keying.only(*self.authorized),
            identity=self.identity,
            timeout=KEY_TIMEOUT,
            accept_repeated_nonces=accept_repeated_nonces,
        )
        self.info("a client without a key" if peer is None else f"a client with the key {keying.fingerprint(peer)}")

    def _trust_host(self, host: str, key: bytes | None) -> bool:
        """The key of a host is remembered when it is seen for the first time, and must not change."""
        if key is None:
            return False
        shown = keying.fingerprint(key)
        found = self.known_hosts.find(host)
        if found is None and self.strict:
            raise CommandError(f"{host} is not in {self.known_hosts.path}; its key is {shown}", Exit.KEY)
        if found is None:
            self.known_hosts.add(host, key)
            self.info(f"{host} for the first time, with the key {shown}; remembered in {self.known_hosts.path}")
            return True
        known, line = found
        if known != key:
            raise CommandError(
                f"THE KEY OF {host} HAS CHANGED to {shown}: somebody may be in between; if it is right, remove line"
                f" {line} of {self.known_hosts.path}",
                Exit.KEY,
            )
        self.info(f"{host} has the key that is known, {shown}")
        return True


def choose_key(
    *,
    psk: Path | None,
    insecure: bool,
    identity: Path | None,
    known_hosts: Path | None,
    strict: bool,
    authorized: Path | None,
    serves: bool,
    warn: Callable[[str], None],
    info: Callable[[str], None],
) -> KeySource | None:
    """What the options ask for; None if the user wants no key at all.  CommandError if they contradict each other.

    Public keys are used unless something else is said; a server needs a key of its own then, `identity` below
    `configuration()` if no other is named.
    """
    public = identity is not None or known_hosts is not None or strict or authorized is not None
    if (psk is not None) + insecure + public > 1:
        raise CommandError("--psk, --insecure and the options for public keys exclude each other", Exit.USAGE)
    if psk is not None:
        return SharedKey(read_psk(psk, warn))
    if insecure:
        warn("without a key everybody on the way can read and change what is sent")
        return None
    own = identity or (configuration() / "identity" if serves else None)
    if identity is None and own is not None and not own.exists():
        raise CommandError(
            "a key is needed: make one with fsp-trio keygen, or use --psk FILE, or --insecure to go without encryption",
            Exit.KEY,
        )
    return PublicKeys(
        identity=None if own is None else read_identity(own, warn),
        known_hosts=KnownHosts(known_hosts or configuration() / "known_hosts"),
        strict=strict,
        authorized=None if authorized is None else read_public_keys(authorized),
        info=info,
    )
