"""Custom kernels: read the files named by matrix.toml and ``--kernel-file``, and load what they declare."""

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

#: Most bytes of all files together, as JSON. They are passed to every process in one argument, which Linux limits to
#: 128 KiB.
LIMIT = 96_000


@dataclass(frozen=True, kw_only=True)
class Suite:
    """The kernels of an invocation: those of the built-in suite and the custom ones.

    ``sources`` maps the names of the custom files to their text, ``errors`` the names of invalid ones to a sentence.
    """

    kernels: Mapping[str, Kernel]
    sources: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)


def suite(files: Iterable[Path]) -> Suite:
    """Return the built-in suite with the kernels of some files. A file that declares nothing valid is in ``errors``.

    Raises:
        ConfigError: a file cannot be read, two have the same name, or together they are too large.
    """
    sources: dict[str, str] = {}
    for file in dict.fromkeys(path.absolute() for path in files):
        if file.name in sources:
            raise ConfigError(f"Two kernel files are named {file.name}.", "Rename one of them.")
        try:
            sources[file.name] = file.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            message = f"The kernel file {file} cannot be read: {reason}."
            raise ConfigError(
                message, "Check --kernel-file, and kernel_files in [suite], whose paths are relative to matrix.toml."
            ) from error
    total = len(json.dumps(sources))
    if total > LIMIT:
        message = f"The kernel files have {total} bytes together; at most {LIMIT} can be passed to a process."
        raise ConfigError(message, "Use fewer or shorter files.")
    with contextlib.redirect_stdout(sys.stderr):  # what a file prints must not mix with our output
        own, errors = custom.load(sources)
    return Suite(kernels={**all_kernels(), **own}, sources=sources, errors=errors)
