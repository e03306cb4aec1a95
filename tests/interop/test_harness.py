"""The harness's own parts that need neither root nor the author's program."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
from click.testing import CliRunner
from trio.testing import MockClock

from fsp_trio.session import FSPSession
from fsp_trio.testing import Impairment, SimulatedNetwork, session_pair

from .__main__ import HEAD, Count, chosen, main, row
from .scenarios import (
    KEYS,
    OUR_SEED,
    SCENARIOS,
    WELCOME,
    Ending,
    Scenario,
    check,
    end,
    follow,
    lead,
    pattern,
    peer_connects,
    peer_listens,
    send,
)
from .world import dropped, in_use, loss_rules


def test_pattern_is_what_the_page_says() -> None:
    octets = pattern(70_000, 5)
    for place in (0, 1, 511, 512, 65_535, 65_536, 69_999):
        assert octets[place] == (31 * place + 7 * (place // 512) + place // 65_536 + 17 * 5) % 256
    assert pattern(3, 0) == b"\x00\x1f\x3e"


def test_names_are_unique_and_every_protection_meets_loss() -> None:
    names = [each.name for each in SCENARIOS]
    assert len(names) == len(set(names))
    assert {each.protection for each in SCENARIOS if each.one_lost_in} == set(KEYS)
    assert {each.ending for each in SCENARIOS} == {"we release", "peer releases", "we reset", "peer resets"}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: each.name)
def test_the_peer_is_told_the_same_in_both_roles(scenario: Scenario) -> None:
    listens, connects = peer_listens(scenario), peer_connects(scenario)
    if not scenario.listener:
        assert connects == ["-t", "3"]
        return
    assert ("-m" in listens) == ("-m" in connects) == (scenario.protection == "MAC")
    key = [step for step in listens if step.startswith("key:")]
    assert key == [step for step in connects if step.startswith("key:")]
    assert len(key) == (scenario.key is not None)
    if scenario.key is not None:  # 16 octets for 128 bits, more for 256
        assert (len(scenario.key.material) > 16) == (scenario.key.bits == 256)
        assert connects.index(key[0]) == connects.index("send:2") + 1
        assert listens.index(key[0]) < listens.index("send:B")
    assert listens[-1] == connects[-1]


def test_choice_of_scenarios() -> None:
    assert chosen("*", can_rekey=True) == SCENARIOS
    assert not any(each.rekeying for each in chosen("*", can_rekey=False))
    assert [each.name for each in chosen("no listen*", can_rekey=False)] == ["no listener"]


def test_table() -> None:
    assert HEAD.splitlines()[1].count("|") == 4
    assert row("echo", {"initiator": Count(20, 20), "responder": Count(0, 20)}) == "| echo | 20 of 20 | 0 of 20 |"


def test_rules_of_loss() -> None:
    assert "mod 7 == 6 counter drop" in loss_rules(7)
    assert dropped("udp dport 18003 numgen inc mod 7 == 6 counter packets 12 bytes 4711 drop") == 12
    assert dropped("") == 0


def test_shared_memory_of_others() -> None:
    assert in_use(f"FlexibleSessionProtocolSHM{os.getpid()}.0x5650")
    assert not in_use("FlexibleSessionProtocolSHM0x5650")


def test_without_root_one_line_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 1
    assert result.output.splitlines() == ["Error: network namespaces need root"]


def test_both_programs_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert "--peer and --service are needed" in result.output


def test_check() -> None:
    check(1, 1)
    with pytest.raises(AssertionError, match="'1' instead of '2'"):
        check(1, 2)


@asynccontextmanager
async def welcomed() -> AsyncGenerator[tuple[FSPSession, FSPSession], None]:
    network = SimulatedNetwork(1, Impairment(delay=0.01))
    pair = session_pair(network, revision="reference-2020")
    async with network, pair as (initiator, responder), trio.open_nursery() as nursery:
        nursery.start_soon(send, responder, WELCOME.encode())
        yield initiator, responder


@pytest.mark.parametrize("protection", KEYS)
async def test_both_parts_of_ours_fit_together(protection: str, autojump_clock: MockClock) -> None:
    ours = Scenario("as initiator", protection, 20_000)
    async with welcomed() as (initiator, responder), trio.open_nursery() as nursery:
        nursery.start_soon(lead, initiator, ours)
        nursery.start_soon(follow, responder, ours, OUR_SEED)
    wanted = {"CRC64": "crc64", "MAC": "mac"}.get(protection, "aead")
    assert initiator.protection == responder.protection == wanted


@pytest.mark.parametrize(("ours", "theirs"), [("we release", "peer releases"), ("we reset", "peer resets")])
async def test_endings(ours: Ending, theirs: Ending, autojump_clock: MockClock) -> None:
    async with welcomed() as (initiator, responder):
        await initiator.receive_transaction()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(end, initiator, ours)
            nursery.start_soon(end, responder, theirs)
