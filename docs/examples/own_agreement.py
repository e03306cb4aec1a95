"""Key material from an ephemeral Diffie-Hellman exchange, authenticated by a secret that both ends share."""

import hashlib
import secrets
from functools import partial

import trio
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from fsp_trio import FSPSession, ReceiveTransaction, open_fsp_session, serve_fsp

PUBLIC_KEY = 32


async def read_public_key(transaction: ReceiveTransaction) -> bytes:
    """The octets of the transaction, which must be read to its end."""
    key = b""
    while len(key) <= PUBLIC_KEY and (data := await transaction.receive_some(PUBLIC_KEY + 1 - len(key))):
        key += data
    if len(key) != PUBLIC_KEY:
        raise ValueError("the peer sent something else than a public key")
    return key


def material(psk: bytes, own: X25519PrivateKey, peer: bytes, transcript: bytes) -> bytes:
    shared = own.exchange(X25519PublicKey.from_public_bytes(peer))
    return hashlib.blake2b(shared + transcript, key=psk, person=b"own agreement 1").digest()


async def respond(psk: bytes, session: FSPSession) -> None:
    own = X25519PrivateKey.generate()
    offer = own.public_key().public_bytes_raw()
    peer = await read_public_key(await session.receive_transaction())
    answer = session.send_transaction()
    await answer.send_all(offer)
    # the answer is still open: it is the last thing that this end sends without a key
    session.install_key(material(psk, own, peer, peer + offer))
    await answer.commit()
    async with session.channel() as channel:
        async for value in channel:
            await channel.send(value.upper())


async def main() -> None:
    psk = secrets.token_bytes(32)
    own = X25519PrivateKey.generate()
    offer = own.public_key().public_bytes_raw()
    async with trio.open_nursery() as nursery:
        listener = await nursery.start(partial(serve_fsp, partial(respond, psk), 0, host="127.0.0.1"))
        host, port = listener.endpoint.local_address
        # the offer is a whole transaction, ended already, and travels with the handshake
        async with open_fsp_session(host, port, first=offer) as session:
            peer = await read_public_key(await session.receive_transaction())
            session.install_key(material(psk, own, peer, offer + peer))  # at once: nothing awaited in between
            channel = session.channel()
            await channel.send(b"now under a key")
            print(session.protection, await channel.receive())
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
