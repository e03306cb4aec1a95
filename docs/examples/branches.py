import secrets
from functools import partial

import trio

from fsp_trio import FSPError, FSPSession, open_fsp_session, serve_fsp
from fsp_trio.keying import agree_psk

PAGES = {b"/": b"<h1>Hello</h1>", b"/big": bytes(1_000_000)}


async def answer(branch: FSPSession) -> None:
    """One branch is one request: what came with it is here already."""
    try:
        request = await branch.receive_transaction()
        path = b"".join([data async for data in request])
        await branch.send_transaction().send_all(PAGES.get(path, b"not found"))
        await branch.aclose()
    except FSPError as error:
        print("a branch failed:", error)


async def serve(psk: bytes, session: FSPSession) -> None:
    await agree_psk(session, psk, initiator=False)
    await session.serve_branches(answer)


async def ask(session: FSPSession, path: bytes) -> None:
    async with await session.multiply(path) as branch:
        page = b"".join([data async for data in await branch.receive_transaction()])
        print(path.decode(), len(page), "octets")


async def main() -> None:
    psk = secrets.token_bytes(32)
    async with trio.open_nursery() as nursery:
        listener = await nursery.start(partial(serve_fsp, partial(serve, psk), 0, host="127.0.0.1"))
        host, port = listener.endpoint.local_address
        async with open_fsp_session(host, port) as session:
            await agree_psk(session, psk, initiator=True)
            async with trio.open_nursery() as requests:
                for path in (b"/big", b"/", b"/missing"):
                    requests.start_soon(ask, session, path)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
