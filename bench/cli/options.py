"""What each command takes on its command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import bench
from bench import verdict
from bench.engines import choose

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def parser(run: Mapping[str, Callable[[argparse.Namespace], int]]) -> argparse.ArgumentParser:
    """The parser of all commands; ``run`` maps each to what runs it, whose docstring is its help."""
    top = argparse.ArgumentParser(
        prog="tfrepro",
        description="Which TensorFlow x CUDA pair gives the same bits again, and at what price.",
        epilog="Exit codes: 0 ok, 1 a gate failed, 2 bad configuration, 3 nothing selected or measured, "
        "4 engine, build or storage trouble, 5 a GPU was demanded and is missing, 130 interrupted.",
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
        "--fresh", action="store_true", help="measure all again, take nothing over from an interrupted run"
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
    clean.add_argument("--all", action="store_true", help="the base image that `nox -s base` made, too")
    report = command("report", _reporting())
    report.add_argument("run_folder", nargs="?", type=Path, help="a folder under reports/runs (default: the newest)")
    importing = command("import", _reporting())
    importing.add_argument("file", type=Path, help="the archive that a bundle or `tfrepro here` has written")
    sample = command("sample")
    sample.add_argument("--reports", type=Path, default=Path("reports"), metavar="DIR", help="where the runs are")
    sample.add_argument("--to", type=Path, default=Path("reports/sample"), metavar="DIR", help="where it is kept")
    sample.add_argument("run_folder", nargs="?", type=Path, help="a folder under reports/runs (default: the newest)")
    diverging = command("diverge")
    diverging.add_argument("cell", help="a cell of the run, by its id or pair: tf2.18.1-cpu")
    diverging.add_argument("kernel", help="a kernel of the run")
    diverging.add_argument("--run", dest="run_folder", type=Path, metavar="DIR", help="a folder under reports/runs")
    diverging.add_argument("--one", default="", metavar="DIGEST", help="the digest to compare, by its first characters")
    diverging.add_argument("--other", default="", metavar="DIGEST", help="the digest to compare it with")
    diverging.add_argument("--reports", type=Path, default=Path("reports"), metavar="DIR", help="where the runs are")
    command("schema")
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
    add("--only", type=_globs, default=(), metavar="GLOBS", help="cells, by pair or id: 'tf2.18*,tf2.21*'")
    add("--kernels", type=_globs, default=(), metavar="GLOBS", help="kernels: 'matmul*,reduce*'; controls always run")
    _add_extra(selecting)
    add(
        "--device",
        default="auto",
        metavar="DEVICE",
        help="auto (default: a GPU if there is one, else the CPU), cpu, gpu (demand one), all, or a GPU's UUID",
    )
    add("--mode", choices=["off", "on", "both"], default="both", help="determinism off, on, or both (default)")
    add("--rounds", type=_positive, metavar="N", help="fresh processes per mode, instead of the profile's")
    add("--repeats", type=_positive, metavar="N", help="repeats per process, instead of the profile's")
    add(
        "--engine",
        choices=choose.NAMES,
        default="auto",
        help="where cells run (default: Docker if it answers, else venv)",
    )
    return selecting


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
    text = "a file with kernels of your own, as in [suite] extra of matrix.toml; may be given again"
    parser.add_argument("--extra", type=Path, action="append", default=[], metavar="FILE", help=text)


def _reporting() -> argparse.ArgumentParser:
    reporting = argparse.ArgumentParser(add_help=False)
    reporting.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help="where runs and pages go"
    )
    reporting.add_argument(
        "--fail-on",
        type=_gates,
        default=("on-varies-unexplained", "blind"),
        metavar="GATES",
        help=f"what makes exit code 1: {', '.join(verdict.GATES)}, or none (default: on-varies-unexplained,blind)",
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
