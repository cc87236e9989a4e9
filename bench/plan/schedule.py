"""The rounds and the timing pairs of a plan, and the order they run in."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING

from bench.plan import cuda
from bench.plan.config_models import DEFAULT_VARIATION
from bench.plan.locks import expected
from bench.suite.paired_record import pair_name
from bench.suite.record import Request
from bench.suite.variation import settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from bench.plan.column import Column
    from bench.plan.config_models import Mode, Profile, Variation
    from bench.plan.custom_kernels import Suite

#: The kernels of a noise-floor pair, if the profile has them: light ones, bound by arithmetic, memory or scattered
#: access. A profile without any of them uses as many of its own.
NOISE_FLOOR_KERNELS = (
    "matmul_f32", "conv2d_bwd_filter", "reduce_sum_1d", "sparse_xent", "variable_scatter_add", "unsorted_segment_sum",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Round:
    """One fresh process to run: a column, a mode, a variation and the number of the round, from 1 to ``planned``.

    ``pass_number`` is the pass over all columns that the round belongs to (see ``_pass_number``). ``kernels`` are in
    the order they run in, shuffled with ``order_seed``; ``repetitions`` maps each kernel to its number of executions,
    ``heavy`` names the slow ones (training, XLA), and ``custom`` the custom ones, each with a process of its own.
    ``gpu`` holds the host's facts about the column's GPU (see ``Request``), and is empty on the CPU.
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
    custom: frozenset[str]
    time_limit_s: float
    seed: int
    order_seed: int
    gpu: Mapping[str, str]

    def request(self, suite: Suite) -> Request:
        """Return the request for the process. Its context is still empty."""
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
            # it shows that a kernel depends on its seed, which a column and mode need only once
            second_seed=self.pass_number == 1,
            time_limit_s=self.time_limit_s,
            env=applied.env,
            threads=applied.threads,
            tf32=applied.tf32,
            inter=applied.inter,
            devices=applied.devices,
            eager=applied.eager,
            kernel_files=suite.paths_of(self.kernels),
            expect=expected(self.column.lock),
            device="cpu" if self.column.pair.cuda == "cpu" else "gpu",
            libraries=cuda.libraries(self.column.pair),
            gpu=self.gpu,
        )


@dataclass(frozen=True, kw_only=True)
class TimingPair:
    """Two processes that take turns on the same kernels: one of ``planned`` pairs of a comparison, ``number`` from 1.

    Side "b" is ``column``; side "a" is ``other``, the older column of "upgrade", which is else the same one. See
    ``bench.suite.paired_record`` for the comparisons; ``mode`` is that of both sides of "upgrade". ``kernels`` are in
    the order they run in, shuffled with ``order_seed``; ``first`` is the side that is started first. ``budget_s`` are
    the seconds of timed calls for each kernel and side. ``pass_number`` goes on from that of the rounds; ``heavy`` and
    ``gpu`` are as in ``Round``.
    """

    column: Column
    other: Column
    comparison: str
    number: int
    planned: int
    kernels: tuple[str, ...]
    first: str
    seed: int
    order_seed: int
    time_limit_s: float
    budget_s: float
    gpu: Mapping[str, str]
    mode: Mode = "off"
    heavy: frozenset[str] = frozenset()
    pass_number: int = 0

    @property
    def columns(self) -> Mapping[str, Column]:
        """The column of each side."""
        return {"a": self.other, "b": self.column}

    @property
    def name(self) -> str:
        """The name of its record within the column (see ``pair_name``)."""
        return pair_name(self.comparison, self.number, self.other.id)

    def requests(self, suite: Suite) -> dict[str, Request]:
        """Return the request of each side. Their context is still empty."""
        modes: dict[str, Mode] = {"a": self.mode, "b": "on" if self.comparison == "overhead" else self.mode}
        return {
            side: Request(
                column=column.id,
                mode=modes[side],
                variation=DEFAULT_VARIATION,
                round=self.number,
                kernels=self.kernels,
                repetitions={},
                seed=self.seed,
                order_seed=self.order_seed,
                second_seed=False,
                time_limit_s=self.time_limit_s,
                kernel_files=suite.paths_of(self.kernels),
                expect=expected(column.lock),
                device="cpu" if column.pair.cuda == "cpu" else "gpu",
                libraries=cuda.libraries(column.pair),
                gpu=self.gpu,
            )
            for side, column in self.columns.items()
        }


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

    @property
    def timed(self) -> tuple[str, ...]:
        """The kernels that are timed: all but the controls."""
        return tuple(name for name in self.kernels if not self.suite.kernels[name].control)

    @cached_property
    def custom(self) -> frozenset[str]:
        """The custom kernels."""
        return frozenset(name for name in self.kernels if self.suite.kernels[name].file)

    @cached_property
    def repetitions(self) -> Mapping[str, int]:
        """The number of executions of each kernel in one process."""
        light = _least(self.profile.repetitions, self.table.repetitions)
        heavy = _least(self.profile.heavy_repetitions or self.profile.repetitions, self.table.heavy_repetitions, light)
        return {name: heavy if name in self.heavy else light for name in self.kernels}

    def round(self, mode: Mode, number: int, pass_number: int, order: _KernelOrder) -> Round:
        """Return one round of the group."""
        order_seed = self.profile.order_seed + number
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
            custom=self.custom,
            time_limit_s=self.profile.time_limit_s,
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


def timing_pairs(groups: Sequence[RecordGroup], modes: tuple[Mode, ...]) -> Iterator[TimingPair]:
    """Yield the timing pairs in the order to run them: pair 1 of every column and comparison, then pair 2.

    Only the default variation is timed. ``groups`` are all groups of the plan, ``modes`` those of the default
    variation: without one of the two there is no overhead, and without "off" no noise floor. Columns are compared
    with the column before them on the same device.
    """
    order = _KernelOrder()
    timed = [group for group in groups if group.variation == DEFAULT_VARIATION and group.timed]
    comparisons = [found for device in _by_device(timed) for found in _comparisons(device, modes)]
    last_pass = max((group.profile.rounds for group in groups), default=0)
    for number in range(1, max((planned for *_, planned in comparisons), default=0) + 1):
        for position, (comparison, old, group, kernels, planned) in enumerate(comparisons):
            if number <= planned:
                profile = group.profile
                yield TimingPair(
                    column=group.column,
                    other=old.column,
                    comparison=comparison,
                    mode=modes[0],
                    number=number,
                    planned=planned,
                    pass_number=last_pass + number,
                    kernels=order.shuffled(kernels, profile.order_seed + number),
                    heavy=group.heavy,
                    # the process that is started second tends to be faster
                    first="a" if (number + position) % 2 else "b",
                    seed=profile.seed,
                    order_seed=profile.order_seed + number,
                    time_limit_s=profile.time_limit_s,
                    budget_s=profile.pair_s,
                    gpu=group.gpu,
                )


def _by_device(groups: Sequence[RecordGroup]) -> list[list[RecordGroup]]:
    """Return the groups of each device, the CPU being one."""
    devices: dict[str, list[RecordGroup]] = {}
    for group in groups:
        devices.setdefault(group.column.gpu, []).append(group)
    return list(devices.values())


def _comparisons(
    groups: Sequence[RecordGroup], modes: tuple[Mode, ...]
) -> Iterator[tuple[str, RecordGroup, RecordGroup, tuple[str, ...], int]]:
    """Yield what is compared on one device: the comparison, its sides a and b, their kernels and the planned pairs.

    The noise floor is that of the device, so one column stands for all: the one in the middle.
    """
    if len(modes) > 1:
        for group in groups:
            yield "overhead", group, group, group.timed, group.profile.overhead_pairs
    if "off" in modes:
        middle = groups[len(groups) // 2]
        light = [name for name in middle.timed if name not in middle.heavy]
        named = [name for name in light if name in NOISE_FLOOR_KERNELS]
        kernels = tuple(named or light[: len(NOISE_FLOOR_KERNELS)])
        if kernels:
            yield "noise-floor", middle, middle, kernels, middle.profile.noise_floor_pairs
    for old, new in pairwise(groups):
        kernels = tuple(name for name in new.timed if name in old.timed)
        if kernels:
            yield "upgrade", old, new, kernels, new.profile.upgrade_pairs


def _pass_number(number: int, *, leads: bool) -> int:
    """Return the pass that a round belongs to; ``leads`` is true for the default variation, or for all without it.

    Pass 1 is round 1 of the default variation alone: the shortest run that has a sample of every column in both modes.
    Round 1 of the other variations is part of pass 2; from there on a pass is a round of everything.
    """
    return number if leads else max(number, 2)


def _least(*numbers: int | None) -> int:
    return min(number for number in numbers if number is not None)
