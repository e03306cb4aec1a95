"""The ceiling: seal, send, receive, open, and nothing else.

Two processes on plain blocking sockets carry datagrams like those of FSP (two ULTIDs, fixed header, 8-octet
check code, 1,024 octets) with AES-128-GCM and the segmentation offload of Linux. The only protocol is a
credit that keeps the receiver's socket from overflowing. What a real transport costs above this is its own.
"""

from __future__ import annotations

import hmac
import socket
import struct
import threading
from time import perf_counter, perf_counter_ns, process_time

import trio
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from .client import WARM_UP, Client, ClientWork, Numbers, Pipe, ServerWork
from .jobs import BLOCK, CHUNK, HOST, Job, NotMeasured
from .trio_thread import in_thread

SOL_UDP, UDP_SEGMENT, UDP_GRO = 17, 103, 104
TAG = 8
IDS = 8
FIXED = 16
HEADER = IDS + FIXED + TAG
DATAGRAM = HEADER + BLOCK
BATCH = 65_400 // DATAGRAM  # what Linux takes in one segmented call
WINDOW = 8 * BATCH  # datagrams without credit
CREDIT_EVERY = 2 * BATCH
BUFFER = 4 * 2**20
TIMEOUT = 5.0
KEY, SALT = bytes(range(16)), b"salt"
IDENTIFIERS = struct.pack(">II", 1, 2)
_head = struct.Struct(">IIII")
_credit = struct.Struct(">Q")

BULK, ECHO, LAST = 1, 2, 4  # first word of the head


class Sealer:
    """Like FSP's AEAD mode: eight octets of tag, nonce out of the packet's head."""

    __slots__ = ("_encrypt",)

    def __init__(self) -> None:
        self._encrypt = AESGCM(KEY).encrypt

    def seal(self, head: bytes, body: bytes) -> bytes:
        sealed = self._encrypt(SALT + head[8:16], body, IDENTIFIERS + head)
        return b"".join((IDENTIFIERS, head, sealed[-16 : TAG - 16], sealed[:-16]))

    def open(self, datagram: bytes | memoryview) -> bytes | None:
        nonce = SALT + bytes(datagram[IDS + 8 : IDS + FIXED])
        # one-shot decryption wants a tag of 16 octets; encrypting twice gives the plaintext, then its tag
        body = self._encrypt(nonce, datagram[HEADER:], None)[:-16]
        tag = self._encrypt(nonce, body, datagram[: IDS + FIXED])[-16 : TAG - 16]
        return body if hmac.compare_digest(tag, datagram[IDS + FIXED : HEADER]) else None


def _socket() -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    sock.setsockopt(SOL_UDP, UDP_GRO, 1)
    sock.bind((HOST, 0))
    return sock


def _serve(sock: socket.socket) -> None:
    sealer = Sealer()
    received = credited = 0
    room = socket.CMSG_SPACE(4)
    while True:
        data, _, _, source = sock.recvmsg(65_536, room)
        view = memoryview(data)
        kind = 0
        for start in range(0, len(data), DATAGRAM):
            datagram = view[start : start + DATAGRAM]
            body = sealer.open(datagram)
            if body is None:
                raise RuntimeError("a datagram did not open")
            kind = _head.unpack_from(datagram, IDS)[0]
            received += 1
            if kind & ECHO:
                sock.sendto(sealer.seal(_head.pack(ECHO, 0, received, 0), body), source)
        if not kind & ECHO and (kind & LAST or received - credited >= CREDIT_EVERY):
            credited = received
            sock.sendto(_credit.pack(received), source)
        if kind & LAST:
            received = credited = 0


class CeilingClient(Client):
    def __init__(self, port: int) -> None:
        super().__init__()
        self._socket = _socket()
        self._socket.connect((HOST, port))
        self._socket.settimeout(TIMEOUT)
        self._sealer = Sealer()

    async def open(self) -> Pipe:
        raise NotMeasured("the ceiling has no sessions")

    def send_datagrams(self, octets: int) -> None:
        total = octets // BLOCK
        sock, seal, pack = self._socket, self._sealer.seal, _head.pack
        body = bytes(BLOCK)
        offload = [(SOL_UDP, UDP_SEGMENT, struct.pack("=H", DATAGRAM))]
        sent = credit = 0
        while sent < total:
            while sent + BATCH - credit > WINDOW:
                credit = _credit.unpack(sock.recv(65_536))[0]
            upto = min(sent + BATCH, total)
            batch = [seal(pack(BULK, 0, number, 0), body) for number in range(sent, upto)]
            if upto == total:
                batch[-1] = seal(pack(BULK | LAST, 0, total - 1, 0), body)
            sock.sendmsg(batch, offload)
            sent = upto
        while credit < total:
            credit = _credit.unpack(sock.recv(65_536))[0]

    async def transfer(self, octets: int) -> Numbers:
        octets = octets // CHUNK * CHUNK
        cpu, start = process_time(), perf_counter()
        self.send_datagrams(octets)
        seconds, cpu = perf_counter() - start, process_time() - cpu
        return {"octets": octets, "seconds": seconds, "client_cpu": cpu, "packets_sent": octets // BLOCK}

    async def exchange(self, count: int) -> list[float]:
        sock, sealer, body = self._socket, self._sealer, bytes(BLOCK)
        samples: list[float] = []
        for number in range(WARM_UP + count):
            start = perf_counter_ns()
            sock.send(sealer.seal(_head.pack(ECHO, 0, number, 0), body))
            if sealer.open(sock.recv(65_536)) is None:
                raise RuntimeError("the answer did not open")
            samples.append((perf_counter_ns() - start) / 1000)
        return samples[-count:]


async def _client(job: Job, work: ClientWork) -> None:
    await work(CeilingClient(job.port), in_thread)


def run_client(job: Job, work: ClientWork) -> None:
    trio.run(_client, job, work)


async def _server(job: Job, work: ServerWork) -> None:
    sock = _socket()
    # in a thread only so that the commands are heard; the main thread sleeps meanwhile
    threading.Thread(target=_serve, args=(sock,), daemon=True).start()
    await work(sock.getsockname()[1], in_thread)


def run_server(job: Job, work: ServerWork) -> None:
    trio.run(_server, job, work)
