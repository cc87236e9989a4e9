"""Custom kernels of ``tfrepro local``: read their files, and ask the measured interpreter what they declare."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from bench.portable.errors import CONFIG, PortableError
from bench.regular_file import refuse_special
from bench.suite import kernel_files
from bench.suite.kernel_files import STORE_VARIABLE, KernelFileError, Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

#: Seconds that the declarations of one file may take, and that the process may take besides to start and to end.
_LIMIT_S, _START_S = 60.0, 150.0
_HINT = "Move what a file does into its kernels, which run in processes of their own."


def read(paths: Sequence[Path], exclude: Iterable[str]) -> list[Source]:
    """Read files and folders; raises PortableError where one cannot be used."""
    try:
        for path in paths:
            refuse_special(path)
        sources = [kernel_files.read_source(path, (), exclude) for path in paths]
        kernel_files.check_total(sources)
    except KernelFileError as error:
        raise PortableError(str(error), error.hint, CONFIG) from error
    except OSError as error:
        message = f"The kernel file {error.filename} cannot be read: {error.strerror}."
        raise PortableError(message, "Check --kernel-file.", CONFIG) from error
    return sources


def declarations(
    sources: list[Source], suite: Path, store: Path, environment: Mapping[str, str]
) -> tuple[list[dict[str, Any]], dict[str, str], list[str]]:
    """Copy the files to a store and run them in a first process.

    Returns:
        The declarations of the kernels, kernel -> ``HASH/name.py``, and the errors of faulty files.

    Raises:
        PortableError: a file ended its process, did not end or closed its streams, or the process gave no answer.
    """
    for source in sources:
        kernel_files.stage(source, store)
    files = [f"{source.hash}/{module}" for source in sources for module in source.modules]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "bench.suite.declare", json.dumps({"files": files, "limit_s": _LIMIT_S})],
            env={**environment, STORE_VARIABLE: str(store)}, cwd=suite, capture_output=True, text=True,
            errors="replace", check=False, stdin=subprocess.DEVNULL, timeout=(_LIMIT_S + _START_S) * max(1, len(files)),
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        message = f"The kernel files did not declare their kernels within {error.timeout:.0f} s."
        raise PortableError(message, _HINT, CONFIG) from error
    try:
        return _evaluated(json.loads(done.stdout)["files"])
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        reason = (done.stderr.strip().splitlines() or [f"{type(error).__name__}: {error}"])[-1]
        raise PortableError(f"The kernel files gave no valid declarations: {reason}.", _HINT, CONFIG) from error


def _evaluated(answers: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, str], list[str]]:
    """Return what ``declarations`` does; raises PortableError, or KeyError and the like for an answer that is none."""
    fatal = [answer["error"] for answer in answers if answer["fatal"]]
    if fatal:
        raise PortableError(f"{'. '.join(fatal)}.", _HINT, CONFIG)
    rows = [(row, answer["path"]) for answer in answers for row in answer["kernels"]]
    names = [row["name"] for row, _ in rows]
    twice = [f"two files declare the kernel {name}" for name in dict.fromkeys(names) if names.count(name) > 1]
    errors = [answer["error"] for answer in answers if answer["error"]] + twice
    found = {row["name"]: (row, path) for row, path in reversed(rows)}
    declared = [found[name][0] for name in dict.fromkeys(names)]
    return declared, {name: path for name, (_, path) in found.items()}, errors
