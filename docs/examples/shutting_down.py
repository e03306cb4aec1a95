import trio

from fsp_trio import FSPBrokenError
from fsp_trio.testing import session_pair


async def gracefully() -> None:
    async with session_pair() as (alice, bob):
        channel = alice.channel()
        await channel.send(b"the last words")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(alice.aclose)  # returns when everything has been acknowledged
            async for transaction in bob:
                print("bob reads", b"".join([data async for data in transaction]))
            await bob.aclose()  # the loop above ended because alice has released the session
        print("confirmed:", alice.closed_confirmed, bob.closed_confirmed)


async def abruptly() -> None:
    async with session_pair() as (alice, bob):
        alice.reset(4711)
        try:
            await bob.receive_transaction()
        except FSPBrokenError as error:
            print("bob hears:", error.kind.name if error.kind else None, error.reason)


async def main() -> None:
    await gracefully()
    await abruptly()


if __name__ == "__main__":
    trio.run(main)
