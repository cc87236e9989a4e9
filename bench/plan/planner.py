"""From a matrix to a plan: its columns, kernels and variations, and the rounds in the order of work."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any

from bench.errors import ConfigError, NothingError
from bench.plan import column_selection, cuda
from bench.plan.config_models import MODES, Matrix, Mode, Profile, Variation
from bench.plan.devices import Devices
from bench.plan.locks import expected
from bench.plan.variations import applies, refuse_unknown, settings
from bench.suite.record import Request

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from bench.plan.column import Column
    from bench.plan.custom_kernels import Suite
    from bench.suite.kernels import Kernel

#: CPU pairs only: what a caller gets who names no devices.
CPU = Devices()


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What one invocation narrows. Empty globs and None mean: as the matrix says.

    ``variations`` take the place of the profile's; one that matrix.toml does not name runs all kernels.
    """

    only: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    modes: tuple[Mode, ...] = MODES
    rounds: int | None = None
    repetitions: int | None = None
    variations: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Round:
    """One fresh process to run: a column, a mode, a variation, the number of the round (from 1 to ``planned``).

    ``kernels`` are in the order to run them, shuffled with ``order_seed``; ``repetitions`` is by kernel, and ``heavy``
    names those that take long. ``gpu`` is what the host knows of the column's GPU (see ``Request``), empty on the CPU.
    """

    column: Column
    mode: Mode
    variation: str
    number: int
    planned: int
    kernels: tuple[str, ...]
    repetitions: Mapping[str, int]
    heavy: frozenset[str]
    time_limit_s: float
    steady_s: float
    seed: int
    order_seed: int
    gpu: Mapping[str, str]

    def request(self, sources: Mapping[str, str]) -> Request:
        """What a column is asked for, with the user's files of kernels; its context is still empty."""
        asked = settings(self.variation)
        return Request(
            column=self.column.id,
            mode=self.mode,
            variation=self.variation,
            round=self.number,
            kernels=self.kernels,
            repetitions=self.repetitions,
            seed=self.seed,
            order_seed=self.order_seed,
            switch=asked.switch,
            second_seed=self.number == 1,
            time_limit_s=self.time_limit_s,
            steady_s=self.steady_s,
            env=asked.env,
            threads=asked.threads,
            tf32=asked.tf32,
            kernel_files=sources,
            expect=expected(self.column.lock),
            device="cpu" if self.column.pair.cuda == "cpu" else "gpu",
            libraries=cuda.libraries(self.column.pair),
            gpu=self.gpu,
        )


class _Order:
    """Kernels in the order of a seed; made once, for all columns and both modes share it."""

    def __init__(self) -> None:
        self._made: dict[tuple[tuple[str, ...], int], tuple[str, ...]] = {}

    def of(self, kernels: tuple[str, ...], seed: int) -> tuple[str, ...]:
        key = kernels, seed
        if key not in self._made:
            self._made[key] = tuple(random.Random(seed).sample(kernels, len(kernels)))  # noqa: S311 - no secret
        return self._made[key]


@dataclass(frozen=True, kw_only=True)
class _RecordGroup:
    """A column under a variation: what all its rounds share. ``kernels`` are in the order of the suite."""

    column: Column
    profile: Profile
    variation: str
    table: Variation
    suite: Suite
    kernels: tuple[str, ...]
    gpu: Mapping[str, str]

    @cached_property
    def heavy(self) -> frozenset[str]:
        return frozenset(name for name in self.kernels if self.suite.kernels[name].heavy)

    @cached_property
    def repetitions(self) -> Mapping[str, int]:
        light = _least(self.profile.repetitions, self.table.repetitions)
        heavy = _least(self.profile.heavy_repetitions or self.profile.repetitions, self.table.heavy_repetitions, light)
        return {name: heavy if name in self.heavy else light for name in self.kernels}

    def round(self, mode: Mode, number: int, order: _Order) -> Round:
        order_seed = self.profile.order_seed + number
        return Round(
            column=self.column,
            mode=mode,
            variation=self.variation,
            number=number,
            planned=self.profile.rounds,
            kernels=order.of(self.kernels, order_seed),
            repetitions=self.repetitions,
            heavy=self.heavy,
            time_limit_s=self.profile.time_limit_s,
            steady_s=self.profile.steady_s if self.table.timed or self.variation == "default" else 0.0,
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
    columns: tuple[Column, ...]
    kernels: tuple[Kernel, ...]
    variations: Mapping[str, tuple[str, ...]]
    variation_modes: Mapping[str, tuple[Mode, ...]]
    rounds: tuple[Round, ...]
    suite: Suite
    devices: Devices = CPU
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """What a run folder holds of the plan, by the names of ``bench.store.run_info.RunInfo``."""
        return {
            "profile": self.profile_name,
            "rounds": self.profile.rounds,
            "repetitions": self.profile.repetitions,
            "seed": self.profile.seed,
            "modes": self.selection.modes,
            "variations": self.variations,
            "variation_modes": self.variation_modes,
        }

    @property
    def ready(self) -> tuple[Column, ...]:
        """Columns that can be prepared."""
        return tuple(column for column in self.columns if column.status == "ready")


def make(
    matrix: Matrix, profile_name: str, selection: Selection, locks: Path, suite: Suite, devices: Devices = CPU
) -> Plan:
    """The plan of one invocation on some devices.

    Raises:
        ConfigError: an unknown profile or variation, an unknown TensorFlow, a Python without a wheel, two pairs
            of one name.
        NothingError: the selection leaves no column or no kernel.
    """
    refuse_unknown(selection.variations, matrix.variations)
    profile = _profile(matrix, profile_name, selection)
    _refuse_idle_globs(matrix, suite)
    columns, notes = column_selection.columns(matrix, profile_name, selection.only, locks, devices)
    kernels = _select_kernels(suite, profile.kernels, selection.kernels)
    chosen, modes = _variations(matrix, profile, selection, kernels)
    capable = {gpu.uuid: gpu.capability for gpu in devices.gpus}
    chosen = {
        name: names
        for name, names in chosen.items()
        if any(applies(name, column.device, capable.get(column.gpu, (0, 0))) for column in columns)
    }
    rounds = tuple(_rounds(matrix, profile, selection, columns, chosen, modes, suite, devices))
    if not rounds and any(column.status == "ready" for column in columns):
        raise NothingError("The selection leaves no round to run.", "Loosen --mode, --kernels or --variation.")
    left_out = tuple(
        f"variation {name} is left out: for these columns, kernels and modes it has nothing to run"
        for name in selection.variations
        if name not in chosen
    )
    return Plan(
        profile_name=profile_name,
        profile=profile,
        selection=selection,
        columns=columns,
        kernels=tuple(kernels),
        variations=chosen,
        variation_modes={name: modes[name] for name in chosen},
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
    pairs = [one.pair.id for one in column_selection.listed(matrix)]
    places: list[tuple[str, tuple[str, ...], list[str]]]
    places = [(f"overrides -> select {one.select!r}", (one.select,), pairs) for one in matrix.overrides]
    kernels = list(suite.kernels)
    places += [(f"overrides -> skip of {one.select!r}", one.skip, kernels) for one in matrix.overrides]
    for name, one in matrix.variations.items():
        places += [(f"variations -> {name!r} -> {key}", getattr(one, key), kernels) for key in ("kernels", "skip")]
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
    # without its controls a column proves nothing, so they run whatever was asked
    return tuple(kernel for name, kernel in kernels.items() if name in found or kernel.control)


def _variations(
    matrix: Matrix, profile: Profile, selection: Selection, kernels: tuple[Kernel, ...]
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[Mode, ...]]]:
    """Kernels and modes of each variation; one that is left with its controls alone, or no mode, is left out."""
    controls = {kernel.name for kernel in kernels if kernel.control}
    only_controls = controls.issuperset(kernel.name for kernel in kernels)
    chosen: dict[str, tuple[str, ...]] = {}
    modes: dict[str, tuple[Mode, ...]] = {}
    for variation in profile.variations:
        table = matrix.variations.get(variation, Variation())
        names = _names(kernels, table)
        left = tuple(mode for mode in selection.modes if mode in table.modes)
        if left and (only_controls or not controls.issuperset(names)):
            chosen[variation], modes[variation] = names, left
    return chosen, modes


def _names(kernels: Iterable[Kernel], table: Variation) -> tuple[str, ...]:
    return tuple(
        one.name
        for one in kernels
        if one.control or ((one.file or _matches(one.name, table.kernels)) and not _matches(one.name, table.skip))
    )


def _rounds(
    matrix: Matrix,
    profile: Profile,
    selection: Selection,
    columns: tuple[Column, ...],
    variations: Mapping[str, tuple[str, ...]],
    modes: Mapping[str, tuple[Mode, ...]],
    suite: Suite,
    devices: Devices,
) -> Iterable[Round]:
    """Round by round over all columns, modes alternating (off on, on off ...), so drift hits all alike."""
    capable = {gpu.uuid: gpu.capability for gpu in devices.gpus}
    record_groups = [
        _RecordGroup(
            column=column,
            profile=mine,
            variation=name,
            table=table,
            suite=suite,
            kernels=left,
            gpu=_known(column, devices),
        )
        for column in columns
        if column.status == "ready"
        for mine, skip in [_settle(matrix, profile, selection, column)]
        for name, names in variations.items()
        if applies(name, column.device, capable.get(column.gpu, (0, 0)))
        for table in [matrix.variations.get(name, Variation())]
        for left in [_unskipped(names, skip, suite)]
        if left
    ]
    order = _Order()
    for number in range(1, max((group.profile.rounds for group in record_groups), default=0) + 1):
        for group in record_groups:
            if number <= group.profile.rounds:
                here = modes[group.variation]
                yield from (group.round(mode, number, order) for mode in (here if number % 2 else reversed(here)))


def _known(column: Column, devices: Devices) -> dict[str, str]:
    """What the host knows of the GPU of a column; what it does not know is left out."""
    number = str(devices.survey.cuda) if devices.survey.cuda else ""
    told = {"uuid": column.gpu, "driver": devices.survey.driver, "cuda": number}
    return {name: text for name, text in told.items() if text} if column.gpu else {}


def _unskipped(names: tuple[str, ...], skip: tuple[str, ...], suite: Suite) -> tuple[str, ...]:
    """What is left of a variation's kernels; nothing where only controls are, which alone tell nothing."""
    controls = {name for name in names if suite.kernels[name].control}
    left = tuple(name for name in names if name in controls or not _matches(name, skip))
    return () if controls.issuperset(left) and not controls.issuperset(names) else left


def _least(*numbers: int | None) -> int:
    return min(number for number in numbers if number is not None)


def _settle(matrix: Matrix, profile: Profile, selection: Selection, column: Column) -> tuple[Profile, tuple[str, ...]]:
    """The profile as it holds for one column, and the kernels it skips; the command line has the last word."""
    skip: tuple[str, ...] = ()
    for override in matrix.overrides:
        if fnmatchcase(column.pair.id, override.select):
            changes = override.model_dump(
                include={"rounds", "repetitions", "heavy_repetitions", "time_limit_s"}, exclude_none=True
            )
            profile = profile.model_copy(update=changes)
            skip += override.skip
    return _narrowed(profile, selection), skip


def _narrowed(profile: Profile, selection: Selection) -> Profile:
    changes = {
        "rounds": selection.rounds,
        "repetitions": selection.repetitions,
        "heavy_repetitions": selection.repetitions,
        "variations": selection.variations or None,
    }
    return profile.model_copy(update={key: value for key, value in changes.items() if value is not None})


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
