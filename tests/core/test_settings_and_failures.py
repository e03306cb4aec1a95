"""Ranges of settings, words for failures, the table of revisions."""

from __future__ import annotations

import pytest

from fsp_trio import revisions
from fsp_trio.core.failure import ConnectionMisuse, Failure, FailureKind, KeyInstallationRefused, ResetReason
from fsp_trio.core.settings import Settings
from fsp_trio.revisions.states import Event, State, StateTable, Transition


def settings_with(name: str, value: object) -> Settings:
    return Settings(**{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [
        ("max_payload", 1, 65_000),
        ("receive_window", 4, 2**20 - 1),
        ("receive_octets", 2**16, 2**40),
        ("send_buffer", 1, 2**40),
    ],
)
def test_ranges(name: str, low: int, high: int) -> None:
    """G5, 8.6: at least 4 blocks, at most 20 bits."""
    for value in (low, high):
        assert getattr(settings_with(name, value), name) == value
    for value in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f"{name} must be between {low} and {high}, not {value}"):
            settings_with(name, value)


def test_defaults_are_the_letter_of_the_draft() -> None:
    """B9, M15"""
    settings = Settings()
    assert settings.max_payload == 1024
    assert settings.timers.minimum == 1.0
    assert settings.idle_timeout is None


def test_m35_reasons() -> None:
    """M35: a small table, and unknown ones are generic."""
    assert str(Failure(FailureKind.RESET_BY_PEER)) == "reset by the peer"
    assert str(Failure(FailureKind.RESET_BY_PEER, ResetReason.REJECTED)) == "reset by the peer (REJECTED)"
    assert str(Failure(FailureKind.REFUSED, 4711)) == "refused by the peer (reason 4711)"


def test_refused_keys_are_misuse() -> None:
    assert issubclass(KeyInstallationRefused, ConnectionMisuse)


def test_revisions() -> None:
    gao = revisions.get("gao-07")
    assert gao is revisions.GAO_07
    assert (gao.rekey_after, gao.key_life) == (2**29, 2**30)  # 7.5, 12.6
    assert (gao.heartbeat_interval, gao.idle_timeout) == (600, 4 * 3600)  # 10.1, 12.5
    assert (gao.transient_timeout, gao.shutdown_timeout) == (60, 60)  # 12.1, 12.4
    assert (gao.commit_timeout, gao.commit_abort) == (30, 300)  # 8.4.4, 12.3
    assert gao.udp_port == 18003  # M34
    with pytest.raises(ValueError, match="unknown revision 'gao-08'; known: gao-07"):
        revisions.get("gao-08")


def test_a_table_of_states_is_unambiguous() -> None:
    either = Transition(State.ACTIVE, Event.FLUSH, State.COMMITTING)
    one = Transition(State.ACTIVE, Event.FLUSH, State.CLOSED, flushing=True)
    with pytest.raises(ValueError, match="two transitions"):
        StateTable((either, one))
