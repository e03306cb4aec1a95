"""Tools for testing what is built on fsp_trio."""

from fsp_trio.testing.network import (
    Impairment,
    PacketRecord,
    SimulatedHost,
    SimulatedNAT,
    SimulatedNetwork,
    SimulatedPort,
)
from fsp_trio.testing.nonces import NonceLedger, NonceReuse
from fsp_trio.testing.streams import (
    CLOGGABLE,
    PairMaker,
    clogged_stream_pair,
    open_pair_maker,
    session_pair,
    stream_pair,
)

__all__ = [
    "CLOGGABLE",
    "Impairment",
    "NonceLedger",
    "NonceReuse",
    "PacketRecord",
    "PairMaker",
    "SimulatedHost",
    "SimulatedNAT",
    "SimulatedNetwork",
    "SimulatedPort",
    "clogged_stream_pair",
    "open_pair_maker",
    "session_pair",
    "stream_pair",
]
