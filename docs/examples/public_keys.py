from functools import partial

import trio
from nacl.signing import SigningKey

from fsp_trio import FSPError, FSPSession, open_fsp_session, serve_fsp
from fsp_trio.keying import agree_x25519, anyone, only


async def serve(identity: SigningKey, session: FSPSession) -> None:
    try:
        client = await agree_x25519(session, initiator=False, identity=identity, trust=anyone)
        channel = session.channel()
        await channel.send(b"hello, " + (b"stranger" if client is None else client.hex()[:8].encode()))
        await channel.aclose()
    except FSPError as error:
        print("a session failed:", error)


async def main() -> None:
    server, client = SigningKey(bytes(32)), SigningKey(bytes(range(32)))  # in real life SigningKey.generate(), once
    async with trio.open_nursery() as nursery:
        listener = await nursery.start(partial(serve_fsp, partial(serve, server), 0, host="127.0.0.1"))
        host, port = listener.endpoint.local_address
        for identity in (None, client):
            async with open_fsp_session(host, port) as session:
                trust = only(bytes(server.verify_key))  # known from elsewhere
                await agree_x25519(session, initiator=True, identity=identity, trust=trust)
                print(await session.channel().receive())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
