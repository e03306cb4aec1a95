import trio

from fsp_trio import FSPSession, open_fsp_session, serve_fsp

LOG = b"12:00:00 nothing has happened\n" * 100_000


async def collect(session: FSPSession) -> None:
    async for transaction in session:
        print(sum([len(data) async for data in transaction]), "octets")


async def main() -> None:
    async with trio.open_nursery() as nursery:
        _, port = (await nursery.start(serve_fsp, collect, 0)).endpoint.local_address
        async with open_fsp_session("127.0.0.1", port) as session:
            async with session.send_transaction(compressed=True) as transaction:
                await transaction.send_all(LOG)
            packets = session.statistics().packets
            print(packets.plain_sent, "octets took less than 20,000 on the wire:", packets.payload_sent < 20_000)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
