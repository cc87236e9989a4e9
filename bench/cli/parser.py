"""What each command takes on its command line."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

import bench
from bench import verdict
from bench.cli.compare import USUAL, gates
from bench.engines import select
from bench.report.build.reproduce import ReproduceSpec
from bench.report.commands import compare

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def parser(run: Mapping[str, Callable[[argparse.Namespace], int]]) -> argparse.ArgumentParser:
    """The parser of all commands; ``run`` maps each to what runs it, whose docstring is its help."""
    top = argparse.ArgumentParser(
        prog="tfrepro",
        description="Which TensorFlow x CUDA pair gives the same bits again, and at what overhead.",
        epilog="Exit codes: 0 ok, 1 a gate failed, 2 bad configuration, 3 nothing selected or measured, "
        "4 engine, build or storage trouble, 5 a GPU was demanded and is missing, 130 interrupted, "
        "141 the reader of a pipe left.",
    )
    top.add_argument("--version", action="version", version=f"tfrepro {bench.__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    shared = _shared()
    selecting = _selecting()

    def command(name: str, *parents: argparse.ArgumentParser) -> argparse.ArgumentParser:
        text = (run[name].__doc__ or "").split(": ", 1)[-1]
        added = commands.add_parser(name, help=text, description=text, parents=[shared, *parents])
        added.set_defaults(run=run[name])
        return added

    matrix = command("matrix", selecting, _reporting())
    matrix.add_argument(
        "--no-resume", action="store_true", help="measure all again, take nothing over from an interrupted run"
    )
    matrix.add_argument(
        "--dry-run", action="store_true", help="say what would be built and run, and how long it may take"
    )
    _add_registry(matrix)
    plan = command("plan", selecting)
    doctor = command("doctor", selecting)
    doctor.add_argument("--reports", type=Path, default=Path("reports"), metavar="DIR", help="where runs would go")
    for one in (plan, doctor):
        one.add_argument("--json", action="store_true", help="as JSON")
    kernels = command("kernels")
    kernels.add_argument("--json", action="store_true", help="as JSON")
    kernels.add_argument("--markdown", action="store_true", help="as the page docs/suite.md")
    _add_extra(kernels)
    lock = command("lock", selecting)
    either = lock.add_mutually_exclusive_group()
    either.add_argument("--upgrade", action="store_true", help="take newer releases of what matrix.toml does not pin")
    either.add_argument("--check", action="store_true", help="say what newer patch releases there are; change nothing")
    images = command("images", selecting)
    images.add_argument("--push", metavar="REGISTRY", default="", help="push them there, for a fleet of hosts")
    _add_registry(images)
    _bundling(command("bundle"))
    clean = command("clean")
    clean.add_argument("--dry-run", action="store_true", help="say what would be removed")
    clean.add_argument("--all", action="store_true", help="the base image that `nox -s base-image` made, too")
    report = command("report", _reporting())
    report.add_argument("run_folder", nargs="?", type=Path, help="a folder under reports/runs (default: the newest)")
    importing = command("import", _reporting())
    importing.add_argument("file", type=Path, help="the archive that a bundle or `tfrepro local` has written")
    sample = command("export")
    sample.add_argument("--reports", type=Path, default=Path("reports"), metavar="DIR", help="where the runs are")
    sample.add_argument("--to", type=Path, default=Path("reports/sample"), metavar="DIR", help="where it is kept")
    sample.add_argument("run_folder", nargs="?", type=Path, help="a folder under reports/runs (default: the newest)")
    _diverging(command("diff"))
    _replaying(command("reproduce", _reporting()))
    _comparing(command("compare"))
    _choosing(command("choose"))
    command("schema").add_argument("--report", action="store_true", help="that of report.json instead")
    return top


def _shared() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--debug", action="store_true", help="show tracebacks")
    return shared


def _selecting() -> argparse.ArgumentParser:
    selecting = argparse.ArgumentParser(add_help=False)
    add = selecting.add_argument
    add("--matrix", type=Path, default=Path("matrix.toml"), metavar="FILE", help="another matrix.toml")
    add("--profile", default="standard", help="a profile of matrix.toml (default: standard)")
    add("--env", type=_globs, default=(), metavar="GLOBS", help="columns, by pair or id: 'tf2.18*,tf2.21*'")
    text = "these kernels instead of the profile's: 'matmul*,reduce*'; controls always run"
    add("--kernels", type=_globs, default=(), metavar="GLOBS", help=text)
    _add_extra(selecting)
    add(
        "--device",
        default="auto",
        metavar="DEVICE",
        help="auto (default: a GPU if there is one, else the CPU), cpu, gpu (demand one), all, or a GPU's UUID",
    )
    add("--mode", choices=["off", "on", "both"], default="both", help="determinism off, on, or both (default)")
    add(
        "--variation",
        type=_globs,
        default=(),
        metavar="NAMES",
        help="variations, instead of the profile's: default, isa=avx2, threads=1; matrix.toml tells more",
    )
    add("--rounds", type=_positive, metavar="N", help="fresh processes per mode, instead of the profile's")
    add("--repetitions", type=_positive, metavar="N", help="repetitions per process, instead of the profile's")
    add(
        "--engine",
        choices=select.NAMES,
        default="auto",
        help="where columns run (default: Docker if it answers, else venv)",
    )
    return selecting


def _replaying(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{parser.description} A page shows the line beside each kernel. Lock and code are held against this checkout "
        "before anything is measured (exit code 2 where they differ, 5 where the GPU is missing); other bits are 1."
    )
    parser.set_defaults(reports=Path("reports/replay"), fresh=True)
    add = parser.add_argument
    add("column", metavar="COLUMN", help="a column, by its whole id: tf2.18.1-cuda12.5-py311@h100")
    add("kernel", metavar="KERNEL", help="a kernel")
    add(
        "pin",
        type=_pin,
        metavar="PIN",
        help="seed, ROUNDSxREPETITIONS, and first characters of the SHA-256 of the lock, of the kernel's code and, where "
        "it had one, of its digest with determinism on: s42-5x20-3f2a1b9c-d41d8cd9-4fdedf20592d",
    )
    add("--variation", default="default", metavar="NAME", help="the variation (default: default)")
    add("--mode", choices=["off", "on", "both"], default="both", help="determinism off, on, or both (default)")
    text = "the digest to compare with, by its first characters, as a page shows it: determinism on, or --mode off"
    add("--digest", type=_digest, help=text)
    add("--allow-mismatch", action="store_true", help="replay with what is here, where it is not what the pin says")
    add("--dry-run", action="store_true", help="hold the pins, say what would run, and run nothing")
    add("--engine", choices=select.NAMES, default="auto", help="where it runs (default: as nox -s matrix)")
    add("--matrix", type=Path, default=Path("matrix.toml"), metavar="FILE", help="another matrix.toml")
    _add_extra(parser)
    _add_registry(parser)


def _diverging(diverging: argparse.ArgumentParser) -> None:
    diverging.add_argument("column", help="a column of the run, by its id or pair: tf2.18.1-cpu")
    diverging.add_argument("kernel", help="a kernel of the run")
    diverging.add_argument("--run", dest="run_folder", type=Path, metavar="DIR", help="a folder under reports/runs")
    diverging.add_argument(
        "--digest-a", default="", metavar="DIGEST", help="the digest to compare, by its first characters"
    )
    diverging.add_argument("--digest-b", default="", metavar="DIGEST", help="the digest to compare it with")
    diverging.add_argument("--reports", type=Path, default=Path("reports"), metavar="DIR", help="where the runs are")


def _choosing(parser: argparse.ArgumentParser) -> None:
    parser.description = f"{parser.description} Exit code 0: a pair fits; 1: none does; 3: nothing was measured for it."
    add = parser.add_argument
    text = "the device: a compute capability (sm_90, 9.0), a model (h100), or cpu (default: that of the run)"
    add("--gpu", default="", metavar="DEVICE", help=text)
    add("--driver", type=_driver, metavar="VERSION", help="its driver, or the branch: 550.54.15, 550")
    add("--families", type=_globs, default=(), metavar="FAMILIES", help="families, or words of kernels: conv,scatter")
    add("--kernels", type=_globs, default=(), metavar="GLOBS", help="kernels: 'matmul*,my_model' (default: all)")
    text = "variations that must be reproducible too, besides the default one: threads=1,isa=avx2"
    add("--variation", type=_globs, default=(), metavar="NAMES", help=text)
    add(
        "--max-overhead",
        type=_overhead,
        metavar="RATIO",
        help="what determinism may cost each kernel at most: 1.15, or 15%%",
    )
    add("--run", dest="run_folder", type=Path, metavar="DIR", help="a folder under reports/runs (default: the newest)")
    add("--reports", type=Path, default=Path("reports"), metavar="DIR", help="where the runs are")
    add("--matrix", type=Path, default=Path("matrix.toml"), metavar="FILE", help="another matrix.toml")
    add("--format", choices=["terminal", "markdown", "json"], default="terminal", help="default: terminal")


def _comparing(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        f"{parser.description} A and B are columns (tf2.15.1-cpu, an id, or a pattern that fits one), runs (a folder, "
        "an id, latest, previous), or RUN:COLUMN. Exit codes: 1 a finding, 3 nothing that "
        "a gate is about could be compared."
    )
    add = parser.add_argument
    add("before", metavar="A", help="where from")
    add("after", metavar="B", help="where to")
    add("--run", dest="run_folder", type=Path, metavar="DIR", help="the run with the columns (default: the newest)")
    add("--reports", type=Path, default=Path("reports"), metavar="DIR", help="where the runs are")
    add("--mode", choices=["off", "on", "both"], default="both", help="determinism off, on, or both (default)")
    add("--kernels", type=_globs, default=(), metavar="GLOBS", help="kernels: 'matmul*,reduce*'")
    add("--format", choices=list(compare.Format), default="terminal", help="what is printed (default: terminal)")
    text = (
        f"what makes exit code 1: {', '.join(compare.GATES)}, slower:1.10, or none (default: regressed,errors,failures)"
    )
    add("--fail-on", type=gates, default=USUAL, metavar="GATES", help=text)


def _bundling(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--pair", required=True, metavar="GLOB", help="a pair of matrix.toml: tf2.18.1-cuda12.5")
    add("--out", type=Path, required=True, metavar="DIR", help="an empty folder for the bundle")
    add("--engine", choices=["venv", "docker"], default="venv", help="wheels for a Python there, or an image")
    add("--split", default="60M", metavar="SIZE", help="the largest part (default: 60M)")
    add("--python", default="", metavar="MINOR", help="the Python of the other side: 3.12 (default: the pair's own)")
    add("--profile", default="standard", help="what runs there unless it is told another (default: standard)")
    add("--matrix", type=Path, default=Path("matrix.toml"), metavar="FILE", help="another matrix.toml")


def _add_registry(parser: argparse.ArgumentParser) -> None:
    text = "take images from there that another host has pushed, instead of building them"
    parser.add_argument("--from-registry", metavar="REGISTRY", default="", help=text)


def _add_extra(parser: argparse.ArgumentParser) -> None:
    text = "a file with kernels of your own, as in [suite] kernel_files of matrix.toml; may be given again"
    parser.add_argument("--kernel-file", type=Path, action="append", default=[], metavar="FILE", help=text)


def _reporting() -> argparse.ArgumentParser:
    reporting = argparse.ArgumentParser(add_help=False)
    reporting.add_argument("--full", action="store_true", help="print everything instead of a summary of 30 lines")
    reporting.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="where runs and pages go"
    )
    reporting.add_argument(
        "--fail-on",
        type=_gates,
        default=("unknown-nondeterminism", "control-failed"),
        metavar="GATES",
        help=f"what makes exit code 1: {', '.join(verdict.GATES)}, or none (default: unknown-nondeterminism,blind)",
    )
    return reporting


def _globs(text: str) -> tuple[str, ...]:
    found = tuple(part.strip() for part in text.split(",") if part.strip())
    if not found:
        message = "name at least one pattern"
        raise argparse.ArgumentTypeError(message)
    return found


def _gates(text: str) -> tuple[str, ...]:
    names = () if text == "none" else _globs(text)
    for name in names:
        if name not in verdict.GATES:
            message = f"there is no gate {name!r}; choose from {', '.join(verdict.GATES)}, or none"
            raise argparse.ArgumentTypeError(message)
    return names


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1000:  # noqa: PLR2004 - the models' own bound
        message = f"{text!r} is not a number from 1 to 1000"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _pin(text: str) -> ReproduceSpec:
    try:
        return ReproduceSpec.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _digest(text: str) -> str:
    if not re.fullmatch(r"[0-9a-f]{8,64}", text):
        message = f"{text!r} is no digest: give at least its first 8 characters"
        raise argparse.ArgumentTypeError(message)
    return text


def _driver(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,3}(\.\d{1,4}){0,2}", text):
        message = f"{text!r} is no version of a driver: give 550 or 550.54.15"
        raise argparse.ArgumentTypeError(message)
    return text


def _overhead(text: str) -> float:
    number, share = text.removesuffix("%"), text.endswith("%")
    if not re.fullmatch(r"\d{1,3}(\.\d{1,4})?", number) or not (share or float(number)):
        message = f"{text!r} is no overhead: give a ratio of times on to off, such as 1.15, or what it may add: 15%"
        raise argparse.ArgumentTypeError(message)
    return round(1 + float(number) / 100, 6) if share else float(number)
