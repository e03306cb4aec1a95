import trio

from fsp_trio import FSPSession, open_fsp_session, serve_fsp


async def shout(session: FSPSession) -> None:
    async for value in (channel := session.channel()):
        await channel.send(value.upper())


async def main() -> None:
    async with trio.open_nursery() as nursery:
        _, port = (await nursery.start(serve_fsp, shout, 0)).endpoint.local_address
        async with open_fsp_session("127.0.0.1", port) as session, session.channel() as channel:
            await channel.send(b"hello, world")
            print(await channel.receive())
        nursery.cancel_scope.cancel()


trio.run(main)
