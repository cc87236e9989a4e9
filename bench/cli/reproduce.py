"""``reproduce``: measure one kernel of one column again, and say whether it gives the same bits.

A page shows the command for each kernel. It names the lock, the kernel's code and the seed, and all of them are checked
against this checkout before anything is measured.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from bench import errors, verdict
from bench.cli import options as shared
from bench.cli.command import Command
from bench.cli.matrix import measure, read_suite
from bench.cli.planning import Inputs, kernel_sources, modes, require_checkout
from bench.cli.results import show
from bench.gpu import facts
from bench.plan import config, custom_kernels, devices
from bench.plan.config_models import Matrix, Profile, Select, Variation
from bench.plan.planner import Plan, Selection
from bench.plan.variations import refuse_unknown
from bench.report.build.reproduce import Answer, ReproduceSpec, answer
from bench.store import run as store
from bench.suggest import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from bench.cli.matrix import Chosen
    from bench.gpu.facts import Gpu, GpuInventory
    from bench.plan.column import Column
    from bench.plan.custom_kernels import Suite
    from bench.plan.devices import Devices

#: The name of the profile that ``reproduce`` makes, as its page shows it.
PROFILE = "reproduce"
#: Characters of a hash in a message.
_SHOWN = 8


def reproduce(options: argparse.Namespace) -> int:
    """Measure one kernel of one column again and say whether it gives the same bits."""
    require_checkout()
    plan, chosen = make_plan(options)
    mismatches = tuple(differences(plan, options))
    if mismatches and not options.allow_mismatch:
        hint = (
            "Run git checkout REVISION with the revision that the page names under 'Suite' and try again there; "
            "or measure what is here with --allow-mismatch."
        )
        raise errors.ConfigError("\n".join(mismatches), hint)
    require_device(plan, options)
    for message in mismatches:
        print(f"note: {message}", file=sys.stderr)
    folder = measure(plan, options, chosen)
    if folder is None:
        return errors.OK
    code = show(folder, options)
    wanted = options.digest or ("" if options.mode == "off" else options.spec.bits)
    result = _answer(folder, plan, options, wanted)
    print(result.sentence)
    return errors.GATE if code == errors.OK and wanted and result.word != "same" else code


def make_plan(options: argparse.Namespace) -> tuple[Plan, Chosen | None]:
    """The plan for what SPEC names, whatever matrix.toml selects; and the engine, if one was needed for it.

    Raises:
        ConfigError: an invalid column id, an unknown variation, or a kernel that the suite here does not have.
        NothingError: matrix.toml has no such environment.
    """
    stem, _, device = options.column.partition("@")
    if not (stem and device):
        raise errors.ConfigError(
            f"{options.column!r} is not the id of a column.", "An id looks like tf2.18.1-cpu-py311@cpu."
        )
    matrix = config.load(options.matrix)
    refuse_unknown((options.variation,), matrix.variations)
    selection = Selection(only=(stem,), kernels=(options.kernel,), modes=modes(options))
    inputs = Inputs(
        matrix=pinned(matrix, options.spec, options.variation),
        profile=PROFILE,
        selection=selection,
        devices=devices_of(device, facts.survey()),
        sources=kernel_sources(matrix, _without_listed(matrix, options)),
    )
    suite, chosen = suite_with_kernel(inputs, inputs.columns, options)
    return inputs.plan(suite), chosen


def suite_with_kernel(
    inputs: Inputs, columns: Callable[[], Sequence[Column]], options: argparse.Namespace
) -> tuple[Suite, Chosen | None]:
    """Return the suite, and the engine if one was needed to read it; raises ConfigError if it lacks the kernel."""
    suite, chosen = custom_kernels.suite(inputs.sources), None
    if options.kernel not in suite.kernels:  # it may be declared by code that only an environment runs
        suite, chosen = read_suite(inputs.sources, columns, inputs.devices, options)
    if options.kernel not in suite.kernels:
        near = nearest(options.kernel, suite.kernels)
        hint = f"Did you mean {near!r}? " if near else ""
        message = f"The suite here has no kernel {options.kernel!r}."
        raise errors.ConfigError(message, f"{hint}A custom kernel needs --kernel-file FILE.")
    return suite, chosen


def _without_listed(matrix: Matrix, options: argparse.Namespace) -> argparse.Namespace:
    """The options without kernel files that matrix.toml has: pages name files without their folder."""
    names = {Path(entry.path).name for entry in matrix.suite.kernel_files}
    files = [path for path in options.kernel_file if path.name not in names or path.exists()]
    return argparse.Namespace(**{**vars(options), "kernel_file": files})


def pinned(matrix: Matrix, spec: ReproduceSpec, variation: str) -> Matrix:
    """The matrix with a profile made from SPEC. Of the variation's table only the modes are kept."""
    table = matrix.variations.get(variation, Variation())
    profiles = matrix.profiles.values()
    limits = [profile.time_limit_s for profile in profiles]
    limits += [override.time_limit_s for override in matrix.overrides if override.time_limit_s is not None]
    profile = Profile(
        rounds=spec.rounds,
        repetitions=spec.repetitions,
        variations=(variation,),
        time_limit_s=max(limits),
        overhead_pairs=min(spec.rounds, max(profile.overhead_pairs for profile in profiles)),
        noise_floor_pairs=0,
        pair_s=max(profile.pair_s for profile in profiles),
        seed=spec.seed,
    )
    return matrix.model_copy(
        update={
            "select": Select(),
            "overrides": (),
            "profiles": {**matrix.profiles, PROFILE: profile},
            "variations": {variation: Variation(modes=table.modes)},
        }
    )


def devices_of(device: str, inventory: GpuInventory) -> Devices:
    """The device that the column names; if it is not here, that of a plan which requires a GPU."""
    if device == "cpu":
        return devices.choose("cpu", inventory)
    matching = [gpu for gpu in inventory.gpus if is_device(device, gpu)]
    idle = [gpu for gpu in matching if not gpu.processes]
    return devices.choose((idle or matching)[0].uuid if matching else "gpu", inventory)


def is_device(device: str, gpu: Gpu) -> bool:
    """Whether a column's device is this GPU's model or, with ``h200-1a2b3c4d``, this very GPU."""
    uuid_start = device.removeprefix(f"{gpu.slug}-")
    uuid = gpu.uuid.partition("-")[2].replace("-", "")
    return device == gpu.slug or (uuid_start != device and uuid.startswith(uuid_start))


def require_device(plan: Plan, options: argparse.Namespace) -> None:
    """Raise NoGpuError if the column's GPU is not here or, with ``--allow-mismatch``, no GPU at all."""
    device = options.column.partition("@")[2]
    if device == "cpu" or any(is_device(device, gpu) for gpu in plan.devices.gpus):
        return
    if not plan.devices.gpus:
        message = f"The column is for the GPU {device}, but {plan.devices.survey.why}."
        raise errors.NoGpuError(message, "Reproduce it on a host with that GPU.")
    names = ", ".join(gpu.name for gpu in plan.devices.gpus)
    if not options.allow_mismatch:
        message = f"The column is for the GPU {device}, but this host has {names}."
        raise errors.NoGpuError(message, "Use a host with that GPU, or --allow-mismatch to measure the one here.")
    print(f"note: the column is for the GPU {device} and is measured on {names}", file=sys.stderr)


def differences(plan: Plan, options: argparse.Namespace) -> Iterator[str]:
    """Yield one sentence for each thing here that is not what SPEC names."""
    spec, (column, *_) = options.spec, plan.columns
    lock = column.lock_hash() if column.lock.is_file() else ""
    if not lock:
        yield f"docker/locks has no {column.lock.name}, so what the page measured cannot be installed here."
    elif not lock.startswith(spec.lock):
        yield (
            f"{column.lock.name} has the hash {lock[:_SHOWN]} here and {spec.lock} on the page: "
            "other wheels would be installed."
        )
    kernel = plan.suite.kernels[options.kernel]
    code = kernel.source_hash()
    if not code.startswith(spec.code):
        yield (
            f"The code of {options.kernel} in {kernel.file or 'the suite'} has the hash {code[:_SHOWN]} here and "
            f"{spec.code} on the page: other code would run."
        )


def _answer(folder: Path, plan: Plan, options: argparse.Namespace, wanted: str) -> Answer:
    """Whether the new measurement gave the bits ``wanted``: with determinism on, unless only off was measured."""
    results = verdict.evaluate(store.load(folder))
    mode = "off" if options.mode == "off" else "on"
    result = results.of(plan.columns[0].id, options.kernel, options.variation, mode)
    if result is None:
        return Answer(word="unknown", sentence=f"determinism {mode}: not measured under {options.variation}")
    return answer(results, result, wanted)


def _spec(text: str) -> ReproduceSpec:
    try:
        return ReproduceSpec.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    # It never resumes: its answer must come from new measurements.
    parser.set_defaults(no_resume=True)
    add = parser.add_argument
    add("column", metavar="COLUMN", help="the id of a column: tf2.18.1-cuda12.5-py311@h100")
    add("kernel", metavar="KERNEL", help="a kernel")
    add(
        "spec", type=_spec, metavar="SPEC",
        help="seed, ROUNDSxREPETITIONS, and the first characters of the SHA-256 of the lock, of the kernel's code and, "
        "if it had one, of its digest with determinism on: s42-5x20-3f2a1b9c-d41d8cd9-4fdedf20592d",
    )  # fmt: skip
    add("--variation", default="default", metavar="NAME", help="the variation (default: default)")
    shared.add_mode(parser)
    text = "first characters of the digest to compare with, as a page shows it (default: the one in SPEC)"
    add("--digest", type=shared.digest, help=text)
    add("--allow-mismatch", action="store_true", help="measure what is here even if it is not what SPEC names")
    add("--dry-run", action="store_true", help="check SPEC, print what would run, and run nothing")
    shared.add_engine(parser)
    shared.add_root_kernels(parser)
    shared.add_matrix_file(parser)
    shared.add_kernel_file(parser)
    shared.add_registry(parser)
    shared.add_output(parser)
    parser.set_defaults(reports=Path("reports/reproduce"))


COMMAND = Command(
    name="reproduce",
    summary="Measure one kernel of one column again and say whether it gives the same bits.",
    details="A page shows the command for each kernel. Lock and code are checked against this checkout first. "
    "Exit code 1: other bits; 2: lock or code differ; 5: the GPU is missing.",
    example="nox -s reproduce -- tf2.18.1-cpu-py311@cpu matmul_f32 s42-5x5-5efc453b-0a1b2c3d",
    add_arguments=_add_arguments,
    run=reproduce,
)
