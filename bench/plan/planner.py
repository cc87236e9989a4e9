"""From a matrix to a plan: its cells, kernels and conditions, and the rounds in the order of work."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.errors import ConfigError, NothingError
from bench.plan import columns, cuda
from bench.plan.conditions import applies, refuse_unknown, settings
from bench.plan.devices import Devices
from bench.plan.locks import expected
from bench.plan.models import MODES, Condition, Matrix, Mode, Profile
from bench.suite.record import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from bench.plan.cell import Cell
    from bench.plan.own import Suite
    from bench.suite.kernels import Kernel

#: CPU pairs only: what a caller gets who names no devices.
CPU = Devices()


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What one invocation narrows. Empty globs and None mean: as the matrix says.

    ``conditions`` take the place of the profile's; one that matrix.toml does not name runs all kernels.
    """

    only: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    modes: tuple[Mode, ...] = MODES
    rounds: int | None = None
    repeats: int | None = None
    conditions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Round:
    """One fresh process to run: a cell, a mode, a condition, the number of the round (from 1 to ``planned``).

    ``kernels`` are in the order to run them, shuffled with ``order_seed``; ``repeats`` is by kernel, and ``heavy``
    names those that take long. ``gpu`` is what the host knows of the cell's GPU (see ``Request``), empty on the CPU.
    """

    cell: Cell
    mode: Mode
    condition: str
    number: int
    planned: int
    kernels: tuple[str, ...]
    repeats: Mapping[str, int]
    heavy: frozenset[str]
    time_limit_s: float
    steady_s: float
    seed: int
    order_seed: int
    gpu: Mapping[str, str]

    def request(self, sources: Mapping[str, str]) -> Request:
        """What a cell is asked for, with the user's files of kernels; its context is still empty."""
        asked = settings(self.condition)
        return Request(
            cell=self.cell.id,
            mode=self.mode,
            condition=self.condition,
            round=self.number,
            kernels=self.kernels,
            repeats=self.repeats,
            seed=self.seed,
            order_seed=self.order_seed,
            switch=asked.switch,
            contrast=self.number == 1,
            time_limit_s=self.time_limit_s,
            steady_s=self.steady_s,
            env=asked.env,
            threads=asked.threads,
            tf32=asked.tf32,
            extra=sources,
            expect=expected(self.cell.lock),
            device="cpu" if self.cell.pair.cuda == "cpu" else "gpu",
            libraries=cuda.libraries(self.cell.pair),
            gpu=self.gpu,
        )


class _Order:
    """Kernels in the order of a seed; made once, for all cells and both modes share it."""

    def __init__(self) -> None:
        self._made: dict[tuple[tuple[str, ...], int], tuple[str, ...]] = {}

    def of(self, kernels: tuple[str, ...], seed: int) -> tuple[str, ...]:
        key = kernels, seed
        if key not in self._made:
            self._made[key] = tuple(random.Random(seed).sample(kernels, len(kernels)))  # noqa: S311 - no secret
        return self._made[key]


@dataclass(frozen=True, kw_only=True)
class _Scene:
    """A cell under a condition: what all its rounds share. ``kernels`` are in the order of the suite."""

    cell: Cell
    profile: Profile
    condition: str
    table: Condition
    suite: Suite
    kernels: tuple[str, ...]
    gpu: Mapping[str, str]

    @cached_property
    def heavy(self) -> frozenset[str]:
        return frozenset(name for name in self.kernels if self.suite.kernels[name].heavy)

    @cached_property
    def repeats(self) -> Mapping[str, int]:
        light = _least(self.profile.repeats, self.table.repeats)
        heavy = _least(self.profile.heavy_repeats or self.profile.repeats, self.table.heavy_repeats, light)
        return {name: heavy if name in self.heavy else light for name in self.kernels}

    def round(self, mode: Mode, number: int, order: _Order) -> Round:
        order_seed = self.profile.order_seed + number
        return Round(
            cell=self.cell,
            mode=mode,
            condition=self.condition,
            number=number,
            planned=self.profile.rounds,
            kernels=order.of(self.kernels, order_seed),
            repeats=self.repeats,
            heavy=self.heavy,
            time_limit_s=self.profile.time_limit_s,
            steady_s=self.profile.steady_s if self.table.timed or self.condition == "default" else 0.0,
            seed=self.profile.seed,
            order_seed=order_seed,
            gpu=self.gpu,
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that one invocation would do; ``notes`` are sentences for people, what was left out among them."""

    profile_name: str
    profile: Profile
    selection: Selection
    cells: tuple[Cell, ...]
    kernels: tuple[Kernel, ...]
    conditions: Mapping[str, tuple[str, ...]]
    condition_modes: Mapping[str, tuple[Mode, ...]]
    rounds: tuple[Round, ...]
    suite: Suite
    devices: Devices = CPU
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """What a run folder holds of the plan, by the names of ``bench.store.run_info.RunInfo``."""
        return {
            "profile": self.profile_name,
            "rounds": self.profile.rounds,
            "repeats": self.profile.repeats,
            "seed": self.profile.seed,
            "modes": self.selection.modes,
            "conditions": self.conditions,
            "condition_modes": self.condition_modes,
        }

    @property
    def ready(self) -> tuple[Cell, ...]:
        """Cells that can be prepared."""
        return tuple(cell for cell in self.cells if cell.status == "ready")


def make(
    matrix: Matrix, profile_name: str, selection: Selection, locks: Path, suite: Suite, devices: Devices = CPU
) -> Plan:
    """The plan of one invocation on some devices.

    Raises:
        ConfigError: an unknown profile or condition, an unknown TensorFlow, a Python without a wheel, two pairs
            of one name.
        NothingError: the selection leaves no cell or no kernel.
    """
    refuse_unknown(selection.conditions, matrix.conditions)
    profile = _profile(matrix, profile_name, selection)
    _refuse_idle_globs(matrix, suite)
    cells, notes = columns.cells(matrix, profile_name, selection.only, locks, devices)
    kernels = _select_kernels(suite, profile.kernels, selection.kernels)
    chosen, modes = _conditions(matrix, profile, selection, kernels)
    capable = {gpu.uuid: gpu.capability for gpu in devices.gpus}
    chosen = {
        name: names
        for name, names in chosen.items()
        if any(applies(name, cell.device, capable.get(cell.gpu, (0, 0))) for cell in cells)
    }
    rounds = tuple(_rounds(matrix, profile, selection, cells, chosen, modes, suite, devices))
    if not rounds and any(cell.status == "ready" for cell in cells):
        raise NothingError("The selection leaves no round to run.", "Loosen --mode, --kernels or --condition.")
    left_out = tuple(
        f"condition {name} is left out: for these cells, kernels and modes it has nothing to run"
        for name in selection.conditions
        if name not in chosen
    )
    return Plan(
        profile_name=profile_name,
        profile=profile,
        selection=selection,
        cells=cells,
        kernels=tuple(kernels),
        conditions=chosen,
        condition_modes={name: modes[name] for name in chosen},
        rounds=rounds,
        suite=suite,
        devices=devices,
        notes=(*notes, *left_out),
    )


def _profile(matrix: Matrix, name: str, selection: Selection) -> Profile:
    if name not in matrix.profiles:
        raise ConfigError(f"There is no profile {name!r}.", f"matrix.toml has: {', '.join(sorted(matrix.profiles))}.")
    return _narrowed(matrix.profiles[name], selection)


def _refuse_idle_globs(matrix: Matrix, suite: Suite) -> None:
    """A pattern that matches nothing is a slip of the pen, not a wish."""
    pairs = [one.pair.id for one in columns.listed(matrix)]
    places: list[tuple[str, tuple[str, ...], list[str]]]
    places = [(f"overrides -> select {one.select!r}", (one.select,), pairs) for one in matrix.overrides]
    kernels = list(suite.kernels)
    places += [(f"overrides -> skip of {one.select!r}", one.skip, kernels) for one in matrix.overrides]
    for name, one in matrix.conditions.items():
        places += [(f"conditions -> {name!r} -> {key}", getattr(one, key), kernels) for key in ("kernels", "skip")]
    for place, globs, names in places:
        for glob in globs:
            # a kernel of a file in error cannot be matched, and its error is told elsewhere
            unknowable = names is kernels and suite.errors
            if not unknowable and not any(fnmatchcase(name, glob) for name in names):
                raise ConfigError(f"matrix.toml: {place}: {glob!r} matches nothing.", f"There are: {', '.join(names)}.")


def _select_kernels(suite: Suite, profile: tuple[str, ...], asked: tuple[str, ...]) -> tuple[Kernel, ...]:
    """The kernels that were asked for, else those of the profile and of the user's own files; and all controls."""
    kernels = suite.kernels
    for glob in asked or profile:
        if not suite.errors and not any(_matches(name, (glob,)) for name in kernels):
            raise NothingError(f"No kernel matches {glob}.", f"There are: {', '.join(kernels)}.")
    # whoever names a file of kernels wants them, whatever the profile lists
    found = {
        name for name, kernel in kernels.items() if _matches(name, asked or profile) or (kernel.file and not asked)
    }
    # without its controls a cell proves nothing, so they run whatever was asked
    return tuple(kernel for name, kernel in kernels.items() if name in found or kernel.control)


def _conditions(
    matrix: Matrix, profile: Profile, selection: Selection, kernels: tuple[Kernel, ...]
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[Mode, ...]]]:
    """Kernels and modes of each condition; one that is left with its controls alone, or no mode, is left out."""
    controls = {kernel.name for kernel in kernels if kernel.control}
    only_controls = controls.issuperset(kernel.name for kernel in kernels)
    chosen: dict[str, tuple[str, ...]] = {}
    modes: dict[str, tuple[Mode, ...]] = {}
    for condition in profile.conditions:
        table = matrix.conditions.get(condition, Condition())
        names = _names(kernels, table)
        left = tuple(mode for mode in selection.modes if mode in table.modes)
        if left and (only_controls or not controls.issuperset(names)):
            chosen[condition], modes[condition] = names, left
    return chosen, modes


def _names(kernels: Iterable[Kernel], table: Condition) -> tuple[str, ...]:
    return tuple(
        one.name
        for one in kernels
        if one.control or ((one.file or _matches(one.name, table.kernels)) and not _matches(one.name, table.skip))
    )


def _rounds(
    matrix: Matrix,
    profile: Profile,
    selection: Selection,
    cells: tuple[Cell, ...],
    conditions: Mapping[str, tuple[str, ...]],
    modes: Mapping[str, tuple[Mode, ...]],
    suite: Suite,
    devices: Devices,
) -> Iterable[Round]:
    """Round by round over all cells, modes alternating (off on, on off ...), so drift hits all alike."""
    capable = {gpu.uuid: gpu.capability for gpu in devices.gpus}
    scenes = [
        _Scene(
            cell=cell, profile=mine, condition=name, table=table, suite=suite, kernels=left, gpu=_known(cell, devices)
        )
        for cell in cells
        if cell.status == "ready"
        for mine, skip in [_settle(matrix, profile, selection, cell)]
        for name, names in conditions.items()
        if applies(name, cell.device, capable.get(cell.gpu, (0, 0)))
        for table in [matrix.conditions.get(name, Condition())]
        for left in [_unskipped(names, skip, suite)]
        if left
    ]
    order = _Order()
    for number in range(1, max((scene.profile.rounds for scene in scenes), default=0) + 1):
        for scene in scenes:
            if number <= scene.profile.rounds:
                here = modes[scene.condition]
                yield from (scene.round(mode, number, order) for mode in (here if number % 2 else reversed(here)))


def _known(cell: Cell, devices: Devices) -> dict[str, str]:
    """What the host knows of the GPU of a cell; what it does not know is left out."""
    number = str(devices.survey.cuda) if devices.survey.cuda else ""
    told = {"uuid": cell.gpu, "driver": devices.survey.driver, "cuda": number}
    return {name: text for name, text in told.items() if text} if cell.gpu else {}


def _unskipped(names: tuple[str, ...], skip: tuple[str, ...], suite: Suite) -> tuple[str, ...]:
    """What is left of a condition's kernels; nothing where only controls are, which alone tell nothing."""
    controls = {name for name in names if suite.kernels[name].control}
    left = tuple(name for name in names if name in controls or not _matches(name, skip))
    return () if controls.issuperset(left) and not controls.issuperset(names) else left


def _least(*numbers: int | None) -> int:
    return min(number for number in numbers if number is not None)


def _settle(matrix: Matrix, profile: Profile, selection: Selection, cell: Cell) -> tuple[Profile, tuple[str, ...]]:
    """The profile as it holds for one cell, and the kernels it skips; the command line has the last word."""
    skip: tuple[str, ...] = ()
    for override in matrix.overrides:
        if fnmatchcase(cell.pair.id, override.select):
            changes = override.model_dump(
                include={"rounds", "repeats", "heavy_repeats", "time_limit_s"}, exclude_none=True
            )
            profile = profile.model_copy(update=changes)
            skip += override.skip
    return _narrowed(profile, selection), skip


def _narrowed(profile: Profile, selection: Selection) -> Profile:
    changes = {
        "rounds": selection.rounds,
        "repeats": selection.repeats,
        "heavy_repeats": selection.repeats,
        "conditions": selection.conditions or None,
    }
    return profile.model_copy(update={key: value for key, value in changes.items() if value is not None})


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
