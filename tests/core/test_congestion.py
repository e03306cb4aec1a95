"""The congestion manager: slow start, CUBIC against the formulas of RFC 9438, pacing, sharing (8.7, B18)."""

from __future__ import annotations

import math

import pytest

from fsp_trio.core.congestion import (
    CUBIC_BETA,
    CUBIC_C,
    INITIAL_WINDOW,
    MAXIMUM_MACROFLOWS,
    MAXIMUM_WINDOW,
    MINIMUM_WINDOW,
    PACING_GAIN,
    SEGMENT,
    SLOW_START_GAIN,
    UNMEASURED_WAIT,
    CongestionManager,
    Macroflow,
)

from .pair import Side
from .talk import drop_only, established, sn_of

RTT = 0.1


def one_round_trip(flow: Macroflow, now: float) -> None:
    """A window full is sent and acknowledged, packet by packet."""
    packets = int(flow.cwnd // SEGMENT)
    flow.sent(packets * SEGMENT)
    for i in range(packets):
        flow.in_flight += SEGMENT * (i > 0)  # each acknowledgement lets one more leave: the window stays full
        flow.acknowledged(SEGMENT, RTT, now + RTT * (i + 1) / packets)
    flow.forgotten(flow.in_flight)


def test_slow_start_doubles_the_window_in_a_round_trip() -> None:
    flow = Macroflow()
    assert flow.cwnd == INITIAL_WINDOW
    for doubling in range(1, 5):
        one_round_trip(flow, doubling * RTT)
        assert flow.cwnd == pytest.approx(INITIAL_WINDOW * 2**doubling, rel=0.01)


def test_an_application_that_does_not_use_its_window_earns_none() -> None:
    flow = Macroflow()
    for _ in range(100):
        flow.sent(SEGMENT)
        flow.acknowledged(SEGMENT, RTT, 0.0)
    assert flow.cwnd == INITIAL_WINDOW
    assert flow.in_flight == 0


def test_slow_start_ends_at_the_threshold() -> None:
    flow = Macroflow()
    flow.ssthresh = INITIAL_WINDOW * 1.5
    for i in range(4):
        one_round_trip(flow, i * RTT)
    assert flow.cwnd < INITIAL_WINDOW * 2


def test_the_window_has_a_ceiling() -> None:
    flow = Macroflow()
    flow.cwnd = float(MAXIMUM_WINDOW - 1)
    flow.sent(MAXIMUM_WINDOW)
    flow.acknowledged(MAXIMUM_WINDOW, RTT, 0.0)
    assert flow.cwnd == MAXIMUM_WINDOW


def test_one_reduction_for_one_window() -> None:
    """8.7: what was sent before the last reduction tells nothing new."""
    flow = Macroflow()
    flow.cwnd = 100.0 * SEGMENT
    flow.congested(sent_at=1.0, now=1.2)
    assert flow.cwnd == pytest.approx(100 * SEGMENT * CUBIC_BETA)
    for sent_at in (0.5, 1.1, 1.2):
        flow.congested(sent_at, now=1.3)
    assert flow.reductions == 1
    flow.congested(sent_at=1.25, now=1.4)
    assert flow.reductions == 2
    assert flow.cwnd == pytest.approx(100 * SEGMENT * CUBIC_BETA**2)


def test_the_window_has_a_floor() -> None:
    flow = Macroflow()
    for i in range(50):
        flow.congested(math.inf, float(i))
    assert flow.cwnd == MINIMUM_WINDOW


def test_time_out_starts_over() -> None:
    flow = Macroflow()
    flow.cwnd = 100.0 * SEGMENT
    flow.timed_out(0.5, 1.0)
    assert flow.cwnd == MINIMUM_WINDOW
    assert flow.ssthresh == pytest.approx(70 * SEGMENT)
    flow.timed_out(1.0, 3.0)
    assert flow.ssthresh == pytest.approx(70 * SEGMENT), "the same silence"
    one_round_trip(flow, 1.0)
    assert flow.cwnd == pytest.approx(2 * MINIMUM_WINDOW), "slow start up to the threshold"


def test_a_peer_that_is_gone_is_no_reason_to_start_over() -> None:
    """B18: another connection of the path was heard since, so it is not the path that is silent."""
    flow = Macroflow()
    flow.cwnd = 100.0 * SEGMENT
    flow.sent(SEGMENT)
    flow.acknowledged(SEGMENT, 0.1, 0.7)
    flow.timed_out(0.5, 1.0)
    assert flow.cwnd == pytest.approx(70 * SEGMENT)
    flow.timed_out(0.6, 1.1)
    assert flow.cwnd == pytest.approx(70 * SEGMENT), "one loss a window"
    flow.timed_out(0.8, 1.8)
    assert flow.cwnd == MINIMUM_WINDOW


def test_cubic_curve() -> None:
    """RFC 9438, 4.2: W(t) = C (t - K)^3 + W_max, K = cbrt(W_max (1 - beta) / C), in segments."""
    w_max = 400.0
    flow = Macroflow()
    flow.cwnd = w_max * SEGMENT
    flow.congested(sent_at=0.0, now=0.0)
    k = (w_max * (1 - CUBIC_BETA) / CUBIC_C) ** (1 / 3)
    assert k == pytest.approx(6.694, abs=0.001)
    now = 0.0
    checked = 0
    while now < 2 * k:
        one_round_trip(flow, now)
        now += RTT
        curve = CUBIC_C * (now - k) ** 3 + w_max
        assert flow.cwnd / SEGMENT == pytest.approx(curve, rel=0.06)
        checked += 1
    assert checked > 100
    assert flow.cwnd / SEGMENT == pytest.approx(520, rel=0.05), "as far above as it was below"


def test_cubic_plateau() -> None:
    """Concave up to W_max, hardly anything around it, convex beyond."""
    flow = Macroflow()
    flow.cwnd = 400.0 * SEGMENT
    flow.congested(0.0, 0.0)
    k = 6.694
    sizes = {}
    for i in range(int(2 * k / RTT)):
        one_round_trip(flow, i * RTT)
        sizes[i] = flow.cwnd
    at_k = int(k / RTT)
    steps = [sizes[i + 1] - sizes[i] for i in range(len(sizes) - 1)]
    assert steps[5] > 5 * steps[at_k]
    assert steps[-1] > 5 * steps[at_k]
    assert min(steps) >= 0


def test_cubic_is_as_fast_as_reno_where_reno_is_faster() -> None:
    """RFC 9438, 4.3: on short paths, W_est grows by 3 (1 - beta) / (1 + beta) segments in a round trip."""
    flow = Macroflow()
    flow.cwnd = 20.0 * SEGMENT
    flow.congested(0.0, 0.0)
    before = flow.cwnd
    rtt = 0.001
    for i in range(40):
        packets = int(flow.cwnd // SEGMENT)
        flow.sent(packets * SEGMENT)
        for j in range(packets):
            flow.in_flight += SEGMENT * (j > 0)
            flow.acknowledged(SEGMENT, rtt, i * rtt)
        flow.forgotten(flow.in_flight)
    grown = (flow.cwnd - before) / SEGMENT
    assert grown == pytest.approx(40 * 3 * (1 - CUBIC_BETA) / (1 + CUBIC_BETA), rel=0.15)


def test_fast_convergence() -> None:
    """RFC 9438, 4.7: a flow that loses below its last maximum leaves room for others."""
    flow = Macroflow()
    flow.cwnd = 100.0 * SEGMENT
    flow.congested(0.0, 0.0)
    flow.congested(1.0, 2.0)
    assert flow._w_max == pytest.approx(70 * SEGMENT * (1 + CUBIC_BETA) / 2)


def test_growth_after_a_loss_above_the_old_maximum() -> None:
    flow = Macroflow()
    flow.ssthresh = 0.0
    one_round_trip(flow, 0.0)
    assert INITIAL_WINDOW <= flow.cwnd < INITIAL_WINDOW * 1.2


def test_pacing_rate_and_credit() -> None:
    flow = Macroflow()
    assert flow.allowance(0.0) == INITIAL_WINDOW, "not paced before a round trip is known"
    flow.srtt = RTT
    flow.ssthresh = 1.0
    flow.cwnd = 100.0 * SEGMENT
    assert flow.rate == pytest.approx(PACING_GAIN * 100 * SEGMENT / RTT)
    flow.credit_at = 0.0
    flow.credit = 0.0
    assert flow.allowance(0.0) == 0
    assert flow.wait() == pytest.approx(SEGMENT / flow.rate, rel=0.3)
    assert flow.allowance(flow.wait()) >= SEGMENT
    flow.sent(flow.allowance(0.01))
    assert flow.allowance(0.01) == 0
    flow.ssthresh = math.inf
    assert flow.rate == pytest.approx(SLOW_START_GAIN * 100 * SEGMENT / RTT)


def test_paced_sending_keeps_to_the_rate() -> None:
    flow = Macroflow()
    flow.srtt, flow.ssthresh, flow.cwnd = RTT, 1.0, 1000.0 * SEGMENT
    flow.credit = 0.0
    flow.credit_at = 0.0
    sent = 0
    for i in range(1, 51):
        octets = flow.allowance(i * 0.001)
        flow.sent(octets)
        sent += octets
    assert sent == pytest.approx(flow.rate * 0.05, rel=0.02)


def test_idle_time_earns_no_burst() -> None:
    flow = Macroflow()
    flow.srtt, flow.cwnd = RTT, 1000.0 * SEGMENT
    assert flow.allowance(1e6) <= max(INITIAL_WINDOW, flow.rate * 0.002)


def test_datagrams_larger_than_the_usual_burst_are_paced_too() -> None:
    flow = Macroflow()
    flow.srtt, flow.cwnd = RTT, 1000.0 * SEGMENT
    flow.credit, flow.credit_at = 0.0, 0.0
    size = 30_000
    wait = flow.wait(size)
    assert 0 < wait < RTT
    assert flow.allowance(wait * 1.01, size) >= size


def test_a_full_window_waits_for_acknowledgements() -> None:
    flow = Macroflow()
    flow.members = 1
    flow.sent(int(flow.cwnd))
    assert flow.allowance(0.0) == 0
    assert flow.wait() == math.inf, "nobody else makes room"
    flow.members = 2
    assert flow.wait() == UNMEASURED_WAIT
    flow.srtt = 1.0
    assert flow.wait() == 0.5
    flow.srtt = 0.0001
    assert flow.wait() == 0.005


def test_a_connection_that_has_not_measured_does_not_spoil_the_round_trip() -> None:
    flow = Macroflow()
    flow.sent(2 * SEGMENT)
    flow.acknowledged(SEGMENT, 0.2, 1.0)
    flow.acknowledged(SEGMENT, 0.0, 1.0)
    assert flow.srtt == 0.2


def test_b18_connections_on_one_path_share() -> None:
    """B18: one macroflow per path, kept for the next connection."""
    manager = CongestionManager()
    first, second, other = manager.join("a"), manager.join("a"), manager.join("b")
    assert first is second
    assert first is not other
    assert first.members == 2
    manager.leave(first)
    manager.leave(second)
    assert manager.join("a") is first
    assert len(manager) == 2


def test_unused_paths_are_forgotten_when_there_are_too_many() -> None:
    manager = CongestionManager()
    kept = manager.join("kept")
    for i in range(3 * MAXIMUM_MACROFLOWS):
        manager.leave(manager.join(i))
    assert len(manager) <= MAXIMUM_MACROFLOWS + 1
    assert manager.join("kept") is kept


def test_used_paths_are_never_forgotten() -> None:
    manager = CongestionManager()
    flows = [manager.join(i) for i in range(MAXIMUM_MACROFLOWS + 10)]
    assert len(manager) == MAXIMUM_MACROFLOWS + 10
    assert manager.join(0) is flows[0]
    manager.leave(flows[5])
    assert len(manager) == MAXIMUM_MACROFLOWS + 9


def test_b18_sessions_that_hear_of_one_congestion_reduce_once() -> None:
    """8.7: eight connections of a path, each with ECE in one round trip."""
    manager = CongestionManager()
    pairs = [established(seed=seed + 1) for seed in range(8)]
    for pair in pairs:
        pair.client._congestion = manager
        pair.client._path = None
        pair.client._take_path(Side.SERVER, None, pair.clock.now)
    flow = pairs[0].client.macroflow
    flow.cwnd = 100.0 * SEGMENT
    for pair in pairs:
        pair.server._ce_seen = True
        pair.server.send(b"marked")
        pair.run_for(0.02)
    assert flow.members == 8
    assert flow.reductions == 1


def test_m45_srr_that_was_acknowledged_selectively_counts() -> None:
    """4.6: the second of six packets with SRR is lost; the others are told of as arrived."""
    pair = established()
    pair.server._ce_seen = True
    pair.server.send(b"marked")
    pair.run_for(0.1)
    second = (pair.client.sent.next_sn + 1) % 2**32
    drop_only(pair, 0, lambda flight: flight.sender is Side.CLIENT and sn_of(flight) == second)
    pair.client.send(bytes(6 * 1024))
    pair.run_for(0.3)
    assert any(block.acknowledged for block in pair.client.sent.blocks)
    assert pair.client._srr_since is None
