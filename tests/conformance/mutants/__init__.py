"""Deliberate violations of the protocol, each of which a case must notice."""

from __future__ import annotations

from typing import Final

from .gao_07_compression import COMPRESSION
from .gao_07_minimal_delay import MINIMAL_DELAY
from .gao_07_negotiation import NEGOTIATION
from .gao_07_transfer import TRANSFER
from .jason_00 import JASON
from .mutant import Mutant

__all__ = ["MUTANTS", "Mutant"]

MUTANTS: Final = (*NEGOTIATION, *TRANSFER, *COMPRESSION, *MINIMAL_DELAY, *JASON)
