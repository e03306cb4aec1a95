"""Section 8.9, and what 4.6 says of it: messages with minimal delay."""

from __future__ import annotations

from spec_conformance.bench import Bench
from spec_conformance.case import case
from spec_conformance.expect import an
from spec_conformance.peer import Peer
from spec_conformance.verdict import Violation
from spec_conformance.wire.packet import FLAG_CPR, FLAG_EOT, FLAG_MIND, Op, Packet

REVISION = "gao-07"
NEEDS = ("minimal-delay",)
DATA = an(Op.PERSIST, Op.PURE_DATA)
MESSAGES = [f"message {number}".encode() for number in range(8)]


async def connected(bench: Bench) -> Peer:
    peer = await bench.peer()
    await peer.connect()
    await peer.echo(b"sane")
    return peer


async def say(peer: Peer, message: bytes, op: Op = Op.PURE_DATA, *, flags: int = FLAG_MIND) -> None:
    await peer.send(op, message, flags=flags)


async def hear(peer: Peer, message: bytes) -> Packet:
    """The next message of the target's, which must be that one."""
    answer = await peer.expect(DATA)
    if answer.payload != message:
        raise Violation(f"{message!r} was due, and {answer.payload[:40]!r} came", answer)
    return answer


async def begun(bench: Bench) -> Peer:
    """Both directions have gone over to messages."""
    peer = await connected(bench)
    await say(peer, b"begin", Op.PERSIST)
    await hear(peer, b"begin")
    return peer


@case(
    REVISION,
    "8.9/mind-on-data-packets",
    "4.6/mind-delivers-packets",
    "4.6/cpr-with-mind",
    service="messages",
    needs=NEEDS,
    quick=True,
)
async def echoed(bench: Bench) -> None:
    """Each packet is a message and comes back as one: the first with PERSIST, all with MIND."""
    peer = await connected(bench)
    for number, message in enumerate(MESSAGES):
        await say(peer, message, Op.PURE_DATA if number else Op.PERSIST)
    for number, message in enumerate(MESSAGES):
        answer = await hear(peer, message)
        if answer.op is not (Op.PURE_DATA if number else Op.PERSIST):
            raise Violation(f"message {number} came in {answer.name}", answer)
        if not answer.flags & FLAG_MIND:
            raise Violation(f"message {number} came without MIND", answer)
        if answer.flags & (FLAG_EOT | FLAG_CPR):
            raise Violation(f"message {number} came with EoT or CPR", answer)


@case(REVISION, "4.6/mind-ignores-eot", service="messages", needs=NEEDS)
async def end_ignored(bench: Bench) -> None:
    """EoT on a message draws no ACK_FLUSH, and those after it are messages as before."""
    peer = await begun(bench)
    await say(peer, b"not the last", flags=FLAG_MIND | FLAG_EOT)
    came = await peer.drain()
    if not any(packet.payload == b"not the last" for packet in came):
        raise Violation("a message with EoT was not delivered")
    for packet in came:
        if packet.op is Op.ACK_FLUSH:
            raise Violation("ACK_FLUSH answers the EoT of a message", packet)
    await say(peer, b"the next one")
    await hear(peer, b"the next one")


@case(REVISION, "8.9/order-kept-after-drops", service="messages", needs=NEEDS)
async def gaps(bench: Bench) -> None:
    """Messages before and after ones that never come are delivered, in their order."""
    peer = await begun(bench)
    for number, message in enumerate(MESSAGES):
        packet = peer.packet(Op.PURE_DATA, message, flags=FLAG_MIND, sn=peer.sn + number & 0xFFFFFFFF)
        if number not in (0, 3, 4):
            await peer.send(packet)
    for number, message in enumerate(MESSAGES):
        if number not in (0, 3, 4):
            await hear(peer, message)


@case(REVISION, "8.9/mind-not-acknowledged", service="messages", needs=NEEDS)
async def not_acknowledged(bench: Bench) -> None:
    """A run of messages draws a report or two, and not one each; it acknowledges what was left out, too."""
    peer = await begun(bench)
    await peer.drain()
    skipped = 3
    last = peer.sn + skipped + len(MESSAGES) & 0xFFFFFFFF
    for number, message in enumerate(MESSAGES):
        sn = peer.sn + skipped + number & 0xFFFFFFFF
        await peer.send(peer.packet(Op.PURE_DATA, message, flags=FLAG_MIND, sn=sn))
        await bench.sleep(0.001)
    reports = [packet for packet in await peer.drain() if packet.op in (Op.KEEP_ALIVE, Op.ACK_FLUSH)]
    if len(reports) > len(MESSAGES) // 2:
        raise Violation(f"{len(reports)} acknowledgements of {len(MESSAGES)} messages", reports[-1])
    if reports and reports[-1].acknowledged != last:
        raise Violation("a message that was left out is still awaited", reports[-1])


@case(REVISION, "8.9/mind-not-repeated", service="messages", needs=NEEDS, slow=True)
async def not_repeated(bench: Bench) -> None:
    """Nobody acknowledges the target's messages, and none of them comes again."""
    peer = await begun(bench)
    for message in MESSAGES:
        await say(peer, message)
    for message in MESSAGES:
        await hear(peer, message)
    for packet in await peer.drain(10.0):
        if packet.op in (Op.PERSIST, Op.PURE_DATA):
            raise Violation("a message came again", packet)


@case(REVISION, "8.9/one-direction-only", service="messages", needs=NEEDS, slow=True)
async def one_direction(bench: Bench) -> None:
    """Messages come in while the target's transaction is not acknowledged: that is repeated."""
    peer = await connected(bench)
    await peer.transaction(b"wine")
    answer = await peer.expect(DATA)
    await peer.send(Op.PERSIST, b"milk", flags=FLAG_MIND, expected=answer.sn)
    again = await peer.expect(DATA, 10.0, otherwise="a transaction was not repeated")
    if (again.sn, again.payload) != (answer.sn, b"wine"):
        raise Violation("something else came before the transaction was acknowledged", again)
