import trio
import trio.testing

from fsp_trio import FSPSession, Settings, open_fsp_endpoint
from fsp_trio.testing import SimulatedNetwork

TWO_UPLINKS = Settings(multihoming=True, nat_keepalive=20.0)


def show(session: FSPSession) -> None:
    for path in session.paths:
        rtt = "unknown" if path.rtt is None else f"{path.rtt * 1000:.0f} ms"
        print(path.local, "to", path.remote, path.state.value, rtt)


async def stay_connected(session: FSPSession) -> None:
    """Over the other uplink, as long as that answers within three seconds."""
    with trio.move_on_after(3):
        await session.migrate("203.0.113.5")


async def main() -> None:
    async with (
        SimulatedNetwork() as network,
        open_fsp_endpoint(transport=network.host("192.0.2.1", "203.0.113.5").port(), settings=TWO_UPLINKS) as laptop,
        open_fsp_endpoint(transport=network.host("198.51.100.1").port()) as server,
    ):
        listener = server.listen(7)
        session = await laptop.open_session_to(("198.51.100.1", 18003), service=7)
        accepted = await listener.accept_session()
        await stay_connected(session)
        show(session)
        print("the server sends to", accepted.remote_address)
        network.partition(("203.0.113.5", 18003))  # a dead uplink: nobody tells
        await session.send_transaction().commit()
        show(session)


if __name__ == "__main__":
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
