"""256 MiB through one session (`make campaign`)."""

from __future__ import annotations

import sys

import pytest

from tests.robustness.figures import MEGABYTE, report
from tests.robustness.test_resources import MAX_GROWTH, carry

pytestmark = [pytest.mark.campaign, pytest.mark.realnet]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_quarter_of_a_gibibyte_takes_little_memory() -> None:
    growth = await carry(256 * MEGABYTE)
    report(f"resident set {growth / MEGABYTE:+.1f} MiB")
    assert growth < MAX_GROWTH
