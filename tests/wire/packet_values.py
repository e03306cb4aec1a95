"""Every packet value that gao-07 can write, as strategies, and a codec with the numbers of the draft."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from fsp_trio.wire.gao import GaoCodec
from fsp_trio.wire.packets import (
    FLAG_EOT,
    AckInitConnect,
    ConnectRequest,
    Extension,
    ExtensionKind,
    InitConnect,
    Normal,
    Op,
    Packet,
    Reset,
    SinkParameter,
    Snack,
    UnknownExtension,
)

# the table of gao-07 4.4.1, written down a second time
NUMBERS = {
    Op.INIT_CONNECT: 1,
    Op.ACK_INIT_CONNECT: 2,
    Op.CONNECT_REQUEST: 3,
    Op.ACK_CONNECT_REQ: 4,
    Op.RESET: 5,
    Op.NULCOMMIT: 6,
    Op.KEEP_ALIVE: 7,
    Op.PERSIST: 8,
    Op.PURE_DATA: 9,
    Op.ACK_FLUSH: 10,
    Op.RELEASE: 11,
    Op.MULTIPLY: 12,
}
CODEC = GaoCodec(NUMBERS, {ExtensionKind.PEER_SUBNETS: 17, ExtensionKind.SELECTIVE_NACK: 18})

u8 = st.integers(0, 0xFF)
u24 = st.integers(0, 0xFFFFFF)
u32 = st.integers(0, 0xFFFFFFFF)


def octets(size: int) -> SearchStrategy[bytes]:
    return st.binary(min_size=size, max_size=size)


sinks = st.builds(SinkParameter, octets(4), st.tuples(*[octets(8)] * 4), u8)
gap_lists = st.lists(st.tuples(u32, u32), max_size=12).map(tuple)
snacks = st.builds(Snack, u32, u32, u32, gap_lists, u8)
snacks_without_gaps = st.builds(Snack, u32, u32, u32, st.just(()), u8)
unknown_contents = st.integers(0, 4).flatmap(lambda n: octets(4 + 8 * n))
unknown_extensions = st.builds(UnknownExtension, u8.filter(lambda c: c not in {17, 18}), u8, unknown_contents)
host_names = st.text(max_size=63).map(str.encode)


@st.composite
def chains(draw: st.DrawFn, op: Op) -> tuple[Extension, ...]:
    """Extension headers that such a packet may have, in any order."""
    if op is Op.PURE_DATA:
        return ()
    chain: list[Extension] = [*draw(st.lists(unknown_extensions, max_size=3, unique_by=lambda e: e.code))]
    if draw(st.booleans()):
        chain.append(draw(sinks))
    if op is Op.ACK_FLUSH:
        chain.append(draw(snacks_without_gaps))
    elif op is Op.KEEP_ALIVE or draw(st.booleans()):
        chain.append(draw(snacks))
    return tuple(draw(st.permutations(chain)))


@st.composite
def normal_packets(draw: st.DrawFn, ops: SearchStrategy[Op]) -> Normal:
    op = draw(ops)
    flags = draw(u8)
    if op is Op.NULCOMMIT:
        flags |= FLAG_EOT
    payload = b""
    if op not in {Op.NULCOMMIT, Op.KEEP_ALIVE, Op.ACK_FLUSH, Op.RELEASE}:
        payload = draw(st.binary(min_size=op is Op.PERSIST, max_size=1100))
    return Normal(op, flags, draw(u24), draw(u32), draw(u32), draw(octets(8)), draw(chains(op)), payload)


normal_ops = st.sampled_from(list(Op)[3:]).filter(lambda op: op is not Op.RESET)
packets: SearchStrategy[Packet] = st.one_of(
    st.builds(InitConnect, octets(4), octets(8), octets(8), host_names),
    st.builds(AckInitConnect, octets(4), octets(8), octets(8), sinks),
    st.builds(ConnectRequest, octets(4), octets(8), octets(8), u32, octets(4), octets(8), sinks, host_names),
    st.builds(Reset, u32, octets(8), octets(8)),
    normal_packets(normal_ops),
)
