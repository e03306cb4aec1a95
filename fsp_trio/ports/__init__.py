"""Datagram ports: what the endpoint sends and receives through."""

from .base import Address, Batch, Port, PortStatistics, RovingPort
from .udp import UDPPort, open_udp_port

__all__ = ["Address", "Batch", "Port", "PortStatistics", "RovingPort", "UDPPort", "open_udp_port"]
