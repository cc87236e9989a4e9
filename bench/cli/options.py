"""Options that several commands share, and the types of their values."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

from bench import verdict
from bench.engines import ENGINES
from bench.portable.overrides import host_name
from bench.suggest import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Callable

#: The largest number of rounds or repetitions, as in ``bench.plan.config_models``.
_MOST = 1000
#: Gates of a run that apply where ``--fail-on`` is not given.
DEFAULT_GATES = ("unknown-nondeterminism", "control-failed", "host-conflict")


def add_matrix_file(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--matrix``."""
    parser.add_argument(
        "--matrix",
        type=Path,
        default=Path("matrix.toml"),
        metavar="FILE",
        help="configuration file (default: matrix.toml)",
    )


def add_environments(parser: argparse.ArgumentParser, profile: str = "standard") -> argparse._ArgumentGroup:
    """Add what selects environments: ``--matrix``, ``--profile`` with its default, and ``--env``. Returns a group."""
    group = parser.add_argument_group("selection")
    add_matrix_file(group)
    group.add_argument("--profile", default=profile, help=f"profile of matrix.toml (default: {profile})")
    group.add_argument(
        "--env", type=patterns, default=(), metavar="PATTERNS",
        help="only these environments or columns: 'tf2.18*,tf2.21*' or '*@h200'",
    )  # fmt: skip
    return group


def add_selection(
    parser: argparse.ArgumentParser, profile: str = "standard", engines: tuple[str, ...] = ENGINES
) -> None:
    """Add everything that selects what is measured, and how often; ``profile`` is the default of ``--profile``."""
    group = add_environments(parser, profile)
    group.add_argument(
        "--kernels", type=patterns, default=(), metavar="PATTERNS",
        help="only these kernels: 'matmul*,reduce*'; controls always run",
    )  # fmt: skip
    add_kernel_file(group)
    group.add_argument(
        "--device", default="auto", metavar="DEVICE",
        help="auto (default: the first idle GPU, else the CPU), cpu, gpu (fail without one), all (every GPU), or UUIDs",
    )  # fmt: skip
    group.add_argument(
        "--host-name", type=host_name, default="", metavar="NAME",
        help="name this host in its columns, so that they can be shown beside those of other hosts",
    )  # fmt: skip
    add_mode(group)
    group.add_argument(
        "--variation", type=patterns, default=(), metavar="NAMES",
        help="variations to run instead of those of the profile: default, isa=avx2, threads=1 (see matrix.toml)",
    )  # fmt: skip
    group.add_argument("--rounds", type=_count, metavar="N", help="fresh processes per mode (default: the profile's)")
    group.add_argument(
        "--repetitions", type=_count, metavar="N", help="repetitions per process (default: the profile's)"
    )
    group.add_argument(
        "--timing-pairs", type=_count_or_zero, metavar="N",
        help="timing pairs per column, determinism off against on; 0: no times (default: the profile's)",
    )  # fmt: skip
    add_engine(group, engines)
    add_root_kernels(group)


def add_engine(parser: argparse.ArgumentParser | argparse._ArgumentGroup, engines: tuple[str, ...] = ENGINES) -> None:
    """Add ``--engine``."""
    parser.add_argument(
        "--engine",
        choices=engines,
        default="auto",
        help="where to measure (default: Docker if it answers, else venv)",
    )


def add_root_kernels(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--allow-root-kernels``."""
    parser.add_argument(
        "--allow-root-kernels",
        action="store_true",
        help="let custom kernels run as root with --engine venv, which cannot stop them from changing this host",
    )


def add_mode(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--mode``."""
    parser.add_argument(
        "--mode", choices=["off", "on", "both"], default="both", help="determinism off, on or both (default: both)"
    )


def add_kernel_file(parser: argparse.ArgumentParser | argparse._ArgumentGroup) -> None:
    """Add ``--kernel-file`` and ``--kernel-exclude``."""
    parser.add_argument(
        "--kernel-file", type=Path, action="append", default=[], metavar="PATH",
        help="Python file with custom kernels, or folder with its modules and data; can be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--kernel-exclude", type=patterns, default=(), metavar="PATTERNS",
        help="files and folders to exclude from a folder of --kernel-file: 'tests,*.h5'",
    )  # fmt: skip


def add_registry(parser: argparse.ArgumentParser) -> None:
    """Add ``--from-registry``."""
    parser.add_argument(
        "--from-registry",
        metavar="REGISTRY",
        default="",
        help="pull images that another host pushed, instead of building; with @sha256:... after it, exactly one image",
    )


def add_action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser], name: str, text: str, act: Callable[..., int]
) -> argparse.ArgumentParser:
    """Add an action of a command, such as ``collect`` of ``fleet``, and return its parser; ``options.act`` runs it."""
    parser = actions.add_parser(name, help=text, description=text, allow_abbrev=False)
    # without a default of its own, it does not undo a --debug before the action
    parser.add_argument("--debug", action="store_true", default=argparse.SUPPRESS, help="show tracebacks")
    parser.set_defaults(act=act, action=name)
    return parser


def add_reports(parser: argparse.ArgumentParser | argparse._ArgumentGroup, text: str = "folder with the runs") -> None:
    """Add ``--reports``."""
    parser.add_argument(
        "--reports", type=Path, default=Path("reports"), metavar="DIR", help=f"{text} (default: reports)"
    )


def add_run(parser: argparse.ArgumentParser, *, option: bool = True) -> None:
    """Add the run to read: ``--run DIR``, or a positional argument."""
    text = "folder or id of a run (default: the newest)"
    if option:
        parser.add_argument("--run", dest="run_folder", type=Path, metavar="RUN", help=text)
    else:
        parser.add_argument("run_folder", nargs="?", type=Path, metavar="RUN", help=text)


def add_output(parser: argparse.ArgumentParser, gates: tuple[str, ...] = DEFAULT_GATES) -> None:
    """Add what the commands that write pages share: ``--reports``, ``--full`` and ``--fail-on`` with its default."""
    group = parser.add_argument_group("output")
    add_reports(group, "folder for runs and pages")
    group.add_argument("--full", action="store_true", help="print every table, not only the summary")
    group.add_argument(
        "--fail-on", type=_gates, default=gates, metavar="GATES",
        help=f"exit with 1 on: {', '.join(verdict.GATES)}, or none (default: {','.join(gates) or 'none'})",
    )  # fmt: skip


def patterns(text: str) -> tuple[str, ...]:
    """Parse comma-separated patterns, at least one."""
    parts = tuple(part.strip() for part in text.split(",") if part.strip())
    if not parts:
        message = "name at least one pattern"
        raise argparse.ArgumentTypeError(message)
    return parts


def digest(text: str) -> str:
    """Parse the first 8 to 64 hexadecimal characters of a digest."""
    if not re.fullmatch(r"[0-9a-f]{8,64}", text):
        message = f"invalid digest {text!r}: give at least its first 8 characters"
        raise argparse.ArgumentTypeError(message)
    return text


def unknown_gate(name: str, known: tuple[str, ...]) -> argparse.ArgumentTypeError:
    """The error for a gate that does not exist, with the nearest name that does."""
    guess = did_you_mean(name, known, otherwise="")
    return argparse.ArgumentTypeError(f"unknown gate {name!r}; choose from {', '.join(known)}, or none{guess}")


def _gates(text: str) -> tuple[str, ...]:
    names = () if text == "none" else patterns(text)
    for name in names:
        if name not in verdict.GATES:
            raise unknown_gate(name, verdict.GATES)
    return names


def _count(text: str, least: int = 1) -> int:
    if not text.isdecimal() or not least <= int(text) <= _MOST:
        message = f"{text!r} is not a number from {least} to {_MOST}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


def _count_or_zero(text: str) -> int:
    return _count(text, 0)
