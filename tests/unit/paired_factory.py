"""Records of pairs with the noise of a real host: of calls, bursts, layouts of processes, start order, and drift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.suite.paired_record import Block, PairedKernel, PairedRecord, SideProcess, pair_name
from bench.suite.record import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

#: One number for each kernel, or seconds by block and call.
Numbers = np.ndarray[Any, np.dtype[np.float64]]
SUITE = "5" * 64
#: Which side takes each turn; pairs alternate between this order and the opposite one.
TURNS = ("a", "b", "b", "a", "b", "a", "a", "b")
CALLS = 5


@dataclass(frozen=True)
class Noise:
    """Relative sizes of disturbances, each a standard deviation of logarithms unless stated otherwise.

    Attributes:
        call: of one call.
        burst: share of calls that something else makes 1.5 times slower.
        spread: of the ratio between pairs, because every process has a memory layout of its own.
        order: how much faster the process started second is (a ratio - 1).
        drift: of the host, from one block to the next.
    """

    call: float = 0.02
    burst: float = 0.03
    spread: float = 0.02
    order: float = 0.02
    drift: float = 0.02


def times(truth: Numbers, spread: Numbers, noise: Noise, pairs: int, stream: np.random.Generator) -> Numbers:
    """Return seconds by kernel, pair, block and call; ``truth`` and ``spread`` have one number for each kernel.

    The layouts of half of the processes are drawn from a normal distribution, those of the others are one of two.
    """
    shape = (len(truth), pairs, len(TURNS), CALLS)
    sides = np.array([[side == "b" for side in turns(number)] for number in range(1, pairs + 1)], dtype=float)
    second = np.array([number % 2 for number in range(1, pairs + 1)])  # side b was started second in odd pairs
    two = np.where(stream.random((2, *shape[:2])) < 0.5, -1.0, 1.0)
    normal = np.where(stream.random(len(truth)) < 0.5, 1.0, 0.0)[None, :, None]
    layouts = normal * stream.standard_normal((2, *shape[:2])) + (1 - normal) * two
    layouts *= (spread / np.sqrt(2))[None, :, None]
    base = layouts[0][..., None] * (1 - sides) + (layouts[1] + np.log(truth)[:, None])[..., None] * sides
    base -= np.log1p(noise.order) * np.where(sides == second[:, None], 1.0, 0.0)
    base += np.cumsum(stream.standard_normal(shape[:3]) * noise.drift, axis=2)
    logs = base[..., None] + stream.standard_normal(shape) * noise.call
    logs += np.log(1.5) * (stream.random(shape) < noise.burst)
    return np.asarray(np.exp(logs) * 1e-3)


def turns(number: int) -> tuple[str, ...]:
    """Return the sides of the blocks of a pair; half of the pairs of either start order begin with side b."""
    return TURNS if number % 4 in (1, 2) else tuple("ab"["ab".index(side) ^ 1] for side in TURNS)


def kernel(name: str, seconds: Numbers, number: int, **changes: Any) -> PairedKernel:
    """Return a kernel with these seconds, by block and call."""
    blocks = tuple(
        Block(side, tuple(calls), tuple(2 * call for call in calls), 0)
        for side, calls in zip(turns(number), seconds.tolist(), strict=True)
    )
    facts: dict[str, Any] = {
        "kernel": name, "kind": "steady", "outcome": "ok", "message": "", "blocks": blocks,
        "first_seconds": {"a": 0.05, "b": 0.06}, "load": 0.5,
    }  # fmt: skip
    return PairedKernel(**{**facts, **changes})


def pairs(
    truths: Mapping[str, float],
    *,
    comparison: str = "overhead",
    columns: tuple[str, str] = ("tf2.18.1-cpu-py311@cpu", "tf2.18.1-cpu-py311@cpu"),
    modes: tuple[str, str] | None = None,
    number: int = 5,
    noise: Noise | None = None,
    seed: int = 1,
    **changes: Any,
) -> dict[str, PairedRecord]:
    """Return pairs by path; ``truths`` has the true ratio of each kernel, ``changes`` replace fields of all.

    Upgrades with determinism on are numbered from 101, so that a run can have those of both modes.
    """
    noise, stream = noise or Noise(), np.random.default_rng(seed)
    modes = modes or {"overhead": ("off", "on"), "noise-floor": ("off", "off")}.get(comparison, ("on", "on"))
    seconds = times(np.array([*truths.values()]), np.full(len(truths), noise.spread), noise, number, stream)
    offset = 100 * (comparison == "upgrade" and modes[1] == "on")
    found = {}
    for one in range(1, number + 1):
        kernels = [kernel(name, seconds[place, one - 1], one, **changes) for place, name in enumerate(truths)]
        made = record(comparison, one + offset, kernels, columns=columns, modes=modes)
        found[f"paired/{columns[1]}/{pair_name(comparison, one + offset, columns[0])}.jsonl"] = made
    return found


def record(
    comparison: str,
    number: int,
    kernels: Iterable[PairedKernel],
    columns: tuple[str, str],
    modes: tuple[str, str],
    variation: str = "default",
) -> PairedRecord:
    """Return one complete pair."""
    timed = tuple(kernels)
    names = tuple(one.kernel for one in timed)
    requests = {
        side: Request(column, mode, variation, number, names, dict.fromkeys(names, 1))
        for side, column, mode in zip("ab", columns, modes, strict=True)
    }
    started = "2025-01-30T12:20:00+00:00"
    processes = tuple(SideProcess(side, 100 + place, started, {}, {}) for place, side in enumerate("ab"))
    return PairedRecord(
        comparison=comparison,
        number=number,
        requests=requests,
        started_first="a" if number % 2 else "b",
        suite_hash=SUITE,
        processes=processes,
        kernels=timed,
        complete=True,
        seconds=30.0,
    )
