"""``tfrepro local``: run the suite in the interpreter that started it, as a column of its own.

It needs numpy and tensorflow and nothing else. The environment variables are left as they are, because they are part
of what is measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import bench
from bench.portable import custom_kernels, host_facts
from bench.portable.archive import pack
from bench.portable.digest_summary import digest_summary
from bench.portable.errors import CONFIG, INTERRUPTED, NO_GPU, NOTHING, PortableError
from bench.portable.host_facts import Gpu, GpuInventory
from bench.portable.launcher import Local
from bench.portable.overrides import host_name, names, positive
from bench.portable.paired_timing import PairPlan
from bench.portable.plan_runner import Job, print_progress, run_rounds
from bench.portable.run_folder import read_records
from bench.portable.terminate import interrupt_on_signals
from bench.suite import oldest_versions
from bench.suite.kernel_files import STORE_VARIABLE
from bench.suite.record import SCHEMA, Request
from bench.suite.suite_hash import ROOT, suite_files, suite_hash
from bench.suite.variation import COMMON, NAMES, settings

if TYPE_CHECKING:
    from collections.abc import Sequence

_SWITCHES = ("TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC")
_PROBE_TIMEOUT_S = 600.0
_TIMING_BUDGET_S = 0.05
_KERNEL_TIMEOUT_S = 120.0
_SEED = 42
_NO_GPU_DEVICE = "-1"


def main(arguments: list[str]) -> int:
    """Measure this interpreter, count the digests, and pack the records for ``import``; returns the exit code."""
    options = _parser().parse_args(arguments)
    interrupt_on_signals()
    try:
        return measure(options)
    except PortableError as error:
        print_progress(f"error: {error}\n\nhint: {error.hint}" if error.hint else f"error: {error}")
        return error.code
    except KeyboardInterrupt:
        print_progress("\ninterrupted: finished rounds are kept; run the same command again to resume")
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tfrepro local",
        description="Measure the TensorFlow installation of this interpreter, which needs numpy and tensorflow and "
        "nothing else, and write a records archive for `python -m bench import`.",
        epilog="Example: python -m bench local --quick. Exit codes: 0 measured, 2 wrong option or no TensorFlow, "
        "3 nothing selected or measured, 4 a round could not be run, 5 --device gpu without a GPU, 130 interrupted.",
    )
    add = parser.add_argument
    add(
        "--rounds",
        type=positive,
        metavar="N",
        help="fresh processes per mode (default: 5; a result is reproducible with at least 5)",
    )
    add("--repetitions", type=positive, metavar="N", help="repetitions per process (default 5; heavy kernels 2)")
    add("--kernels", default="*", metavar="PATTERNS", help="kernels: 'matmul*,reduce*'; controls always run")
    add(
        "--quick",
        action="store_true",
        help="2 rounds of 3 repetitions without heavy kernels: finds frequent differences only",
    )
    add("--mode", choices=["off", "on", "both"], default="both", help="determinism off, on, or both (default)")
    text = "folder for runs and archives (default: tfrepro-local)"
    add("--out", type=Path, default=Path("tfrepro-local"), metavar="DIR", help=text)
    add(
        "--kernel-file", type=Path, action="append", default=[], metavar="PATH",
        help="Python file with custom kernels, or folder with its modules and data; can be given several times",
    )  # fmt: skip
    add("--kernel-exclude", type=names, default=(), metavar="PATTERNS", help="files to exclude from a folder: 'tests'")
    add(
        "--variation", type=_variations, default=("default",), metavar="NAMES",
        help="what to change around a run: 'default,threads=1,hashseed=0' (default: default)",
    )  # fmt: skip
    add("--host-name", type=host_name, default="", metavar="NAME", help="name this host in the column")
    add("--device", choices=["auto", "cpu", "gpu"], default="auto", help="auto (default): a GPU if TensorFlow sees one")
    return parser


def measure(options: argparse.Namespace) -> int:
    """Probe the interpreter, run the rounds, pack the records and print the digest counts."""
    sources = custom_kernels.read(options.kernel_file, options.kernel_exclude)
    out = options.out.absolute()
    hidden = {"CUDA_VISIBLE_DEVICES": _NO_GPU_DEVICE} if options.device == "cpu" else {}
    store = out / "kernel-files"
    launcher = Local(sys.executable, _staged(out), {**os.environ, STORE_VARIABLE: str(store)}, inherits=True)
    facts = probe(launcher, hidden, options.device)
    if options.device == "gpu" and not facts["gpus"]:
        hint = host_facts.gpu_inventory().why or "Install the GPU build of TensorFlow with its CUDA libraries."
        raise PortableError("--device gpu was given, but TensorFlow sees no GPU.", hint, NO_GPU)
    if facts["gpus"] > 1:
        hidden = _first_gpu(facts)
    for name in _SWITCHES:
        if name in os.environ:
            print_progress(
                f"note: {name}={os.environ[name]} is ignored, because it would switch determinism on in both modes; "
                "mode on uses tf.config.experimental.enable_op_determinism()"
            )
    inventory = host_facts.gpu_inventory() if facts["gpus"] else GpuInventory()
    environment = {**_environment(launcher), **hidden}
    declared, files, faults = custom_kernels.declarations(sources, launcher.suite, store, environment)
    for fault in faults:
        print_progress(f"warning: {fault}")
    run, requests = plan(options, facts, inventory, hidden, Custom(declared, files, faults))
    timed = pairs(run, requests, 2 if options.quick else 5)
    amount = f"{len(requests)} rounds and {len(timed)} timing pairs of {len(run['kernels'])} kernels"
    print_progress(f"{run['columns'][0]['id']}: {amount}")
    job = Job(run=run, requests=tuple(requests), pairs=timed, launcher=launcher, out=out, sources=tuple(sources))
    folder = run_rounds(job)
    archive = pack(folder, out, run["columns"][0]["id"])
    controls = {kernel["name"] for kernel in run["kernels"] if kernel["control"]}
    summary = digest_summary(read_records(folder), controls, archive)
    sys.stdout.write(f"{summary or 'Nothing was measured: no kernel produced a sample.'}\nrecords: {archive}\n")
    if faults:
        print_progress("Not all custom kernels were measured: fix what the warnings say.")
    return NOTHING if not summary else CONFIG if faults else 0


def _environment(launcher: Local) -> dict[str, str]:
    """Return the environment of a process of the measured interpreter that imports this suite."""
    paths = [str(launcher.suite), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    return {**launcher.environment, "PYTHONPATH": os.pathsep.join(paths)}


def _first_gpu(facts: dict[str, Any]) -> dict[str, str]:
    """Return the environment variable that leaves TensorFlow the first of several GPUs: a column has one."""
    if not facts["uuid"]:
        hint = "Set CUDA_VISIBLE_DEVICES to one of them, and run the command again."
        raise PortableError(f"TensorFlow sees {facts['gpus']} GPUs, but only one can be measured.", hint, CONFIG)
    print_progress(
        f"note: TensorFlow sees {facts['gpus']} GPUs; only {facts['gpu']} {facts['uuid']} is measured. Set "
        "CUDA_VISIBLE_DEVICES to measure another one"
    )
    return {"CUDA_VISIBLE_DEVICES": facts["uuid"]}


def _staged(out: Path) -> Path:
    """Copy the suite to a folder named after its hash, so that an edit during the run cannot mix two versions."""
    target = out / "suites" / suite_hash()
    try:
        for relative in (
            *suite_files(),
            Path("bench/portable/__init__.py"),
            Path("bench/portable/interpreter_probe.py"),
        ):
            copy = target / relative
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / relative, copy)
    except OSError as error:
        raise PortableError(f"{out} cannot be written: {error.strerror}.", "Name another folder with --out.") from error
    return target


def probe(launcher: Local, hidden: dict[str, str], device: str) -> dict[str, Any]:
    """Describe this interpreter (see ``interpreter_probe``).

    Raises PortableError where TensorFlow cannot be imported or is too old.
    """
    environment = {**_environment(launcher), **hidden}
    command = [sys.executable, "-m", "bench.portable.interpreter_probe", device]
    try:
        done = subprocess.run(
            command, env=environment, cwd=launcher.suite, capture_output=True, text=True, errors="replace",
            timeout=_PROBE_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        hint = "The disk or the GPU may be busy: try again later."
        raise PortableError(f"TensorFlow was not imported within {_PROBE_TIMEOUT_S:g} s.", hint) from error
    try:
        facts: dict[str, Any] = json.loads((done.stdout.splitlines() or [""])[-1])
    except ValueError as error:
        output = (done.stderr.strip().splitlines() or ["it has no output"])[-1]
        message = f"{sys.executable} cannot import TensorFlow: {output}"
        hint = "Use the interpreter that has TensorFlow: python -m bench local"
        raise PortableError(message, hint, CONFIG) from error
    if oldest_versions.too_old(facts["tensorflow"]) or not facts["switch"]:
        message = oldest_versions.needs("tfrepro local", f"this is TensorFlow {facts['tensorflow']}")
        raise PortableError(message, "Install a newer TensorFlow.", CONFIG)
    return facts


@dataclass(frozen=True)
class Custom:
    """The custom kernels: their declarations, kernel -> ``HASH/name.py``, and sentences about faulty files."""

    declared: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


_NO_CUSTOM = Custom()


def plan(
    options: argparse.Namespace,
    facts: dict[str, Any],
    inventory: GpuInventory,
    hidden: dict[str, str],
    custom: Custom = _NO_CUSTOM,
) -> tuple[dict[str, Any], list[Request]]:
    """Return run.json without id and times, and the rounds in their order.

    ``facts`` are those of ``probe``; ``hidden`` are the environment variables that hide GPUs from TensorFlow.
    """
    kernels = _kernels(options, custom.declared)
    rounds = options.rounds or (2 if options.quick else 5)
    repetitions = options.repetitions or (3 if options.quick else 5)
    modes = ("off", "on") if options.mode == "both" else (options.mode,)
    column = _column(facts, inventory, options.host_name)
    host = host_facts.facts(inventory)
    shared: dict[str, Any] = {
        "column": column["id"],
        "kernel_files": {kernel["name"]: custom.files[kernel["name"]] for kernel in kernels if kernel["file"]},
        "repetitions": {
            kernel["name"]: min(repetitions, 2) if kernel["heavy"] else repetitions for kernel in kernels
        },
        "seed": _SEED,
        "time_limit_s": _KERNEL_TIMEOUT_S,
        "env": hidden,
        "device": "cpu" if column["device"] == "cpu" else "gpu",
        "gpu": inventory.request_facts(Gpu(column["gpu"], "")) if column["gpu"] else {},
        "context": {
            "engine": "local", "environment": column["environment"]["identity"], "lock_hash": "", "host": host["name"],
            "rounds": rounds,
        },
    }  # fmt: skip
    run: dict[str, Any] = {
        "profile": "local, quick" if options.quick else "local",
        "rounds": rounds,
        "repetitions": repetitions,
        "modes": modes,
        "variations": {name: [] for name in options.variation},
        "variation_modes": dict.fromkeys(options.variation, modes),
        "host": host,
        "columns": [column],
        "kernels": kernels,
        "warnings": [f"Custom kernels: {fault}" for fault in custom.faults],
    }
    requests = _rounds(shared, [kernel["name"] for kernel in kernels], modes, rounds, options.variation)
    return {**run, **_own_facts()}, requests


def _own_facts() -> dict[str, Any]:
    """Return what run.json says of every run of this command in this interpreter."""
    return {
        "schema": SCHEMA,
        "version": bench.__version__,
        "revision": "unknown",
        "command": "tfrepro local",
        "seed": _SEED,
        "engine": "local",
        "engine_why": "measured in the interpreter that started the command, with its environment as it is",
        "engine_facts": {"interpreter": sys.executable, "python": " ".join(sys.version.split())},
        "suite_hash": suite_hash(),
        "reused": {},
    }


def _rounds(
    shared: dict[str, Any], names: list[str], modes: Sequence[str], rounds: int, variations: Sequence[str]
) -> list[Request]:
    """Return the requests of all rounds, with shuffled kernels and alternating modes; only "default" is timed."""
    requests: list[Request] = []
    changes = {name: dataclasses.asdict(settings(name)) for name in variations}
    for number in range(1, rounds + 1):
        order = tuple(random.Random(number).sample(names, len(names)))  # noqa: S311 - an order, no secret
        own: dict[str, Any] = {"round": number, "kernels": order, "order_seed": number, "second_seed": number == 1}
        for name, change in changes.items():
            facts = {**shared, **own, **change, "env": {**shared["env"], **change["env"]}}
            requests += [
                Request(**facts, variation=name, mode=mode) for mode in (modes if number % 2 else reversed(modes))
            ]
    return requests


def pairs(run: dict[str, Any], requests: list[Request], number: int) -> tuple[PairPlan, ...]:
    """Return so many timing pairs, determinism off against on; none if only one mode is measured, or only controls."""
    timed = [kernel["name"] for kernel in run["kernels"] if not kernel["control"]]
    of_mode = {request.mode: request for request in requests}
    result = []
    for pair in range(1, number + 1) if len(of_mode) > 1 and timed else ():
        order = tuple(random.Random(pair).sample(timed, len(timed)))  # noqa: S311 - an order, no secret
        own: dict[str, Any] = {
            "round": pair, "kernels": order, "order_seed": pair, "second_seed": False, "repetitions": {}
        }  # fmt: skip
        sides = {side: replace(of_mode[mode], **own) for side, mode in (("a", "off"), ("b", "on"))}
        # the process that is started second tends to be faster
        result.append(PairPlan("overhead", pair, "a" if pair % 2 else "b", _TIMING_BUDGET_S, sides))
    return tuple(result)


def _variations(text: str) -> tuple[str, ...]:
    """Parse the names of variations; raises ArgumentTypeError for one that does not exist."""
    found = names(text)
    for name in found:
        if not NAMES.fullmatch(name):
            message = f"{name!r} is not a variation; there are {', '.join(COMMON)}, and other numbers"
            raise argparse.ArgumentTypeError(message)
    if not found:
        message = "name at least one variation"
        raise argparse.ArgumentTypeError(message)
    return found


def _kernels(options: argparse.Namespace, custom: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the declarations of the selected kernels; controls are always selected."""
    from bench.suite.kernels import all_kernels  # noqa: PLC0415 - needs numpy, which --help does not

    globs = [part.strip() for part in options.kernels.split(",") if part.strip()]
    declared = [*(kernel.declaration() for kernel in all_kernels().values()), *custom]
    for glob in globs:
        if not any(fnmatchcase(kernel["name"], glob) for kernel in declared):
            names = ", ".join(kernel["name"] for kernel in declared)
            raise PortableError(f"No kernel matches {glob}.", f"Available kernels: {names}.", NOTHING)
    selected = [
        kernel
        for kernel in declared
        if (kernel["control"] or any(fnmatchcase(kernel["name"], glob) for glob in globs))
        and not (options.quick and kernel["heavy"])
    ]
    if all(kernel["control"] for kernel in selected):
        hint = "Select more with --kernels, or leave out --quick."
        raise PortableError("The selection leaves no kernel to run.", hint, NOTHING)
    return selected


def _column(facts: dict[str, Any], inventory: GpuInventory, host: str) -> dict[str, Any]:
    """Return the column, named after the facts of ``probe`` and a host: ``tf2.18.1-cuda12.5-local-py312@h200``."""
    release = facts["tensorflow"].partition("+")[0].replace("-", "")
    minor = ".".join(facts["python"].split(".")[:2])
    gpu = _gpu(facts, inventory)
    cuda = "cpu"
    if gpu:
        cuda = facts["cuda"] or ".".join(facts["cuda_build"].split(".")[:2]) or "unknown"
    device = gpu.slug if gpu else "cpu"
    parts = [f"tf{release}", *([f"cuda{cuda}"] if gpu else []), "local", f"py{minor.replace('.', '')}"]
    installed = hashlib.sha256("\n".join(facts["distributions"]).encode()).hexdigest()
    conda = os.environ.get("CONDA_DEFAULT_ENV", "") if (Path(sys.prefix) / "conda-meta").is_dir() else ""
    environment = {
        "identity": f"{facts['python']} {sys.prefix} {installed[:16]}",
        "interpreter": sys.executable,
        "python": " ".join(sys.version.split()),
        "prefix": sys.prefix,
        "conda": conda,
        "cuda_build": facts["cuda_build"],
        "distributions": " ".join(facts["distributions"]),
    }
    return {
        "id": f"{'-'.join(parts)}@{device}{f'-{host}' if host else ''}",
        "host": host,
        "tensorflow": release,
        "cuda": cuda,
        "python": minor,
        "keras": facts["keras"],
        "device": device,
        "lock": "",
        "lock_hash": "",
        "status": "ready",
        "reason": "",
        "environment": {key: value for key, value in environment.items() if value},
        "gpu": gpu.uuid if gpu else "",
        "kind": "local",
        "cudnn": "",
        "advice": "",
        "origin": {},
    }


def _gpu(facts: dict[str, Any], inventory: GpuInventory) -> Gpu | None:
    """Return the first GPU that TensorFlow sees, None where it sees none."""
    if not facts["gpus"]:
        return None
    known = next((gpu for gpu in inventory.gpus if gpu.uuid == facts["uuid"]), None)
    return known or Gpu(facts["uuid"], facts["gpu"])
