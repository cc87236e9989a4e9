"""Kernels of the user's own: the files that matrix.toml and ``--kernel-file`` name, and what they declare."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from bench.errors import ConfigError
from bench.suite.kernels import Kernel, all_kernels, custom

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

#: Bytes of all files together, as JSON: they travel to every process in one argument, which Linux limits to 128 KiB.
LIMIT = 96_000


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The kernels of an invocation: the fixed suite and the user's own.

    ``sources`` maps the names of the user's files to their text, ``errors`` those in error to one sentence.
    """

    kernels: Mapping[str, Kernel]
    sources: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)


def suite(files: Iterable[Path]) -> Suite:
    """The fixed suite with the kernels of some files. What a file cannot declare is an error of its own, no end.

    Raises:
        ConfigError: a file that cannot be read, two of one name, or more text than can travel.
    """
    sources: dict[str, str] = {}
    for file in dict.fromkeys(path.absolute() for path in files):
        if file.name in sources:
            raise ConfigError(f"Two files of kernels are named {file.name}.", "Rename one: errors name the file.")
        try:
            sources[file.name] = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            message = f"{file}, a file of kernels, cannot be read ({reason})."
            raise ConfigError(
                message, "Check --kernel-file and [suite] kernel_files, which is relative to matrix.toml."
            ) from error
    total = len(json.dumps(sources))
    if total > LIMIT:
        message = f"The files of your own kernels take {total} bytes, and {LIMIT} can travel into a column."
        raise ConfigError(message, "Leave fewer kernels in them, or shorten them.")
    with contextlib.redirect_stdout(sys.stderr):  # what a file prints is no part of our output
        own, errors = custom.load(sources)
    return Suite(kernels={**all_kernels(), **own}, sources=sources, errors=errors)
