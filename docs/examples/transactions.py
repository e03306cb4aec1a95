from functools import partial

import trio

from fsp_trio import FSPSession, open_fsp_session, serve_fsp


async def count(session: FSPSession) -> None:
    """Answers each transaction of the peer with the number of its octets."""
    async for request in session:
        octets = 0
        async for piece in request:
            octets += len(piece)
        async with session.send_transaction() as answer:
            await answer.send_all(str(octets).encode())


async def ask(session: FSPSession, pieces: list[bytes]) -> bytes:
    async with session.send_transaction() as request:
        for piece in pieces:
            await request.send_all(piece)
    # the end of the block waited until the peer had acknowledged the whole
    answer = await session.receive_transaction()
    return b"".join([piece async for piece in answer])


async def main() -> None:
    async with trio.open_nursery() as nursery:
        listener = await nursery.start(partial(serve_fsp, count, 0, host="127.0.0.1"))
        host, port = listener.endpoint.local_address
        async with open_fsp_session(host, port) as session:
            print(await ask(session, [b"one ", b"transaction"]))
            print(await ask(session, [bytes(100_000)] * 3))
            print("committed:", session.statistics().transactions_committed)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
