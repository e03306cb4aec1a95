"""RTT and RTO with numbers worked out by hand (gao-07 8.5.1, 8.5.4, B9)."""

from __future__ import annotations

import pytest

from fsp_trio.core.timers import HalvedRoundTrip, RoundTrip, Timers


def test_before_the_first_measurement() -> None:
    rtt = RoundTrip(Timers.draft())
    assert not rtt.measured
    assert (rtt.rto, rtt.timeout, rtt.srtt) == (1.0, 1.0, 0.0)


def test_first_and_following_measurements() -> None:
    rtt = RoundTrip(Timers.draft())
    rtt.sample(0.8)
    assert (rtt.srtt, rtt.rttvar) == (0.8, 0.4)
    assert rtt.rto == pytest.approx(0.8 + 4 * 0.4)
    rtt.sample(1.6)
    # RTTVAR first, with the old SRTT: 3/4 * 0.4 + 1/4 * |0.8 - 1.6|; then SRTT: 7/8 * 0.8 + 1/8 * 1.6
    assert rtt.rttvar == pytest.approx(0.5)
    assert rtt.srtt == pytest.approx(0.9)
    assert rtt.rto == pytest.approx(0.9 + 2.0)


def test_granularity_counts_when_the_variation_is_small() -> None:
    rtt = RoundTrip(Timers.draft())
    rtt.sample(2.0)
    for _ in range(200):
        rtt.sample(2.0)
    assert rtt.rto == pytest.approx(2.0 + 0.01)


@pytest.mark.parametrize(("timers", "floor"), [(Timers.draft(), 1.0), (Timers.responsive(), 0.05)])
def test_b9_floor(timers: Timers, floor: float) -> None:
    rtt = RoundTrip(timers)
    rtt.sample(0.001)
    assert rtt.rto == floor


def test_b9_ceiling() -> None:
    rtt = RoundTrip(Timers.draft())
    rtt.sample(100.0)
    assert rtt.rto == rtt.timeout == 60.0


def test_b9_doubling_up_to_the_ceiling() -> None:
    rtt = RoundTrip(Timers.draft())
    timeouts = []
    for _ in range(8):
        timeouts.append(rtt.timeout)
        rtt.back_off()
    assert timeouts == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]
    assert rtt.rto == 1.0, "the RTO itself is not doubled"
    assert rtt.backoff == 64
    rtt.progress()
    assert (rtt.timeout, rtt.backoff) == (1.0, 1)
    rtt.progress()
    assert rtt.timeout == 1.0


def test_b9_responsive_waits_one_srtt_more() -> None:
    """B9: added to the timer, not to RTO, and not doubled."""
    rtt = RoundTrip(Timers.responsive())
    assert rtt.timeout == 1.0
    rtt.sample(0.2)
    assert rtt.rto == pytest.approx(0.2 + 4 * 0.1)
    assert rtt.timeout == pytest.approx(0.6 + 0.2)
    rtt.back_off()
    assert rtt.timeout == pytest.approx(1.2 + 0.2)


def test_b9_settings_of_the_handshake() -> None:
    assert Timers.draft().handshake_interval == 15.0
    assert Timers.responsive().handshake_interval == 1.0
    assert Timers.responsive(maximum=5.0).maximum == 5.0
    assert Timers.draft().granularity <= 0.1


def test_measurement_that_is_not_positive() -> None:
    """The delay that a peer reports may exceed what we measured; RTO stays sane."""
    rtt = RoundTrip(Timers.draft())
    rtt.sample(-5.0)
    assert rtt.measured
    assert 0.0 < rtt.srtt < 1e-5
    assert rtt.rto == 1.0


def test_jason_00_mean_of_what_was_acknowledged() -> None:
    """jason-00 7.4.1 and 7.4.4, A30: halfway to the new mean, and four of them; the time-out can be doubled thrice."""
    rtt = HalvedRoundTrip(Timers.draft())
    rtt.acknowledged([1.0, 2.0], 2.5)
    assert rtt.srtt == pytest.approx(1.0)
    rtt.acknowledged([10.0], 10.5)
    assert rtt.srtt == pytest.approx(0.75)
    assert rtt.timeout == pytest.approx(3.0)
    rtt.acknowledged([20.0], 60.0)
    assert rtt.timeout == pytest.approx(7.5)
    for _ in range(5):
        rtt.back_off()
    assert rtt.timeout == pytest.approx(60.0)
