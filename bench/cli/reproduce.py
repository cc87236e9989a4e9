"""``replay``: one kernel of one column again, held to the pins of a page's replay line before anything is measured."""

from __future__ import annotations

import difflib
import sys
from typing import TYPE_CHECKING

from bench import errors, verdict
from bench.cli.matrix import LOCKS, measure, modes, refuse_elsewhere
from bench.cli.report import show
from bench.gpu import facts
from bench.plan import config, custom_kernels, devices, planner
from bench.plan.config_models import Matrix, Profile, Select, Variation
from bench.plan.planner import Plan, Selection
from bench.plan.variations import refuse_unknown
from bench.report.build.reproduce import Answer, ReproduceSpec, answer
from bench.store import run as store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from pathlib import Path

    from bench.gpu.facts import Gpu, GpuInventory
    from bench.plan.devices import Devices

#: The profile of a replay, as its page names it.
PROFILE = "replay"
#: Characters of a hash that a sentence shows.
_SHOWN = 8


def replay(options: argparse.Namespace) -> int:
    """``replay``: measure one kernel of one column again, pinned by a page's replay line, and say if the bits are its."""
    refuse_elsewhere()
    plan = make_plan(options)
    different = tuple(differences(plan, options))
    if different and not options.allow_mismatch:
        hint = (
            "git checkout REVISION, the one that the page names under 'Suite', and replay there; "
            "or --allow-mismatch, with what is here."
        )
        raise errors.ConfigError("\n".join(different), hint)
    refuse_other_device(plan, options)
    for sentence in different:
        print(f"note: {sentence}", file=sys.stderr)
    folder = measure(plan, options)
    if folder is None:
        return errors.OK
    code = show(folder, options)
    wanted = options.digest or ("" if options.mode == "off" else options.pin.bits)
    found = _answer(folder, plan, options, wanted)
    print(found.sentence)
    return errors.GATE if code == errors.OK and wanted and found.word != "same" else code


def make_plan(options: argparse.Namespace) -> Plan:
    """The plan of a replay: what the pin says, whatever profile, overrides and selection matrix.toml has.

    Raises:
        ConfigError: a column that is no name of one, an unknown variation, a kernel that the suite here has not.
        NothingError: matrix.toml has no such pair.
    """
    stem, _, device = options.column.partition("@")
    if not (stem and device):
        raise errors.ConfigError(f"{options.column!r} is no column.", "A column looks like tf2.18.1-cpu-py311@cpu.")
    matrix = config.load(options.matrix)
    refuse_unknown((options.variation,), matrix.variations)
    found = custom_kernels.suite(_files(matrix, options))
    for sentence in found.errors.values():
        print(f"warning: {sentence}", file=sys.stderr)
    if options.kernel not in found.kernels:
        near = difflib.get_close_matches(options.kernel, found.kernels, 1, 0.6)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise errors.ConfigError(
            f"The suite here has no kernel {options.kernel!r}.", f"{hint}A kernel of your own takes --kernel-file FILE."
        )
    selection = Selection(only=(stem,), kernels=(options.kernel,), modes=modes(options))
    here = _devices(device, facts.survey())
    return planner.make(pinned(matrix, options.pin, options.variation), PROFILE, selection, LOCKS, found, here)


def _files(matrix: Matrix, options: argparse.Namespace) -> list[Path]:
    """The files of kernels: those of matrix.toml, and those named; a line names files without their folder."""
    listed = [options.matrix.parent / name for name in matrix.suite.kernel_files]
    names = {path.name for path in listed}
    return listed + [path for path in options.kernel_file if path.name not in names or path.is_file()]


def pinned(matrix: Matrix, pin: ReproduceSpec, variation: str) -> Matrix:
    """The matrix with the profile of a replay; of the variation's table only modes and timing are left."""
    table = matrix.variations.get(variation, Variation())
    profiles = matrix.profiles.values()
    limits = [one.time_limit_s for one in profiles]
    limits += [one.time_limit_s for one in matrix.overrides if one.time_limit_s is not None]
    profile = Profile(
        rounds=pin.rounds,
        repetitions=pin.repetitions,
        variations=(variation,),
        time_limit_s=max(limits),
        steady_s=max(one.steady_s for one in profiles),
        seed=pin.seed,
    )
    return matrix.model_copy(
        update={
            "select": Select(),
            "overrides": (),
            "profiles": {**matrix.profiles, PROFILE: profile},
            "variations": {variation: Variation(modes=table.modes, timed=table.timed)},
        }
    )


def _devices(device: str, survey: GpuInventory) -> Devices:
    """The device that a column names; where it is not here, that of a plan which demands a GPU."""
    if device == "cpu":
        return devices.choose("cpu", survey)
    fitting = [gpu for gpu in survey.gpus if _is(device, gpu)]
    idle = [gpu for gpu in fitting if not gpu.processes]
    return devices.choose((idle or fitting)[0].uuid if fitting else "gpu", survey)


def _is(device: str, gpu: Gpu) -> bool:
    """Whether a column's device is this GPU's model, or with ``h200-1a2b3c4d`` this very one."""
    part = device.removeprefix(f"{gpu.slug}-")
    return device == gpu.slug or (part != device and gpu.uuid.partition("-")[2].replace("-", "").startswith(part))


def refuse_other_device(plan: Plan, options: argparse.Namespace) -> None:
    """Raise NoGpuError where the column's GPU is not here, or with ``--allow-mismatch`` no GPU at all."""
    device = options.column.partition("@")[2]
    if device == "cpu" or any(_is(device, gpu) for gpu in plan.devices.gpus):
        return
    if not plan.devices.gpus:
        message = f"The column is of the GPU {device}, and {plan.devices.survey.why}."
        raise errors.NoGpuError(message, "Replay it on a host that has one.")
    names = ", ".join(gpu.name for gpu in plan.devices.gpus)
    if not options.allow_mismatch:
        message = f"The column is of the GPU {device}, and the one here is {names}."
        raise errors.NoGpuError(message, "Replay it on a host that has one, or with --allow-mismatch on the one here.")
    print(f"note: the column is of the GPU {device}, and is replayed on {names}", file=sys.stderr)


def differences(plan: Plan, options: argparse.Namespace) -> Iterator[str]:
    """What here is not what the pin says, one sentence each."""
    pin, (column, *_) = options.pin, plan.columns
    lock = column.lock_hash() if column.lock.is_file() else ""
    if not lock:
        yield f"docker/locks has no {column.lock.name}: what the page measured cannot be installed here."
    elif not lock.startswith(pin.lock):
        yield (
            f"{column.lock.name} has the hash {lock[:_SHOWN]} here and {pin.lock} on the page: "
            "other wheels would be installed."
        )
    code = plan.suite.kernels[options.kernel].source_hash()
    if not code.startswith(pin.code):
        place = plan.suite.kernels[options.kernel].file or "the suite"
        yield (
            f"The code of {options.kernel} in {place} has the hash {code[:_SHOWN]} here and {pin.code} on the page: "
            "other code would run."
        )


def _answer(folder: Path, plan: Plan, options: argparse.Namespace, wanted: str) -> Answer:
    """Whether the replay gave the bits ``wanted``: with determinism on, unless only off was asked for."""
    results = verdict.evaluate(store.load(folder))
    mode = "off" if options.mode == "off" else "on"
    found = results.of(plan.columns[0].id, options.kernel, options.variation, mode)
    if found is None:
        return Answer(word="unknown", sentence=f"determinism {mode}: not measured under {options.variation}")
    return answer(results, found, wanted)
