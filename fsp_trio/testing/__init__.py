"""Tools for testing what is built on fsp_trio."""

from .network import Impairment, PacketRecord, SimulatedNetwork, SimulatedPort
from .streams import CLOGGABLE, PairMaker, clogged_stream_pair, open_pair_maker, session_pair, stream_pair

__all__ = [
    "CLOGGABLE",
    "Impairment",
    "PacketRecord",
    "PairMaker",
    "SimulatedNetwork",
    "SimulatedPort",
    "clogged_stream_pair",
    "open_pair_maker",
    "session_pair",
    "stream_pair",
]
