"""Tools for testing what is built on fsp_trio."""

from .network import Impairment, PacketRecord, SimulatedNetwork, SimulatedPort

__all__ = ["Impairment", "PacketRecord", "SimulatedNetwork", "SimulatedPort"]
