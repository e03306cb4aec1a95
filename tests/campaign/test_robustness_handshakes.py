"""A hundred thousand handshakes from forged addresses (`make campaign`)."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from tests.robustness.test_spoofed_handshakes import init_connect, spoof_many, wrong_request

pytestmark = [pytest.mark.campaign, pytest.mark.realnet]


@pytest.mark.parametrize("make", [init_connect, wrong_request])
async def test_a_hundred_thousand_spoofed_handshakes_leave_nothing(make: Callable[[random.Random], bytes]) -> None:
    await spoof_many(make, 100_000)
