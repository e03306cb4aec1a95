"""Arithmetic on 32-bit numbers that wrap (gao-07 2)."""

from __future__ import annotations


def sub(a: int, b: int) -> int:
    """How far `a` is ahead of `b`, from -2^31 to 2^31 - 1; negative when it is behind."""
    return ((a - b + 0x80000000) & 0xFFFFFFFF) - 0x80000000


def add(a: int, n: int) -> int:
    """The number `n` steps after `a`; `n` may be negative."""
    return (a + n) & 0xFFFFFFFF
