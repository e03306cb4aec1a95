import trio
import trio.testing

from fsp_trio import Settings, Timers
from fsp_trio.testing import Impairment, SimulatedNetwork, stream_pair

BAD_LINK = Impairment(loss=0.2, duplicate=0.05, corrupt=0.01, reorder=0.1, delay=0.1, jitter=0.05)


async def transfer_over_a_bad_link() -> None:
    settings = Settings(timers=Timers.responsive())
    async with (
        SimulatedNetwork(seed=1, default=BAD_LINK) as network,
        stream_pair(network, settings=settings) as (alice, bob),
        trio.open_nursery() as nursery,
    ):
        data = bytes(range(256)) * 400
        nursery.start_soon(alice.send_all, data)
        received = bytearray()
        while len(received) < len(data):
            received += await bob.receive_some()
        assert received == data
        assert network.statistics.drops["loss"] > 0
        assert alice.session.statistics().packets.retransmissions > 0
        print("all there, in seconds of virtual time:", trio.current_time() > 1)


if __name__ == "__main__":
    # with pytest-trio: `async def test_...(autojump_clock)`
    trio.run(transfer_over_a_bad_link, clock=trio.testing.MockClock(autojump_threshold=0))
