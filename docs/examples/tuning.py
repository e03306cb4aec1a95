import trio

from fsp_trio import FSPSession, Settings, Timers, open_fsp_endpoint
from fsp_trio.ports import open_udp_port

SETTINGS = Settings(
    max_payload=1440,  # 1500 octets of MTU less IPv4 (20), UDP (8), ULTIDs (8) and the FSP header (24)
    receive_window=8192,  # packets; times their size it should cover bandwidth times round-trip time
    receive_octets=32 * 2**20,
    send_buffer=16 * 2**20,
    timers=Timers.responsive(),
    heartbeat_interval=20.0,  # keeps the mapping of a NAT alive, which the draft's 10 minutes do not
    idle_timeout=90.0,
)


async def main() -> None:
    transport = await open_udp_port("127.0.0.1", 0, udp_checksum=True, receive_buffer=16 * 2**20)
    async with open_fsp_endpoint(transport=transport, settings=SETTINGS) as endpoint:
        async with endpoint.listen() as listener, trio.open_nursery() as nursery:
            nursery.start_soon(consume, await endpoint.open_session_to(endpoint.local_address))
            session = await listener.accept_session()
            async with session.stream() as stream:
                await stream.send_all(bytes(4 * 2**20))
        show(session)
        port = endpoint.statistics().port
        print("offload:", port.segmentation_offload, "checksum omitted:", port.checksum_omitted)


async def consume(session: FSPSession) -> None:
    async with session.stream() as stream:
        async for _ in stream:
            pass


def show(session: FSPSession) -> None:
    statistics = session.statistics()
    packets = statistics.packets
    repeated = packets.retransmissions / max(packets.in_band_sent, 1)
    print(f"round trip {statistics.srtt * 1000:.1f} ms, time-out {statistics.rto * 1000:.0f} ms")
    print(f"{packets.payload_sent} octets sent, {repeated:.1%} of the packets repeated")
    print("dropped:", packets.drops, "undelivered:", statistics.undelivered)


if __name__ == "__main__":
    trio.run(main)
