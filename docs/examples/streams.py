from functools import partial

import trio

from fsp_trio import FSPSession, open_fsp_session, serve_fsp


async def count_lines(session: FSPSession) -> None:
    async with session.stream() as stream:
        lines = 0
        async for data in stream:  # until the peer's send_eof
            lines += data.count(b"\n")
        await stream.send_all(f"{lines} lines\n".encode())


async def main() -> None:
    async with trio.open_nursery() as nursery:
        listener = await nursery.start(partial(serve_fsp, count_lines, 0, host="127.0.0.1"))
        host, port = listener.endpoint.local_address
        async with open_fsp_session(host, port) as session:
            stream = session.stream()
            for number in range(1000):
                await stream.send_all(b"line %d\n" % number)
            await stream.send_eof()
            print(b"".join([data async for data in stream]).decode(), end="")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
