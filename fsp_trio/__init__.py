"""The Flexible Session Protocol (FSP) for Python, on Trio.

FSP is a connection-oriented transport over UDP/IPv4.  A connection is known by a pair of 32-bit upper layer thread
IDs and not by addresses, every packet carries an integrity check code, and transmit transactions give the octet
stream message boundaries.  Section numbers in the documentation are those of
draft-gao-flexible-session-protocol-07 unless another document is named.
"""

from fsp_trio.channel import FSPChannel
from fsp_trio.core.failure import FailureKind, ResetReason
from fsp_trio.core.paths import Path, PathState
from fsp_trio.core.settings import Settings
from fsp_trio.core.timers import Timers
from fsp_trio.endpoint import DEFAULT_PORT, FSPEndpoint, open_fsp_endpoint
from fsp_trio.errors import (
    CommitTimeout,
    FSPBrokenError,
    FSPBusyError,
    FSPClosedError,
    FSPConnectError,
    FSPError,
    KeyInstallationError,
    MultiplicationError,
)
from fsp_trio.listener import FSPListener
from fsp_trio.minimal_delay import MinimalDelayReceiver, MinimalDelaySender
from fsp_trio.opening import open_fsp_session, serve_fsp
from fsp_trio.revisions.states import State
from fsp_trio.session import FSPSession
from fsp_trio.statistics import EndpointStatistics, ListenerStatistics, SessionStatistics
from fsp_trio.streams import FSPStream
from fsp_trio.transactions import ReceiveTransaction, SendTransaction

__all__ = [
    "DEFAULT_PORT",
    "CommitTimeout",
    "EndpointStatistics",
    "FSPBrokenError",
    "FSPBusyError",
    "FSPChannel",
    "FSPClosedError",
    "FSPConnectError",
    "FSPEndpoint",
    "FSPError",
    "FSPListener",
    "FSPSession",
    "FSPStream",
    "FailureKind",
    "KeyInstallationError",
    "ListenerStatistics",
    "MinimalDelayReceiver",
    "MinimalDelaySender",
    "MultiplicationError",
    "Path",
    "PathState",
    "ReceiveTransaction",
    "ResetReason",
    "SendTransaction",
    "SessionStatistics",
    "Settings",
    "State",
    "Timers",
    "open_fsp_endpoint",
    "open_fsp_session",
    "serve_fsp",
]
__version__ = "0.1.0"
