"""Fifth layer of a connection: where both ends are, and what they tell each other of it (gao-07 10, jason-00 9)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

from fsp_trio.core.acknowledged import Acknowledged
from fsp_trio.core.outgoing import NO_SINK
from fsp_trio.core.paths import (
    MAXIMUM_ROUTES,
    Address,
    Path,
    PathState,
    Route,
    path_key,
    preferred,
    prefixes_of,
    told_addresses,
)
from fsp_trio.revisions.states import CONNECTED
from fsp_trio.wire.packets import NO_PREFIXES, Op, Prefixes, SinkParameter

ROUND_TRIPS_BETWEEN_NOTICES = 4
"""10.2."""
PROMPT_NOTICES = 16
"""Notices at that rate; then each waits twice as long as the one before (F50)."""
SLOWEST_NOTICES = 60.0
"""Seconds between notices at the most."""
NOTICES_ALONE = 4
"""Unanswered notices on the route that was chosen, before other routes are tried, too (F56); and how many leave where
the peer knows the address already."""
ANSWERS = 16
"""Notices of one change that are answered at the most, where nothing else is sent (F51)."""
STAY = 1.0
"""Seconds at the least for which an end that has moved itself is not drawn away by what was under way (F55)."""


class Mobile(Acknowledged):
    """Follows the peer, tells it of changes at this end, and leaves dead routes for living ones."""

    __slots__ = (
        "_advertised",
        "_answer_after",
        "_answers_left",
        "_arrived_at",
        "_failed",
        "_keepalive_at",
        "_keepalive_count",
        "_known_there",
        "_notice_at",
        "_notices",
        "_own",
        "_peer_addresses",
        "_peer_prefixes",
        "_stays_until",
        "_suspicious",
        "_trials",
        "chosen",
    )

    def _start_mobile(self) -> None:
        self._answer_after = 0
        self._answers_left = 0
        self._arrived_at: Address | None = None
        """At which of our addresses the packet at hand came in; None where the port cannot tell."""
        self._failed: frozenset[Route] = frozenset()
        self._known_there = False
        """The peer knows the present address: notices of it only say that it is back."""
        self._keepalive_at = -math.inf
        self._keepalive_count = -1
        self._notice_at = math.inf
        self._notices = 0
        self._own: tuple[Address, ...] = ()
        """Addresses of this end between which it may choose."""
        self._advertised: tuple[Address, ...] = ()
        """Addresses of this end that the peer shall know."""
        self._peer_addresses: tuple[Address, ...] = ()
        self._peer_prefixes: Prefixes = NO_PREFIXES
        self._stays_until = -math.inf
        self._suspicious = False
        """The present route is not trusted: whichever is first heard of is taken."""
        self._trials: tuple[Route, ...] = ()
        """Routes on which notices leave until something comes in on one of them (10.2, 10.4)."""
        self.chosen = False
        """The present local address was chosen by the application, or for being alive."""

    # this end

    @property
    def route(self) -> Route:
        """Where packets leave and go now."""
        return Route(self.local, self.remote)

    def know_addresses(self, own: Sequence[Address], told: Sequence[Address]) -> bool:
        """The addresses between which this end may choose, and those that the peer shall know (10.6).

        Whether the latter are others than before.
        """
        changed = tuple(told) != self._advertised
        self._own, self._advertised = tuple(own), tuple(told)
        if changed:
            self._sink = self._sink_from(self.local) if told else NO_SINK
        return changed

    def descend_from(self, parent: Mobile) -> None:
        """A branch begins where its parent is, and knows the addresses that its parent knows."""
        self.know_addresses(parent._own, parent._advertised)
        self._peer_prefixes, self._peer_addresses = parent._peer_prefixes, parent._peer_addresses
        self.chosen = parent.chosen

    def moved(self, local: Address | None, now: float) -> None:
        """This end sends from `local` from now on (10.3), and tells the peer until something comes in there (10.2).

        To be called again with the same address when that was away in between.
        """
        self.chosen = False
        self._known_there = local == self.local
        self._change(self.remote, local, now)
        if self.state in CONNECTED:
            self._try((self.route,), now)
        else:
            self._trials = ()

    def announce(self, now: float) -> bool:
        """Tell the peer the addresses that it shall know (10.6), until something comes in; whether there are any."""
        due = bool(self._advertised) and self.state in CONNECTED and not self._trials
        if due:
            self._try((self.route,), now)
        return due

    def try_local(self, local: Address | None, now: float) -> None:
        """Change over to `local` when something has come in there; notices ask for it (10.2, 10.4)."""
        self._known_there = False
        self._try((Route(local, self.remote),), now)

    def tries_local(self, local: Address | None) -> bool:
        return any(route.local == local for route in self._trials)

    def stop_trying(self) -> None:
        """Give up all routes that are tried, but for the present one."""
        self._settle()

    def lost(self, local: Address) -> None:
        """This end has the address no more."""
        self._trials = tuple(route for route in self._trials if route.local != local)
        if not self._trials:
            self._settle()

    def _try(self, routes: tuple[Route, ...], now: float, *, suspicious: bool = False) -> None:
        self._trials = routes
        self._suspicious = suspicious
        self._notices = 0
        self._notice_at = now

    def _settle(self) -> None:
        self._trials = ()
        self._suspicious = self._known_there = False
        self._notice_at = math.inf

    def _change(self, remote: Address, local: Address | None, now: float) -> None:
        if local != self.local:
            self.statistics.moves += 1
            self._stays_until = now + max(STAY, ROUND_TRIPS_BETWEEN_NOTICES * self.rtt.srtt)
        if remote != self.remote:
            self.statistics.address_changes += 1
        self._take_path(remote, local, now)
        self._failed -= {self.route}
        if self._advertised:
            self._sink = self._sink_from(local)

    def _sink_from(self, local: Address | None) -> SinkParameter:
        """A Sink Parameter that tells what the peer shall know, the address in use first (4.7, F53, F58)."""
        told = self._advertised
        if local in told:
            told = (local, *(address for address in told if address != local))
        fields = self.codec.handshake_sink(bytes(4), self.settings.receive_window, self.payload_limit)
        return replace(fields, prefixes=prefixes_of(told))

    # other routes

    def routes(self) -> list[Route]:
        """All that are known, the present one first."""
        locals_ = dict.fromkeys((self.local, *self._own))
        remotes = dict.fromkeys((self.remote, *self._peer_addresses))
        return [Route(*ends) for ends in product(locals_, remotes)][:MAXIMUM_ROUTES]

    def paths(self) -> list[Path]:
        """As `routes`, with what is known of them."""
        present, *others = self.routes()
        rtt = self.rtt.srtt if self.rtt.measured else None
        found = [Path(*present, PathState.TRIED if present in self._trials else PathState.ACTIVE, rtt)]
        for route in others:
            state = PathState.FAILED if route in self._failed else PathState.STANDBY
            if route in self._trials:
                state = PathState.TRIED
            found.append(Path(*route, state, self._congestion.round_trip(path_key(route.remote, route.local))))
        return found

    def _expire(self, now: float) -> None:
        asked_before = self._last_asked_at > self.last_heard
        super()._expire(now)
        if asked_before and self._last_asked_at == now:
            self._suspect(now)

    def _suspect(self, now: float) -> None:
        """The second time-out in one silence: ask for the peer on all routes (F56)."""
        others = self.routes()[1:]
        if others and not self._suspicious and self.state in CONNECTED:
            self._try(tuple(others), now, suspicious=True)

    # notices and heartbeats

    def next_heartbeat(self) -> float:
        """When the path prober has something to send; infinity outside the connected states."""
        if self.state not in CONNECTED:
            return math.inf
        deadline = min(self._heartbeat_at, self._notice_at)
        return deadline if self.settings.nat_keepalive is None else min(deadline, self._keepalive_at)

    def handle_heartbeat(self, now: float) -> None:
        super().handle_heartbeat(now)
        interval = self.settings.nat_keepalive
        if interval is not None and now >= self._keepalive_at and self.state in CONNECTED:
            # looked at twice in an interval, so that no silence is longer, and nothing is counted for each packet
            if self.statistics.packets_sent == self._keepalive_count:
                self._ack_now = True  # F59
            self._keepalive_count = self.statistics.packets_sent
            self._keepalive_at = now + interval / 2

    def notices_to_send(self, now: float) -> list[tuple[Route, bytes]]:
        """Notices that are due, with their routes (10.2, F50)."""
        if now < self._notice_at:
            return []
        if self.state not in CONNECTED:
            self._settle()
            return []
        if self._notices == NOTICES_ALONE and self._trials == (self.route,):
            if self._known_there:
                self._settle()  # it hears of nothing new, and may have nothing to say
                return []
            self._trials = tuple(self.routes())  # F56
            self._suspicious = len(self._trials) > 1
        self._notices += 1
        rtt = self.rtt.srtt if self.rtt.measured else self.rtt.rto
        interval = max(ROUND_TRIPS_BETWEEN_NOTICES * rtt, self.settings.timers.granularity)
        slower = min(max(self._notices - PROMPT_NOTICES, 0), 30)
        self._notice_at = now + min(interval * 2**slower, max(interval, SLOWEST_NOTICES))
        notices = []
        for route in self._trials:
            datagram = self._acknowledgement(Op.KEEP_ALIVE, self._sink_from(route.local), now)
            if not datagram:
                break
            notices.append((route, datagram))
        self._count_datagrams([datagram for _, datagram in notices])
        self.statistics.notices_sent += len(notices)
        return notices

    # the peer

    def _locate(self, source: Address, sink: SinkParameter | None, out_of_band: bool, now: float) -> None:
        """A packet later than all before came from `source` under the newest key (10.3 to 10.6)."""
        at, local = self._arrived_at, self.local
        remote, news = self._remote_told(source, sink)
        if self._trials:
            if (route := self._heard(at, source)) is not None:  # 10.4
                return self._found(route.remote if self._suspicious else remote, route.local, now)
            if self._suspicious and (at, source) == self.route:
                self._settle()  # the present route lives
        elif local is not None and at is not None and at != local and now >= self._stays_until:
            local = at  # F55
        if (local, remote) != self.route:
            self._change(remote, local, now)
            news = True
        return self._answer_news(news, out_of_band)

    def _heard(self, at: Address | None, source: Address) -> Route | None:
        """The route that is tried and on which something has come in now."""
        if self.local is None:  # then nobody can tell where it came in
            here = [route for route in self._trials if route.local in (None, at)]
        else:
            here = [route for route in self._trials if route.local == at]
        for route in here:
            if route.remote == source:
                return route
        # a new address of ours counts whatever the peer's is, else the peer's is what is asked for
        return next((route for route in here if not self._suspicious or route.local != self.local), None)

    def _found(self, remote: Address, local: Address | None, now: float) -> None:
        """Something came in on a route that was tried: take it, if it is not the present one already."""
        left = self.route
        if self._suspicious and (local, remote) != left:
            self._failed |= {left}
        self._settle()
        if (local, remote) != left:
            self.chosen = local != left.local or self.chosen
            self._change(remote, local, now)

    def _remote_told(self, source: Address, sink: SinkParameter | None) -> tuple[Address, bool]:
        """Where to send: to the source, or to what a Sink Parameter tells (10.3, 10.6); and whether that is news."""
        if sink is None or sink.prefixes == NO_PREFIXES:
            return source, False  # one of zeros counts as absent (B15)
        if sink.prefixes == self._peer_prefixes:
            return self.remote, False
        self._peer_prefixes = sink.prefixes
        self._peer_addresses = told = told_addresses(sink.prefixes, source)
        if not told:
            return self.remote, True
        return preferred(told, source, self.remote, int.from_bytes(self.local_ultid, "big")), True

    def _answer_news(self, news: bool, out_of_band: bool) -> None:
        """What acknowledges a notice where there is nothing else to send (10.4, F51).

        While nothing else leaves, the answer may have been lost, so that the next notice is answered, too.
        """
        if news:
            self._answers_left = ANSWERS
        elif not self._answers_left:
            return
        elif self.statistics.packets_sent > self._answer_after:
            self._answers_left = 0
            return
        if out_of_band:
            self._answers_left -= 1
            self._ack_now = self._ack_now or self.state in CONNECTED
        self._answer_after = self.statistics.packets_sent + 1
