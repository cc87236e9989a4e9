"""``tfrepro local``: the suite in the interpreter it was started with, as a column of its own.

Needs numpy and tensorflow and nothing else. The environment passes through as it is, for it is what is measured.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import bench
from bench.portable import digest_counts, host_facts
from bench.portable.archive import pack
from bench.portable.errors import CONFIG, INTERRUPTED, NO_GPU, NOTHING, PortableError
from bench.portable.host_facts import Gpu, GpuInventory
from bench.portable.launcher import Local
from bench.portable.overrides import positive
from bench.portable.plan_runner import Job, play, tell
from bench.suite import record
from bench.suite.record import SCHEMA, Request
from bench.suite.suite_hash import ROOT, suite_files, suite_hash

_SWITCHES = ("TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC")
_PROBE_S = 600.0
_STEADY_S = 0.05
_LIMIT_S = 120.0
_SEED = 42
_HIDDEN = "-1"


def main(arguments: list[str]) -> int:
    """``here``: measure the interpreter at hand, answer in one line, and pack the records for ``import``."""
    options = _parser().parse_args(arguments)
    try:
        return measure(options)
    except PortableError as error:
        tell(f"error: {error}\n\nhint: {error.hint}" if error.hint else f"error: {error}")
        return error.code
    except KeyboardInterrupt:
        tell("\ninterrupted: finished rounds are kept, and the same command goes on from there")
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tfrepro local",
        description="Is the environment I have reproducible? Runs the suite in this interpreter, which needs numpy and "
        "tensorflow and nothing else, and writes a records archive for `python -m bench import`.",
        epilog="Exit codes: 0 measured, 2 wrong option or no TensorFlow, 3 no kernel selected, 4 a round could not be "
        "run, 5 a GPU was demanded and is missing, 130 interrupted.",
    )
    add = parser.add_argument
    add("--rounds", type=positive, metavar="N", help="fresh processes per mode (default 5: fewer prove nothing)")
    add("--repetitions", type=positive, metavar="N", help="repetitions per process (default 5; heavy kernels 2)")
    add("--kernels", default="*", metavar="GLOBS", help="kernels: 'matmul*,reduce*'; controls always run")
    add(
        "--quick",
        action="store_true",
        help="2 rounds of 3 repetitions without heavy kernels: finds what varies, no more",
    )
    add("--mode", choices=["off", "on", "both"], default="both", help="determinism off, on, or both (default)")
    add("--out", type=Path, default=Path("tfrepro-here"), metavar="DIR", help="where runs and archives go")
    add("--device", choices=["auto", "cpu", "gpu"], default="auto", help="auto: a GPU if TensorFlow sees one")
    return parser


def measure(options: argparse.Namespace) -> int:
    """Probe, play, answer, pack."""
    out = options.out.absolute()
    hidden = {"CUDA_VISIBLE_DEVICES": _HIDDEN} if options.device == "cpu" else {}
    launcher = Local(sys.executable, _staged(out), dict(os.environ), inherits=True)
    found = probe(launcher, hidden, options.device)
    if options.device == "gpu" and not found["gpus"]:
        message = "A GPU was demanded, and TensorFlow sees none here."
        raise PortableError(
            message, host_facts.survey().why or "Is this the GPU build of TensorFlow, with its libraries?", NO_GPU
        )
    if found["gpus"] > 1:
        hidden = _one(found)
    for name in _SWITCHES:
        if name in os.environ:
            tell(f"note: {name}={os.environ[name]} is set here. It is taken out, or determinism off would not be off;")
            tell("note: determinism on is switched by tf.config.experimental.enable_op_determinism().")
    survey = host_facts.survey() if found["gpus"] else GpuInventory()
    run, requests = plan(options, found, survey, hidden)
    tell(f"{run['columns'][0]['id']}: {len(requests)} rounds of {len(run['kernels'])} kernels")
    folder = play(Job(run=run, requests=tuple(requests), launcher=launcher, out=out))
    info = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    archive = pack(folder, out, info["columns"][0]["id"])
    records = [record.read(path) for path in sorted((folder / "records").glob("*/*/*.jsonl.xz"))]
    sys.stdout.write(digest_counts.sentence(digest_counts.tell(info, records), info["rounds"]) + "\n")
    sys.stdout.write(f"records: {archive}\nsee them beside others: python -m bench import {archive}\n")
    return 0


def _one(found: dict[str, Any]) -> dict[str, str]:
    """A column is one GPU: the variable that leaves TensorFlow the first."""
    if not found["uuid"]:
        hint = "Set CUDA_VISIBLE_DEVICES to one of them, and start again."
        raise PortableError(f"TensorFlow sees {found['gpus']} GPUs, and a column is one.", hint, CONFIG)
    tell(
        f"note: TensorFlow sees {found['gpus']} GPUs; {found['gpu']} {found['uuid']} is measured. CUDA_VISIBLE_DEVICES"
    )
    tell("note: chooses another.")
    return {"CUDA_VISIBLE_DEVICES": found["uuid"]}


def _staged(out: Path) -> Path:
    """A copy of the suite under its hash: an edit during a run cannot mix two suites."""
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
    """What this interpreter has; raises PortableError where TensorFlow cannot be imported or is too old."""
    paths = [str(launcher.suite), *filter(None, [os.environ.get("PYTHONPATH", "")])]
    environment = {**os.environ, **hidden, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-m", "bench.portable.interpreter_probe", device]
    try:
        done = subprocess.run(
            command, env=environment, cwd=launcher.suite, capture_output=True, text=True, errors="replace",
            timeout=_PROBE_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        hint = "Is the disk or the GPU busy?"
        raise PortableError(f"TensorFlow was not imported within {_PROBE_S:g} s.", hint) from error
    try:
        found: dict[str, Any] = json.loads((done.stdout.splitlines() or [""])[-1])
    except ValueError as error:
        words = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        message = f"{sys.executable} cannot import TensorFlow: {words}"
        raise PortableError(
            message, "Start it with the interpreter that has TensorFlow: python -m bench local", CONFIG
        ) from error
    if not found["switch"]:
        message = f"TensorFlow {found['tensorflow']} has no enable_op_determinism(), so there is nothing to compare."
        raise PortableError(message, "TensorFlow 2.9 is the first that can be measured.", CONFIG)
    return found


def plan(
    options: argparse.Namespace, found: dict[str, Any], survey: GpuInventory, hidden: dict[str, str]
) -> tuple[dict[str, Any], list[Request]]:
    """run.json but for id and times, and the rounds in the order to play them."""
    kernels = _kernels(options)
    names = [one["name"] for one in kernels]
    rounds = options.rounds or (2 if options.quick else 5)
    repetitions = options.repetitions or (3 if options.quick else 5)
    modes = ("off", "on") if options.mode == "both" else (options.mode,)
    column = _column(found, survey)
    identity = column["environment"]["identity"]
    gpu = (
        next((one for one in survey.gpus if one.uuid == column["gpu"]), Gpu(column["gpu"], ""))
        if column["gpu"]
        else None
    )
    facts = host_facts.facts(survey)
    shared: dict[str, Any] = {
        "column": column["id"],
        "variation": "default",
        "repetitions": {one["name"]: min(repetitions, 2) if one["heavy"] else repetitions for one in kernels},
        "seed": _SEED,
        "time_limit_s": _LIMIT_S,
        "steady_s": _STEADY_S,
        "env": hidden,
        "device": "cpu" if column["device"] == "cpu" else "gpu",
        "gpu": survey.told(gpu) if gpu else {},
        "context": {
            "engine": "here", "environment": identity, "lock_hash": "", "host": facts["name"], "rounds": rounds,
        },
    }  # fmt: skip
    requests = []
    for number in range(1, rounds + 1):
        order = tuple(random.Random(number).sample(names, len(names)))  # noqa: S311 - an order, no secret
        for mode in modes if number % 2 else tuple(reversed(modes)):
            own = {"mode": mode, "round": number, "kernels": order, "order_seed": number, "second-seed": number == 1}
            requests.append(Request(**shared, **own))
    run: dict[str, Any] = {
        "schema": SCHEMA,
        "version": bench.__version__,
        "revision": "unknown",
        "command": "tfrepro local",
        "profile": "here, quick" if options.quick else "here",
        "rounds": rounds,
        "repetitions": repetitions,
        "seed": _SEED,
        "modes": modes,
        "variations": {"default": []},
        "variation_modes": {"default": modes},
        "engine": "here",
        "engine_why": "measured in the interpreter it was started with, its environment as it is",
        "engine_facts": {"interpreter": sys.executable, "python": " ".join(sys.version.split())},
        "host": facts,
        "suite_hash": suite_hash(),
        "columns": [column],
        "kernels": kernels,
        "warnings": [],
        "reused": {},
    }
    return run, requests


def _kernels(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The declarations of the kernels that are selected; controls always are."""
    from bench.suite.kernels import all_kernels  # noqa: PLC0415 - needs numpy, which --help does not

    globs = [part.strip() for part in options.kernels.split(",") if part.strip()]
    declared = [kernel.declaration() for kernel in all_kernels().values()]
    for glob in globs:
        if not any(fnmatchcase(one["name"], glob) for one in declared):
            names = ", ".join(one["name"] for one in declared)
            raise PortableError(f"No kernel matches {glob}.", f"There are: {names}.", NOTHING)
    light = [one for one in declared if not (options.quick and one["heavy"])]
    chosen = [one for one in light if one["control"] or any(fnmatchcase(one["name"], glob) for glob in globs)]
    if all(one["control"] for one in chosen):
        raise PortableError(
            "The selection leaves no kernel to run.", "Loosen --kernels, or leave --quick out.", NOTHING
        )
    return chosen


def _column(found: dict[str, Any], survey: GpuInventory) -> dict[str, Any]:
    """The column, named by what was found: ``tf2.18.1-cuda12.5-here-py312@h200``."""
    release = found["tensorflow"].partition("+")[0].replace("-", "")
    minor = ".".join(found["python"].split(".")[:2])
    gpu = _gpu(found, survey)
    cuda = "cpu"
    if gpu:
        cuda = found["cuda"] or ".".join(found["cuda_build"].split(".")[:2]) or "unknown"
    device = gpu.slug if gpu else "cpu"
    words = [f"tf{release}", *([f"cuda{cuda}"] if gpu else []), "here", f"py{minor.replace('.', '')}"]
    installed = hashlib.sha256("\n".join(found["distributions"]).encode()).hexdigest()
    conda = os.environ.get("CONDA_DEFAULT_ENV", "") if (Path(sys.prefix) / "conda-meta").is_dir() else ""
    environment = {
        "identity": f"{found['python']} {sys.prefix} {installed[:16]}",
        "interpreter": sys.executable,
        "python": " ".join(sys.version.split()),
        "prefix": sys.prefix,
        "conda": conda,
        "cuda_build": found["cuda_build"],
        "distributions": " ".join(found["distributions"]),
    }
    return {
        "id": f"{'-'.join(words)}@{device}",
        "tensorflow": release,
        "cuda": cuda,
        "python": minor,
        "keras": found["keras"],
        "device": device,
        "lock": "",
        "lock_hash": "",
        "status": "ready",
        "reason": "",
        "environment": {key: value for key, value in environment.items() if value},
        "gpu": gpu.uuid if gpu else "",
        "kind": "here",
        "cudnn": "",
        "advice": "",
        "origin": {},
    }


def _gpu(found: dict[str, Any], survey: GpuInventory) -> Gpu | None:
    """The first GPU that TensorFlow sees, None where it sees none."""
    if not found["gpus"]:
        return None
    known = next((gpu for gpu in survey.gpus if gpu.uuid == found["uuid"]), None)
    return known or Gpu(found["uuid"], found["gpu"])
