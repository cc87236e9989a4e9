"""The rounds of a plan, and the order they run in."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from bench.plan import cuda
from bench.plan.config_models import DEFAULT_VARIATION
from bench.plan.locks import expected
from bench.plan.variations import settings
from bench.suite.record import Request

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from bench.plan.column import Column
    from bench.plan.config_models import Mode, Profile, Variation
    from bench.plan.custom_kernels import Suite


@dataclass(frozen=True, kw_only=True)
class Round:
    """One fresh process to run: a column, a mode, a variation and the number of the round, from 1 to ``planned``.

    ``pass_number`` is the pass over all columns that the round belongs to (see ``_pass_number``). ``kernels`` are in
    the order they run in, shuffled with ``order_seed``; ``repetitions`` maps each kernel to its number of executions,
    and ``heavy`` names the slow ones (training, XLA). ``gpu`` holds the host's facts about the column's GPU (see
    ``Request``), and is empty on the CPU.
    """

    column: Column
    mode: Mode
    variation: str
    number: int
    planned: int
    pass_number: int
    kernels: tuple[str, ...]
    repetitions: Mapping[str, int]
    heavy: frozenset[str]
    time_limit_s: float
    steady_s: float
    seed: int
    order_seed: int
    gpu: Mapping[str, str]

    def request(self, sources: Mapping[str, str]) -> Request:
        """Return the request for the process; ``sources`` are the custom kernel files. Its context is still empty."""
        applied = settings(self.variation)
        return Request(
            column=self.column.id,
            mode=self.mode,
            variation=self.variation,
            round=self.number,
            kernels=self.kernels,
            repetitions=self.repetitions,
            seed=self.seed,
            order_seed=self.order_seed,
            switch=applied.switch,
            second_seed=self.number == 1,
            time_limit_s=self.time_limit_s,
            steady_s=self.steady_s,
            env=applied.env,
            threads=applied.threads,
            tf32=applied.tf32,
            kernel_files=sources,
            expect=expected(self.column.lock),
            device="cpu" if self.column.pair.cuda == "cpu" else "gpu",
            libraries=cuda.libraries(self.column.pair),
            gpu=self.gpu,
        )


class _KernelOrder:
    """Shuffles kernels by a seed. Each order is made once, and is the same in all columns and in both modes."""

    def __init__(self) -> None:
        self._orders: dict[tuple[tuple[str, ...], int], tuple[str, ...]] = {}

    def shuffled(self, kernels: tuple[str, ...], seed: int) -> tuple[str, ...]:
        key = kernels, seed
        if key not in self._orders:
            self._orders[key] = tuple(random.Random(seed).sample(kernels, len(kernels)))  # noqa: S311 - no secret
        return self._orders[key]


@dataclass(frozen=True, kw_only=True)
class RecordGroup:
    """A column under a variation, and what all its rounds share. ``kernels`` are in the order of the suite."""

    column: Column
    profile: Profile
    variation: str
    table: Variation
    suite: Suite
    kernels: tuple[str, ...]
    gpu: Mapping[str, str]

    @cached_property
    def heavy(self) -> frozenset[str]:
        """The kernels that are slow: training and XLA."""
        return frozenset(name for name in self.kernels if self.suite.kernels[name].heavy)

    @cached_property
    def repetitions(self) -> Mapping[str, int]:
        """The number of executions of each kernel in one process."""
        light = _least(self.profile.repetitions, self.table.repetitions)
        heavy = _least(self.profile.heavy_repetitions or self.profile.repetitions, self.table.heavy_repetitions, light)
        return {name: heavy if name in self.heavy else light for name in self.kernels}

    def round(self, mode: Mode, number: int, pass_number: int, order: _KernelOrder) -> Round:
        """Return one round of the group."""
        order_seed = self.profile.order_seed + number
        timed = self.table.timed or self.variation == DEFAULT_VARIATION
        return Round(
            column=self.column,
            mode=mode,
            variation=self.variation,
            number=number,
            planned=self.profile.rounds,
            pass_number=pass_number,
            kernels=order.shuffled(self.kernels, order_seed),
            repetitions=self.repetitions,
            heavy=self.heavy,
            time_limit_s=self.profile.time_limit_s,
            steady_s=self.profile.steady_s if timed else 0.0,
            seed=self.profile.seed,
            order_seed=order_seed,
            gpu=self.gpu,
        )


def ordered(groups: list[RecordGroup], modes: Mapping[str, tuple[Mode, ...]]) -> Iterator[Round]:
    """Yield the rounds in the order to run them: one round of each group, then the next.

    The first page is made after the first pass, so that pass covers every column as early as possible. Modes
    alternate (off on, on off, ...), so that a drift of the host affects both alike.
    """
    order = _KernelOrder()
    has_default = any(group.variation == DEFAULT_VARIATION for group in groups)
    for number in range(1, max((group.profile.rounds for group in groups), default=0) + 1):
        for group in groups:
            if number <= group.profile.rounds:
                leads = not has_default or group.variation == DEFAULT_VARIATION
                here = modes[group.variation]
                for mode in here if number % 2 else reversed(here):
                    yield group.round(mode, number, _pass_number(number, leads=leads), order)


def _pass_number(number: int, *, leads: bool) -> int:
    """Return the pass that a round belongs to; ``leads`` is true for the default variation, or for all without it.

    Pass 1 is round 1 of the default variation alone: the shortest run that has a sample of every column in both modes.
    Round 1 of the other variations is part of pass 2; from there on a pass is a round of everything.
    """
    return number if leads else max(number, 2)


def _least(*numbers: int | None) -> int:
    return min(number for number in numbers if number is not None)
