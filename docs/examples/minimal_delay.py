import trio

from fsp_trio import FSPSession, open_fsp_session, serve_fsp


async def watch(session: FSPSession) -> None:
    async for frame in session.minimal_delay_receiver(capacity=2):
        print("frame", frame.decode())
        await trio.sleep(0.1)  # slower than they come


async def main() -> None:
    async with trio.open_nursery() as nursery:
        _, port = (await nursery.start(serve_fsp, watch, 0)).endpoint.local_address
        async with open_fsp_session("127.0.0.1", port) as session:
            sender = session.minimal_delay_sender()
            for number in range(50):
                sender.send_nowait(b"%d of 50" % (number + 1))
                await trio.sleep(0.01)
        await trio.sleep(0.5)  # the last frames are still being read
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
