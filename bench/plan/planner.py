"""Make the plan of one invocation: columns, kernels, variations, and rounds and timing pairs in their order."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from bench.errors import ConfigError, NothingError
from bench.plan import column_selection
from bench.plan.config_models import DEFAULT_VARIATION, MODES, Matrix, Mode, Profile, Variation
from bench.plan.devices import Devices
from bench.plan.schedule import RecordGroup, ordered, timing_pairs
from bench.plan.variations import applies, refuse_unknown
from bench.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from bench.plan.column import Column
    from bench.plan.custom_kernels import Suite
    from bench.plan.schedule import Round, TimingPair
    from bench.suite.kernels import Kernel

#: The default of callers that name no device: CPU pairs only.
CPU = Devices()


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the command line narrows or replaces. Empty tuples and None leave what matrix.toml says.

    ``only`` has the globs of ``--env``, ``kernels`` those of ``--kernels``. ``variations`` replace those of the
    profile; a variation without a table in matrix.toml runs all kernels. ``pairs`` is the number of timing pairs per
    column, 0 for none of any comparison.
    """

    only: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    modes: tuple[Mode, ...] = MODES
    rounds: int | None = None
    repetitions: int | None = None
    pairs: int | None = None
    variations: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything that one invocation would do. ``notes`` are sentences for the user, about what is left out too.

    ``pairs`` are timing pairs, to be run after the rounds.
    """

    profile_name: str
    profile: Profile
    selection: Selection
    columns: tuple[Column, ...]
    kernels: tuple[Kernel, ...]
    variations: Mapping[str, tuple[str, ...]]
    variation_modes: Mapping[str, tuple[Mode, ...]]
    rounds: tuple[Round, ...]
    pairs: tuple[TimingPair, ...]
    suite: Suite
    devices: Devices = CPU
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """Return what run.json records of the plan, by the field names of ``bench.store.run_info.RunInfo``."""
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
        """The columns whose environments can be built."""
        return tuple(column for column in self.columns if column.status == "ready")


def make(
    matrix: Matrix, profile_name: str, selection: Selection, locks: Path, suite: Suite, devices: Devices = CPU
) -> Plan:
    """Return the plan of one invocation on some devices; ``locks`` is the folder of the lock files.

    Raises:
        ConfigError: an unknown profile, variation or TensorFlow release, a Python without a wheel, two pairs with the
            same name, or a faulty custom file without which nothing that was requested is left.
        NothingError: the selection leaves no column or no kernel.
    """
    refuse_unknown(selection.variations, matrix.variations)
    profile = _profile(matrix, profile_name, selection)
    _refuse_idle_globs(matrix, suite)
    columns, notes = column_selection.columns(matrix, profile_name, selection.only, locks, devices)
    kernels = _select_kernels(suite, profile.kernels, selection.kernels)
    chosen, modes = _variations(matrix, profile, selection, kernels)
    chosen = _applicable(chosen, columns, devices)
    groups = _record_groups(matrix, profile, selection, columns, chosen, suite, devices)
    rounds = tuple(ordered(groups, modes))
    if not rounds and any(column.status == "ready" for column in columns):
        raise NothingError("The selection leaves no round to run.", "Relax --mode, --kernels or --variation.")
    left_out = tuple(
        f"variation {name} is left out: it has nothing to run for these columns, kernels and modes"
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
        pairs=tuple(timing_pairs(groups, modes.get(DEFAULT_VARIATION, ()))),
        suite=suite,
        devices=devices,
        notes=(*notes, *left_out),
    )


def _applicable(
    variations: Mapping[str, tuple[str, ...]], columns: Sequence[Column], devices: Devices
) -> dict[str, tuple[str, ...]]:
    """Return the variations, with their kernels, that concern the device of any column."""
    capabilities = {gpu.uuid: gpu.capability for gpu in devices.gpus}
    return {
        name: kernels
        for name, kernels in variations.items()
        if any(applies(name, column.device, capabilities.get(column.gpu, (0, 0))) for column in columns)
    }


def _profile(matrix: Matrix, name: str, selection: Selection) -> Profile:
    if name not in matrix.profiles:
        message = f"There is no profile {name!r}{did_you_mean(name, matrix.profiles)}"
        raise ConfigError(message, f"matrix.toml has: {', '.join(sorted(matrix.profiles))}.")
    return _narrowed(matrix.profiles[name], selection)


def _refuse_idle_globs(matrix: Matrix, suite: Suite) -> None:
    """Raise ConfigError for a glob of matrix.toml that matches nothing: it can only be a mistake."""
    pairs = [listing.pair.id for listing in column_selection.listed(matrix)]
    kernels = list(suite.kernels)
    places: list[tuple[str, tuple[str, ...], list[str]]] = []
    for override in matrix.overrides:
        places.append((f"overrides -> select {override.select!r}", (override.select,), pairs))
        places.append((f"overrides -> skip of {override.select!r}", override.skip, kernels))
    for name, table in matrix.variations.items():
        places += [(f"variations -> {name!r} -> {key}", getattr(table, key), kernels) for key in ("kernels", "skip")]
    for place, globs, names in places:
        for glob in globs:
            # a glob may mean a kernel of a custom file that could not be loaded, which is reported elsewhere
            unknowable = names is kernels and (suite.errors or suite.unknown)
            if not unknowable and not any(fnmatchcase(name, glob) for name in names):
                message = f"matrix.toml: {place}: {glob!r} matches nothing{did_you_mean(glob, names)}"
                raise ConfigError(message, f"There are: {', '.join(names)}.")


def _select_kernels(suite: Suite, profile: tuple[str, ...], requested: tuple[str, ...]) -> tuple[Kernel, ...]:
    """Return the requested kernels, else those of the profile and all custom ones; and the controls in either case."""
    kernels = suite.kernels
    _refuse_faulty(suite, requested)
    for glob in requested or profile:
        if not (suite.errors or suite.unknown) and not any(_matches(name, (glob,)) for name in kernels):
            message = f"No kernel matches {glob}{did_you_mean(glob, kernels)}"
            raise NothingError(message, f"There are: {', '.join(kernels)}.")
    # whoever adds a kernel file wants its kernels to run, whatever the profile lists
    selected = {
        name
        for name, kernel in kernels.items()
        if _matches(name, requested or profile) or (kernel.file and not requested)
    }
    # a column proves nothing without its controls, so they always run
    return tuple(kernel for name, kernel in kernels.items() if name in selected or kernel.control)


def _refuse_faulty(suite: Suite, requested: tuple[str, ...]) -> None:
    """Raise where only kernels are requested that a faulty or unreadable custom file may declare."""
    if not requested or any(_matches(name, requested) for name in suite.kernels):
        return
    if suite.errors:
        raise ConfigError("; ".join(suite.errors.values()), "Fix the file, or select other kernels with --kernels.")
    if suite.unknown:
        raise NothingError(
            f"No known kernel matches {', '.join(requested)}: {'; '.join(suite.unknown.values())}.",
            "Run 'matrix' with the same options, or leave out --kernels.",
        )


def _variations(
    matrix: Matrix, profile: Profile, selection: Selection, kernels: tuple[Kernel, ...]
) -> tuple[dict[str, tuple[str, ...]], dict[str, tuple[Mode, ...]]]:
    """Return the kernels and the modes of each variation; one with only controls, or with no mode, is left out."""
    controls = {kernel.name for kernel in kernels if kernel.control}
    only_controls = controls.issuperset(kernel.name for kernel in kernels)
    chosen: dict[str, tuple[str, ...]] = {}
    modes: dict[str, tuple[Mode, ...]] = {}
    for variation in profile.variations:
        table = matrix.variations.get(variation, Variation())
        names = _kernel_names(kernels, table)
        left = tuple(mode for mode in selection.modes if mode in table.modes)
        if left and (only_controls or not controls.issuperset(names)):
            chosen[variation], modes[variation] = names, left
    return chosen, modes


def _kernel_names(kernels: Iterable[Kernel], table: Variation) -> tuple[str, ...]:
    return tuple(
        kernel.name
        for kernel in kernels
        if kernel.control
        or ((kernel.file or _matches(kernel.name, table.kernels)) and not _matches(kernel.name, table.skip))
    )


def _record_groups(
    matrix: Matrix,
    profile: Profile,
    selection: Selection,
    columns: tuple[Column, ...],
    variations: Mapping[str, tuple[str, ...]],
    suite: Suite,
    devices: Devices,
) -> list[RecordGroup]:
    """Return what runs: variation by variation, the default one first, over all columns that are ready."""
    capabilities = {gpu.uuid: gpu.capability for gpu in devices.gpus}
    settled = [(column, *_settle(matrix, profile, selection, column)) for column in columns if column.status == "ready"]
    return [
        RecordGroup(
            column=column,
            profile=column_profile,
            variation=name,
            table=matrix.variations.get(name, Variation()),
            suite=suite,
            kernels=kernels,
            gpu=gpu_facts(column, devices),
        )
        for name in sorted(variations, key=lambda name: name != DEFAULT_VARIATION)
        for column, column_profile, skip in settled
        if applies(name, column.device, capabilities.get(column.gpu, (0, 0)))
        for kernels in [_without_skipped(variations[name], skip, suite)]
        if kernels
    ]


def gpu_facts(column: Column, devices: Devices) -> dict[str, str]:
    """Return what the host knows of a column's GPU, without what it does not know."""
    cuda_version = str(devices.survey.cuda) if devices.survey.cuda else ""
    facts = {"uuid": column.gpu, "driver": devices.survey.driver, "cuda": cuda_version}
    return {name: text for name, text in facts.items() if text} if column.gpu else {}


def _without_skipped(names: tuple[str, ...], skip: tuple[str, ...], suite: Suite) -> tuple[str, ...]:
    """Return the kernels that are not skipped; none where only controls are left, which alone say nothing."""
    controls = {name for name in names if suite.kernels[name].control}
    left = tuple(name for name in names if name in controls or not _matches(name, skip))
    return () if controls.issuperset(left) and not controls.issuperset(names) else left


def _settle(matrix: Matrix, profile: Profile, selection: Selection, column: Column) -> tuple[Profile, tuple[str, ...]]:
    """Return the profile as it holds for one column, and the kernels that it skips. The command line wins."""
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
    changes: dict[str, Any] = {
        "rounds": selection.rounds,
        "repetitions": selection.repetitions,
        "heavy_repetitions": selection.repetitions,
        "variations": selection.variations or None,
        "overhead_pairs": selection.pairs,
    }
    if selection.pairs is not None:
        for name in ("noise_floor_pairs", "upgrade_pairs"):
            changes[name] = min(selection.pairs, getattr(profile, name))
    return profile.model_copy(update={key: value for key, value in changes.items() if value is not None})


def _matches(name: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, glob) for glob in globs)
