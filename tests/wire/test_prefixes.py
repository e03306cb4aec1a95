"""How an address is told to a peer (gao-07 4.7, jason-00 3.2)."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from fsp_trio.ports import open_udp_port
from fsp_trio.wire.prefixes import NO_PREFIX, prefix_of


def test_an_address_and_its_port() -> None:
    assert prefix_of(("192.0.2.7", 18003)).hex() == "2002" + "c0000207" + "4653"


@pytest.mark.parametrize(
    "address", [("0.0.0.0", 18003), ("192.0.2.7", 0), ("192.0.2.7", 65_536), ("server", 1), ("client", "x"), "a", None]
)
def test_what_is_no_address(address: Any) -> None:
    assert prefix_of(address) == NO_PREFIX


@pytest.mark.realnet
async def test_a_port_bound_to_no_address_knows_it_for_a_destination() -> None:
    port = await open_udp_port(port=0)
    try:
        number = port.local_address[1]  # type: ignore[index]
        assert port.local_address == ("0.0.0.0", number)
        assert port.local_address_towards(("127.0.0.1", 9)) == ("127.0.0.1", number)
        assert port.local_address_towards(("255.255.255.255", 9)) == ("0.0.0.0", number), "nothing may be sent there"
    finally:
        port.close()
    port = await open_udp_port("127.0.0.1", 0)
    try:
        assert port.local_address_towards(("192.0.2.7", 9)) == port.local_address
    finally:
        port.close()
    await trio.lowlevel.checkpoint()
