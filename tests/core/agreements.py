"""How two connections agree on a key and install it."""

from __future__ import annotations

import enum

from .pair import Pair, Side
from .talk import (
    KEY,
    drain,
    transfer,
)


class Order(enum.Enum):
    """How the two ends agree on a key: what each sends first, and when it installs."""

    CLOSABLE = "nothing to send, both at once"
    ONE_LATER = "nothing to send, the server a little later"
    COMMITTED_FIRST = "both commit, install as soon as the other's transaction is there"
    OPEN = "the server installs while its transaction is open, and commits then"
    QUEUED = "the client has queued more than one packet, and installs before they have left"
    AWAITED = "the client awaits its acknowledgement first"


def install(pair: Pair, side: Side, key: bytes = KEY) -> None:
    pair.end(side).install_key(key)


def agree(pair: Pair, order: Order, key: bytes = KEY) -> None:
    """Both ends install the key; everything that was said before is read."""
    client, server = pair.client, pair.server
    if order is Order.CLOSABLE:
        install(pair, Side.CLIENT, key)
        install(pair, Side.SERVER, key)
    elif order is Order.ONE_LATER:
        install(pair, Side.CLIENT, key)
        pair.run_for(0.3)
        install(pair, Side.SERVER, key)
    elif order in (Order.COMMITTED_FIRST, Order.QUEUED, Order.AWAITED):
        size = 5000 if order is Order.QUEUED else 10
        client.send(bytes(size))
        ordinal = client.commit()
        server.send(b"mine")
        server.commit()
        waiting = {Side.CLIENT, Side.SERVER}

        def both() -> bool:
            for side in waiting.copy():
                end = pair.end(side)
                heard = end.peer_committed and (len(end.received.ready) > 0) and not end.received.early
                whole = end.received.ready_octets == (4 if side is Side.CLIENT else size)
                flushed = order is not Order.AWAITED or side is Side.SERVER or end.committed >= ordinal
                if heard and whole and flushed:
                    install(pair, side, key)
                    waiting.discard(side)
            return not waiting

        pair.run_until(both, 300.0)
    else:
        client.send(b"first")
        client.commit()
        pair.run_until(lambda: server.peer_committed and server.readable, 100.0)
        server.send(bytes(2500))
        install(pair, Side.SERVER, key)
        server.commit()
        pair.run_until(lambda: client.received.ready_octets == 2500 and client.peer_committed, 100.0)
        install(pair, Side.CLIENT, key)
    drain(client)
    drain(server)


def modes(pair: Pair) -> set[str]:
    return {
        direction.newest.secret.mode
        for end in (pair.client, pair.server)
        for direction in (end.keyring.sending, end.keyring.receiving)
    }


def speak(pair: Pair) -> None:
    for side in (Side.CLIENT, Side.SERVER):
        transfer(pair, side, bytes(range(256)) * 10)
    for side in Side:
        assert pair.end(side).keyring.keyed
