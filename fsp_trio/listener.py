"""FSPListener: accepts the sessions that peers open to one ULTID of an endpoint."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from fsp_trio._halves import octets_of
from fsp_trio.core.connection import Connection
from fsp_trio.core.failure import ResetReason
from fsp_trio.core.link import payload_limit
from fsp_trio.core.responder import ConnectionRequest, Responder
from fsp_trio.errors import FSPClosedError
from fsp_trio.revisions.states import State
from fsp_trio.session import FSPSession
from fsp_trio.statistics import ListenerStatistics
from fsp_trio.streams import FSPStream

if TYPE_CHECKING:
    from fsp_trio.endpoint import FSPEndpoint
    from fsp_trio.ports import Address

__all__ = ["Admit", "FSPListener", "Welcome"]

Welcome = bytes | Callable[[], bytes]
Admit = Callable[["Address"], bool]

logger = logging.getLogger("fsp_trio.listener")


class FSPListener(trio.abc.Listener[FSPStream]):
    """Sessions that peers open to one listening ULTID; made by `FSPEndpoint.listen`.

    Until a peer has shown a cookie that this listener gave out nothing is kept of it (gao-07 6.2); from then on it
    counts against the backlog until it is accepted.

    Works with `trio.serve_listeners`, which closes each stream forcefully when its handler returns: for FSP that is
    a RESET, so the handler has to close the stream itself, best with `async with stream`.
    """

    def __init__(
        self,
        endpoint: FSPEndpoint,
        ultid: bytes,
        *,
        backlog: int,
        welcome: Welcome,
        admit: Admit | None,
    ) -> None:
        if backlog < 1:
            raise ValueError(f"backlog must be at least 1, not {backlog}")
        if not callable(welcome):
            welcome = octets_of(welcome)
            if len(welcome) > endpoint.settings.max_payload:
                raise ValueError(f"a welcome of {len(welcome)} octets does not fit into one packet")
        self._endpoint = endpoint
        self._responder = Responder(endpoint._revision, endpoint._settings, ultid, random=endpoint._random)
        self._backlog = backlog
        self._welcome = welcome
        self._admit = admit
        self._closed = False
        self._waiting: deque[FSPSession] = deque()
        self._challenging: set[FSPSession] = set()
        self._arrivals = trio.lowlevel.ParkingLot()
        self._accepted = 0
        self._unconfirmed = 0
        self._refused = 0

    @property
    def endpoint(self) -> FSPEndpoint:
        """The endpoint whose port the listener uses."""
        return self._endpoint

    @property
    def ultid(self) -> bytes:
        """The listening ULTID, 4 octets in network order; of service p they are 00 00 pp pp (gao-07 13.1, G4)."""
        return self._responder.listener_ultid

    def statistics(self) -> ListenerStatistics:
        """Counters as they stand now."""
        return ListenerStatistics(
            accepted=self._accepted,
            waiting=len(self._waiting),
            challenging=len(self._challenging),
            unconfirmed=self._unconfirmed,
            refused=self._refused,
        )

    async def accept(self) -> FSPStream:
        """The next session, as a byte stream; `stream.session` is the session itself.

        Errors and cancellation as for `accept_session`.
        """
        return (await self.accept_session()).stream()

    async def accept_session(self) -> FSPSession:
        """The next session that a peer has opened and confirmed (gao-07 6.5).

        Several tasks may wait.  FSPClosedError once the listener was closed.  Cancelled, it loses nothing.
        """
        self._check_open()
        await trio.lowlevel.checkpoint_if_cancelled()
        waited = False
        while not self._waiting:
            await self._arrivals.park()
            waited = True
            self._check_open()
        session = self._waiting.popleft()
        self._accepted += 1
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return session

    async def aclose(self) -> None:
        """Stop listening; sessions that nobody has accepted are reset.  Idempotent, does not wait."""
        self.close()
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """As `aclose`, without a checkpoint."""
        if self._closed:
            return
        self._closed = True
        self._endpoint._forget_listener(self)
        for session in [*self._waiting, *self._challenging]:
            session.reset(ResetReason.REJECTED)
        self._waiting.clear()
        self._challenging.clear()
        self._arrivals.unpark_all()

    def _check_open(self) -> None:
        if self._closed:
            raise FSPClosedError("the listener was closed")

    # called by the endpoint's receive loop; must not raise

    def _refusal(self, request: ConnectionRequest) -> ResetReason | None:
        """Why the request is turned down, or None (6.4)."""
        if len(self._waiting) + len(self._challenging) >= self._backlog:
            self._refused += 1
            return ResetReason.NO_RESOURCES
        if self._admit is not None and not self._admitted(request):
            self._refused += 1
            return ResetReason.REJECTED
        return None

    def _admitted(self, request: ConnectionRequest) -> bool:
        assert self._admit is not None
        try:
            return bool(self._admit(request.source))
        except Exception:
            logger.exception("admit failed; the request is refused")
            return False

    def _incarnate(self, request: ConnectionRequest, local: Address | None, now: float) -> FSPSession | None:
        """A session for the request (5.2, 6.4), or None if the application's welcome failed."""
        endpoint = self._endpoint
        try:
            welcome = octets_of(self._welcome() if callable(self._welcome) else self._welcome)
            if len(welcome) > payload_limit(endpoint._revision, endpoint._settings):
                raise ValueError(f"a welcome of {len(welcome)} octets does not fit into one packet")
        except Exception:
            logger.exception("welcome failed; the request is refused")
            return None
        connection = Connection.accept(
            endpoint._revision,
            endpoint._settings,
            request,
            welcome=welcome,
            now=now,
            congestion=endpoint._congestion,
            prefix=endpoint._prefix_towards(request.source),
            random=endpoint._random,
        )
        connection.local = local
        endpoint._roaming.introduce(connection)
        session = FSPSession(endpoint, connection, welcome)
        self._challenging.add(session)
        session._on_event = lambda: self._look_at(session)
        return session

    def _look_at(self, session: FSPSession) -> None:
        """Something happened to a session that is not yet confirmed."""
        connection = session._connection
        if connection.is_established:
            self._challenging.discard(session)
            session._established()
            self._waiting.append(session)
            self._arrivals.unpark()
        elif session.state is not State.CHALLENGING:
            self._challenging.discard(session)
            session._on_event = None
            self._unconfirmed += 1
