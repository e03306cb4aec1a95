import logging

import trio

from fsp_trio import FSPError, FSPStream, open_fsp_endpoint

logger = logging.getLogger(__name__)


async def handle(stream: FSPStream) -> None:
    try:
        async with stream:  # closes gracefully; what serve_listeners would do afterwards is a RESET
            async for data in stream:
                await stream.send_all(data)
    except FSPError as error:
        logger.info("session with %s ended: %s", stream.session.remote_address, error)


async def main() -> None:
    async with open_fsp_endpoint("127.0.0.1", 0) as endpoint, trio.open_nursery() as nursery:
        listener = endpoint.listen(7, backlog=32)
        await nursery.start(trio.serve_listeners, handle, [listener])

        async with await endpoint.open_session_to(endpoint.local_address, service=7) as session:
            stream = session.stream()
            await stream.send_all(b"there and back")
            await stream.send_eof()
            print(b"".join([data async for data in stream]))
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
