import secrets
from functools import partial

import trio

from fsp_trio import FSPError, FSPSession, open_fsp_session, serve_fsp
from fsp_trio.keying import agree_psk


async def serve(psk: bytes, session: FSPSession) -> None:
    try:
        await agree_psk(session, psk, initiator=False)
        async with session.channel() as channel:
            async for value in channel:
                await channel.send(value[::-1])
    except FSPError as error:  # one bad peer must not end the server
        print("a session failed:", error)


async def main() -> None:
    psk = secrets.token_bytes(32)  # in real life both ends read it from a file
    async with trio.open_nursery() as nursery:
        listener = await nursery.start(partial(serve_fsp, partial(serve, psk), 0, host="127.0.0.1"))
        host, port = listener.endpoint.local_address
        async with open_fsp_session(host, port) as session:
            print("before:", session.protection)
            await agree_psk(session, psk, initiator=True)
            print("after:", session.protection)
            channel = session.channel()
            await channel.send(b"terces")
            print(await channel.receive())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
